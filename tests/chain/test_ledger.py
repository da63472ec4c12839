import json
import os
import re
import subprocess
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from lib.chain import statuses
from lib.errors import AtWork
from lib.record import ledger
from lib.record.events import Event
from lib.record.faults import BadInput
from lib.record.ledger import FILE, WAIT, Ledger

RUN = {"stages": ["10-one"], "notebooks": "/n", "resumed": False, "folder": "x"}


def waiting(what, shown="1"):
    data = {WAIT: {"waiting": what, "seconds": 1.0}}
    return {"message": {"content": {"data": data, "transient": {"display_id": shown}}}}


def written(folder, *events):
    with Ledger(folder) as book:
        for kind, data in events:
            book(Event(kind, "" if kind in ("run", "done") else "10-one", data))
    return ledger.read(folder)


def test_the_first_line_has_process_host_and_stages(tmp_path):
    (line,) = written(tmp_path, ("run", RUN))
    assert line["event"] == "run-started"
    assert (line["stages"], line["notebooks"]) == (["10-one"], "/n")
    assert line["pid"] > 0 and line["host"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}\+00:00", line["at"])
    assert "cell_timeout" not in line


def test_a_wait_has_a_line_at_its_start_and_one_with_its_seconds(tmp_path):
    lines = written(
        tmp_path,
        ("stage", {"attempt": 1}),
        ("message", waiting("job of disk")),
        ("message", waiting("job of disk")),
        ("message", waiting("job of machine", "2")),
        ("message", waiting("state of disk")),
        ("message", waiting("")),
        ("message", {"message": {"content": {"name": "stdout", "text": "x"}}}),
        ("message", {"message": {"content": {"data": {WAIT: "odd"}, "transient": None}}}),
        ("cell-end", {"index": 1, "cell": "a", "cause": "kernel-died", "seconds": 0.0004}),
    )
    waits = [(ln["waiting"], "seconds" in ln) for ln in lines if ln["event"] == "wait"]
    assert waits == [
        ("job of disk", False),
        ("job of machine", False),
        ("job of disk", True),
        ("state of disk", False),
        ("state of disk", True),
        ("job of machine", True),  # its cell died, and with it the wait
    ]
    assert lines[-1] | {"at": ""} == {
        "at": "", "event": "cell-ended", "stage": "10-one", "attempt": 1,
        "index": 1, "cell": "a", "cause": "kernel-died", "seconds": 0.0,
    }  # fmt: skip


def test_only_one_at_a_time_holds_a_ledger(tmp_path):
    with Ledger(tmp_path) as book:
        book(Event("run", "", RUN))
        assert ledger.is_locked(tmp_path)
        assert ledger.state(tmp_path) == "running"
        book.write("run-resumed", pid=1, host="of a driver that is dead")
        if Path("/proc/locks").exists():
            text = rf"\(process {os.getpid()}\) or a kernel of it still runs\. Wait until"
            with pytest.raises(AtWork, match=text):
                Ledger(tmp_path)
    assert not ledger.is_locked(tmp_path)
    assert ledger.state(tmp_path) == "abandoned"


def test_a_ledger_is_held_as_long_as_a_kernel_outlives_its_driver(tmp_path):
    with Ledger(tmp_path) as book:
        kernel = subprocess.Popen(["sleep", "60"], pass_fds=[book.lock])
    assert ledger.is_locked(tmp_path)
    kernel.kill()
    assert not ledger.is_locked(tmp_path, patience=5)
    kernel.wait()


def test_a_resumed_run_is_not_ended_until_it_ends_again(tmp_path):
    done = {"cause": "failed", "seconds": 1.0}
    assert ledger.outcome(written(tmp_path, ("run", RUN), ("done", done))) == "failed"
    assert ledger.outcome(written(tmp_path, ("run", RUN | {"resumed": True}))) == ""
    assert ledger.outcome(written(tmp_path, ("done", done | {"cause": "ok"}))) == "ok"
    lines = written(tmp_path, *[("stage", {"attempt": n}) for n in (1, 2)])
    assert ledger.attempts(lines) == {"10-one": 2}


def test_a_ledger_without_a_beginning_is_not_a_run(tmp_path):
    (tmp_path / FILE).write_text(json.dumps({"event": "wait"}) + "\n")
    with pytest.raises(BadInput, match="has no line on the beginning"):
        ledger.beginning(tmp_path, ledger.read(tmp_path))
    assert ledger.driver(tmp_path) == "unknown" and not ledger.driver_lives(tmp_path)


def test_a_later_process_with_the_pid_of_the_driver_is_another_one(tmp_path):
    (line,) = written(tmp_path, ("run", RUN))
    assert line["pid"] == os.getpid() and ledger.driver_lives(tmp_path)
    for at in ("2014-01-02T03:04:05+00:00", "", 7):
        (tmp_path / FILE).write_text(json.dumps(line | {"at": at}) + "\n")
        assert not ledger.driver_lives(tmp_path)


def test_prose_before_the_last_cell_that_ran_counts_as_passed():
    cells = [v4.new_markdown_cell("a"), v4.new_code_cell("1"), v4.new_markdown_cell("b")]
    notebook = v4.new_notebook(cells=[*cells, v4.new_code_cell("2")])
    for cell in [notebook, *notebook.cells]:
        cell.metadata["papermill"] = nbformat.NotebookNode(status="completed", exception=None)
    lines = [{"event": "cell-started", "index": 1}, {"event": "wait"}]
    statuses.rewrite(notebook, lines, "killed")
    rows = [cell.metadata.papermill["status"] for cell in notebook.cells]
    assert rows == ["completed", "failed", "pending", "pending"]
    assert [c.metadata["runbook"]["cause"] for c in notebook.cells[1::2]] == ["killed", "not-run"]


def test_any_text_comes_back_from_its_line(tmp_path):
    texts = ["a \udcff byte", "a\u2028b", "a\nb", "日本 é"]
    lines = written(tmp_path, *[("run", RUN | {"reason": text}) for text in texts])
    assert [line["reason"] for line in lines] == texts
