"""A run that is killed, then interrupted, and continued each time by an operator's commands."""

import os
import signal
import time
from collections import Counter

import pytest
from harness import INSTANT, URL, Place, changes, fault
from stages import REGISTER

from lib.record import ledger

GIVEN = [word for name, value in URL.items() for word in ("-p", f"{name}={value}")]


@pytest.fixture
def place(tmp_path):
    there = Place(tmp_path)
    started = there.runbook("local-cloud", "start", "--dialect", there.dialect, "--time-scale", "0")
    assert started.returncode == 0, started.stderr
    yield there
    there.runbook("local-cloud", "stop", "--dialect", there.dialect)


def strike(cloud, process, command: str, number: int) -> str:
    """Send a signal while the cloud holds back its answer to a command; return the output."""
    until = time.monotonic() + 120
    while command not in changes(cloud):
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.2)
    process.send_signal(number)
    return process.communicate(timeout=60)[0]


def test_a_run_killed_and_interrupted_comes_to_the_end_of_an_undisturbed_one(place):
    cloud, runs = place.cloud(), ["--runs", str(place.runs)]
    for command in ("registerTemplate", "deployVirtualMachine"):
        fault(cloud, command, "fault:slow;seconds:20")
    chosen = ["--stages", "20,43,50,60"]  # others have nothing to do
    process = place.start("run", "params/local.yaml", *chosen, *INSTANT, *GIVEN, *runs)
    strike(cloud, process, "registerTemplate", signal.SIGKILL)
    (folder,) = (path for path in place.runs.iterdir() if path.is_dir())
    assert not ledger.is_locked(folder, 10) and ledger.state(folder) == "abandoned"

    process = place.start("resume", folder.name, *runs)
    text = strike(cloud, process, "deployVirtualMachine", signal.SIGINT)
    assert process.returncode == 130 and "50-deploy-cluster interrupted" in text
    assert ledger.state(folder) == "interrupted"
    assert processes_of(folder) == []

    done = place.runbook("resume", folder.name, *runs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Done: 4 of 4 stages ok" in done.stdout
    sent = Counter(changes(cloud))
    assert (sent["registerTemplate"], sent["deployVirtualMachine"]) == (1, 3)
    assert place.runbook("verify", folder.name, *runs).returncode == 0
    assert ledger.attempts(ledger.read(folder))[REGISTER] == 3
    assert (folder / f"{REGISTER}.attempt1.ipynb").exists()


def processes_of(folder) -> list[str]:
    """Return the processes with a run's folder in their environment, where there is /proc."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc") if os.path.isdir("/proc/self") else []):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                found += [name] * (os.fsencode(folder) in file.read())
        except OSError:
            continue
    return found
