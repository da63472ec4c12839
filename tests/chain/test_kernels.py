import os
from contextlib import contextmanager

import pytest
from harness import until
from jupyter_core.utils import run_sync
from nbclient.exceptions import DeadKernelError

from lib.chain import kernels
from lib.chain.kernels import Kernels, Place

SEEN = "import os, sys; print(os.getcwd(), os.environ['MINE'], os.environ['RUNBOOK_STAGE'])"


@pytest.fixture
def places(tmp_path):
    return [Place(f"{number}-stage", tmp_path) for number in (10, 20, 30)]


@contextmanager
def started(scratch, *preload):
    with Kernels(scratch, {"MINE": "env"}, preload) as given:
        yield given


@pytest.fixture
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("k")


def output_of(client, code):
    """Return the output of code in a kernel."""
    asked, text = client.execute(code), ""
    while True:
        message = run_sync(client.get_iopub_msg)(timeout=10)
        if message["parent_header"].get("msg_id") != asked:
            continue
        if message["content"].get("execution_state") == "idle":
            return text.strip()
        text += message["content"].get("text", "") or "\n".join(
            message["content"].get("traceback", [])
        )


def pid(manager):
    return manager.provisioner.pid


def gone(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_spare_is_given_to_its_stage_with_its_folder_and_environment(places, scratch):
    with started(scratch, "colorsys", "no.such.module") as given:
        given.warm(places[0])
        spare = pid(given._spare[1])
        with given.kernel(places[0]) as (manager, client):
            assert pid(manager) == spare
            assert not list(scratch.glob("*.json"))  # its key is on the disk only while it starts
            assert output_of(client, SEEN) == f"{places[0].folder} env 10-stage"
            found = output_of(client, "print('colorsys' in sys.modules, 'colorsys' in dir())")
            assert found == "True False"
            assert output_of(client, "print(len(In), Out)") == "4 {}"
            given.warm(places[1])
            output_of(client, "import os; left = 1; os.environ['LEFT'] = '1'; os.chdir('/')")
        assert gone(spare)
        with given.kernel(places[1]) as (_, client):  # stages share no state
            left = output_of(client, "import os; print('left' in dir(), os.environ.get('LEFT'))")
            assert left == "False None"
            assert output_of(client, SEEN).startswith(str(places[1].folder))


def test_a_spare_that_is_anothers_or_dead_is_replaced_by_a_new_kernel(places, scratch):
    with started(scratch) as given:
        given.warm(places[1])
        other = pid(given._spare[1])
        with given.kernel(places[0]) as (manager, _):
            assert pid(manager) != other
            assert gone(other)
            given.warm(places[1])
            dead = pid(given._spare[1])
            os.kill(dead, 9)
        with given.kernel(places[1]) as (manager, client):
            assert pid(manager) != dead
            assert output_of(client, "print(1)") == "1"


def test_no_process_and_no_socket_is_left(places, scratch):
    with started(scratch) as given, given.kernel(places[0]) as (manager, client):
        child = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid)"
        left = [int(output_of(client, child)), pid(manager)]
        given.warm(places[1])
        left.append(pid(given._spare[1]))
    until(lambda: all(map(gone, left)))  # the child's new parent has to take notice
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "error"),
    [("import os; os._exit(1)", "did not start: it died"), ("while True: pass", "no answer in")],
)
def test_a_kernel_that_does_not_start_is_reported(
    places, scratch, tmp_path, monkeypatch, code, error
):
    (tmp_path / "deadly.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    if "no answer" in error:
        monkeypatch.setattr(kernels, "PATIENCE", 0.5)
    with started(scratch, "deadly") as given, pytest.raises(DeadKernelError, match=error):
        given.kernel(places[0]).__enter__()
