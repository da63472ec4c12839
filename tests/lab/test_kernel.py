"""What a notebook's kernel shows of errors and interrupts."""

from collections.abc import Iterator

import nbformat
import pytest
from harness import ROOT
from jupyter_client.manager import start_new_kernel

from lib.errors import TRACE, NotOne, plain
from lib.lab import given
from lib.record.faults import BadInput
from lib.report import cells

START = "from lib.lab import kernel; kernel.set_up(get_ipython())"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """Return how to run code in a kernel that is set up: its outputs, as in a notebook."""
    folder = tmp_path_factory.mktemp("run")
    manager, client = start_new_kernel(cwd=str(ROOT), env={"RUNBOOK_RUN": str(folder), "HOME": "/"})

    def outputs(code: str, updates: bool = False) -> list[dict]:
        heard = []
        client.execute_interactive(code, output_hook=heard.append, timeout=60)
        kinds = ["error", "display_data", "stream", "execute_result"]
        for message in heard:
            if message["msg_type"] == "update_display_data" and updates:
                message["msg_type"] = message["header"]["msg_type"] = "display_data"
        text = [m for m in heard if m["msg_type"] in kinds]
        return [nbformat.v4.output_from_msg(m) for m in text]

    assert outputs(START) == []
    yield outputs
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def text(output: dict) -> str:
    return plain("\n".join(output["traceback"]))


def test_an_error_is_a_box_with_its_traceback_behind_a_fold(run):
    error, fold = run("from lib.errors import *\nraise Refused('createVolume', 535, 'no', 'Ask.')")
    assert error["ename"] == "Refused" and TRACE in fold["data"]
    assert text(error) == (
        "✗ Refused: createVolume was refused (535): no.\n\n"
        "Means   A quota of the account is used up (machines, volumes, snapshots, templates, "
        "addresses or storage).\n"
        "Do      Ask. Ask the provider for more, or remove what you no longer need, then try "
        "again.\n"
        "Again?  Yes, once the cause is fixed; the failed call changed nothing."
    )
    assert "<details>" in fold["data"]["text/html"]
    (piece,) = cells._pieces([error, fold], iter([]))
    assert (
        piece.kind == "error"
        and piece.note == fold["data"]["text/plain"]
        and "Traceback" in piece.note
    )


def test_other_errors_keep_their_traceback(run):
    (error,) = run("1 / 0")
    assert "ZeroDivisionError" in text(error) and "1 / 0" in text(error)


def test_an_interrupt_names_what_goes_on(run):
    error, _ = run("raise KeyboardInterrupt")
    assert "Nothing that was sent is without an end." in text(error)
    run(
        "from lib.record.journal import Journal, run_folder\nbook = Journal(run_folder(), 'e')\n"
        "book.accepted(book.intend('createSnapshot', 'disk', {}, None), 'j1')"
    )
    error, _ = run("raise KeyboardInterrupt")
    assert "as it was not cancelled:\n  createSnapshot disk, begun at " in text(error)
    assert "Run this cell again." in text(error) and "joins what still runs" in text(error)


def test_a_wait_is_a_bar_and_then_a_line(run):
    shown = run(
        "from lib.waiting import Waiting\nimport time\nwith Waiting() as line:\n"
        "    line.since = time.monotonic() - 20\n    line.what = 'a <b>'\n"
        "    line.show('a <b>', 40)",
        updates=True,
    )
    first, last = [output["data"] for output in shown]
    assert first["text/plain"] == "… a <b>: 20.0 s of about 40.0 s"
    assert '<progress value="0.500"></progress> a &lt;b&gt;: 20.0 s of' in first["text/html"]
    assert "<code>runbook watch</code>" in first["text/html"]
    assert last["text/plain"].startswith("waited ") and "text/html" not in last


def test_an_error_says_itself_what_to_do_where_nothing_is_set_up():
    lines = NotOne("zone", "name 'x'", ["a"], "Choose one.")._render_traceback_()
    assert [plain(x) for x in lines] == [
        "✗ NotOne: wanted exactly one zone with name 'x'; there are:",
        "  a",
        "",
        "Do      Choose one.",
        "Again?  Yes, once the cause is fixed; the failed call changed nothing.",
    ]


@pytest.mark.parametrize(
    "cells, names, faults",
    [
        (["zone: str = 'a'"], {"zone": "a"}, ""),
        (["zone: str = 'a'", "# Parameters\nzone = 5\n"], {"zone": 5}, "zone: YAML reads 5 as the"),
        (["zone: str = 'a'", "zone = 1"], {"zone": 1}, "zone: YAML reads 1"),  # edited by hand
        (["# Parameters\nmode = 'x'\nsize = 1"], {"mode": "x", "size": 1}, "mode: expected"),
        (["own: str = 'a'"], {"own": 5}, ""),  # of somebody's own notebook
        (["%time\nx", "1", ""], {"x": 1}, ""),
        (["volume_size: int = 4"], {"volume_size": {1}}, "volume_size: expected a"),
    ],
)
def test_a_notebook_s_parameters_are_checked_as_those_of_a_file(cells, names, faults):
    if not faults:
        return given.demand(cells, names)
    with pytest.raises(BadInput, match=faults):
        given.demand(cells, names)
