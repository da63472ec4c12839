"""Every way in which a stage can end: ledger, notebook and exit code agree."""

import os
import shutil
import signal
import subprocess
from types import SimpleNamespace

import nbformat
import pytest
from harness import until

from lib.chain import abandoned, run, stages
from lib.chain.run import Run
from lib.commands.main import main
from lib.record import ledger
from lib.record.journal import ROOT

from .conftest import RUNBOOK

BEFORE, AFTER = "print('before')", "print('after')"
KILL = "import os; os._exit(9)"
SLOW = "import os, time\ntry:\n    {0}time.sleep(60)\nfinally:\n    print('cleaned up')"


def tagged(path, index, tag):
    book = nbformat.read(path, 4)
    book.cells[index].metadata["tags"] = [tag]
    nbformat.write(book, path)


def cells(folder, stage="10-one"):
    """Return the causes of the last attempt's cells in the ledger, by index."""
    lines = [line for line in ledger.read(folder) if line.get("stage") == stage]
    own = [ln for ln in lines if "index" in ln and ln["attempt"] == lines[-1]["attempt"]]
    return {ln["index"]: ln.get("cause", "began") for ln in own}


def notebook(folder, name="10-one"):
    found = nbformat.read(folder / f"{name}.ipynb", 4)
    nbformat.validate(found)
    return SimpleNamespace(
        statuses=[c.metadata.papermill["status"] for c in found.cells],
        causes=[c.metadata.runbook["cause"] for c in found.cells if c.cell_type == "code"],
        exceptions=[c.metadata.papermill["exception"] for c in found.cells],
        exception=found.metadata.papermill["exception"],
        outcome=found.metadata.runbook["outcome"],
        printed=str([c.get("outputs", "") for c in found.cells]),
    )


HANGS = 120  # seconds after which a driver is given up
LIMIT = 3  # seconds of a cell that sleeps for a minute
ENDS = [  # the source of a cell, its tag, its cause, and the error of its stage
    ("1 / 0", "raises-exception", "ok", ""),
    ("1 / 0", "skip-execution", "skipped", ""),
    ("  ", "", "skipped", ""),
    ("1 / 0", "", "failed", "ZeroDivisionError: division by zero"),
    ("import sys; sys.exit(0)", "", "failed", "SystemExit: 0; a cell that ends the kernel"),
    (KILL, "", "kernel-died", "ran out of memory"),
    (SLOW.format(""), "", "timed-out", f"had not ended after {LIMIT} s"),
]
CODES = {"failed": 1, "kernel-died": 3, "timed-out": 4}


@pytest.mark.parametrize("ends", [ENDS[:4], *([end] for end in ENDS[4:])])
def test_stages_that_end_by_themselves(book, notebooks, tmp_path, ends):
    for number, (middle, tag, _, _) in enumerate(ends, 1):
        path = book(notebooks / f"{number}0-x.ipynb", BEFORE, middle, AFTER)
        if tag:
            tagged(path, 1, tag)
    cause = ends[-1][2]
    options = {"runs": tmp_path / "runs", "tell": lambda _: None}
    options |= {"cell_timeout": LIMIT} if cause == "timed-out" else {}
    ended = run.run(stages.find(notebooks), {}, {}, **options)
    assert ended.exit_code == CODES[cause]
    last = ledger.read(ended.folder)[-2:]
    assert [ln["event"] for ln in last] == ["stage-ended", "run-ended"]
    assert ledger.state(ended.folder) == last[1]["cause"] == cause
    for result, (_, _, cause, error) in zip(ended.results, ends, strict=True):
        stopped, answer = cause in CODES, notebook(ended.folder, result.stage)
        status = {"ok": "completed", "skipped": "pending"}.get(cause, "failed")
        assert answer.statuses == ["completed", status, "pending" if stopped else "completed"]
        assert answer.causes == ["ok", cause, "not-run" if stopped else "ok"]
        assert answer.exceptions[1] is {"ok": False, "skipped": None}.get(cause, True)
        assert answer.exception is (True if stopped else None)
        assert answer.outcome == (cause if stopped else "ok") and error in result.error
        left = {} if stopped else {2: "ok"}
        assert cells(ended.folder, result.stage) == {0: "ok", 1: cause} | left
        assert "before" in answer.printed
        assert ("cleaned up" in answer.printed) == (cause == "timed-out")


class Driver:
    """`runbook run` in a process of its own, once its cell runs."""

    def __init__(self, book, notebooks, tmp_path, *words, **streams):
        self.runs, self.marker = tmp_path / "runs", tmp_path / "marker"
        mark = f"open({str(self.marker)!r}, 'w').write(str(os.getpid())); "
        book(notebooks / "10-one.ipynb", BEFORE, SLOW.format(mark), AFTER)
        book(notebooks / "20-two.ipynb", AFTER)
        at = ["--notebooks", str(notebooks), "--runs", str(self.runs)]
        command = [*words, *RUNBOOK, "run", *at]
        streams = streams or {"stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=ROOT, text=True, **streams)

    def wait(self):
        until(lambda: self.marker.exists() and self.marker.read_text())
        until(lambda: len(self.kernels()) == 2)  # its own, and the next stage's
        return self

    @property
    def folder(self):
        return next(path for path in self.runs.iterdir() if path.is_dir())

    def kernels(self):
        return [pid for pid in pids() if str(self.folder) in environment(pid)]

    def ended_by(self, number):
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=HANGS)
        return output


@pytest.fixture
def drive(book, notebooks, tmp_path):
    """Start a driver; end it after the test."""
    started = []

    def start(*words, **streams):
        started.append(Driver(book, notebooks, tmp_path, *words, **streams))
        return started[0].wait()

    yield start
    for driver in started:
        driver.process.kill()
        driver.process.communicate()


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def environment(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().decode(errors="replace")
    except OSError:
        return ""


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stage_that_gets_a_signal(drive, capsys, number):
    driver = drive()
    scratch = ledger.read(driver.folder)[0]["scratch"]
    assert ledger.state(driver.folder) == "running"
    assert main(["resume", str(driver.folder)]) == 8
    assert f"its driver (process {driver.process.pid}) or a kernel" in capsys.readouterr().err
    output = driver.ended_by(number)
    book = notebook(driver.folder)
    assert driver.process.returncode == 128 + number
    assert "10-one interrupted" in output
    assert book.statuses == ["completed", "failed", "pending"]
    assert book.causes == ["ok", "interrupted", "not-run"]
    assert (book.exception, book.outcome) == (True, "interrupted")
    assert "cleaned up" in book.printed
    assert cells(driver.folder) == {0: "ok", 1: "interrupted"}
    assert ledger.state(driver.folder) == "interrupted"
    assert driver.kernels() == []
    assert not os.path.exists(scratch)


@pytest.mark.skipif(not shutil.which("setsid"), reason="setsid gives a process its terminal")
def test_a_terminal_that_is_closed_ends_the_run_in_order(drive):
    outside, inside = os.openpty()
    driver = drive("setsid", "--ctty", stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    os.close(outside)
    assert driver.process.wait(timeout=HANGS) == 128 + signal.SIGHUP
    assert "cleaned up" in notebook(driver.folder).printed
    assert ledger.state(driver.folder) == "interrupted" and driver.kernels() == []
    assert (driver.folder / "MANIFEST.sha256").exists()


def test_a_run_under_nohup_does_not_heed_a_closed_terminal(drive):
    driver = drive("nohup", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    driver.process.send_signal(signal.SIGHUP)
    driver.ended_by(signal.SIGTERM)
    assert driver.process.returncode == 128 + signal.SIGTERM


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
def test_a_driver_that_is_killed_leaves_an_abandoned_run_that_the_next_command_finds(
    book, notebooks, drive, capsys
):
    driver = drive()
    driver.process.kill()  # its kernels live a moment longer: the next command waits for them
    driver.process.wait()
    assert cells(driver.folder) == {0: "ok", 1: "began"}
    book(notebooks / "10-one.ipynb", "'second try'")
    folder, at = driver.folder, ["--notebooks", str(notebooks), "--runs", str(driver.runs)]
    assert main(["run", "--stages", "20", *at]) == 0
    output = capsys.readouterr().out
    assert f"{folder.name} was abandoned: its driver died in 10-one." in output
    assert f"To continue: runbook resume {folder}" in output
    statuses = notebook(folder)
    assert driver.kernels() == [] and statuses.statuses == ["completed", "failed", "pending"]
    assert statuses.causes == ["ok", "killed", "not-run"]
    assert (statuses.exception, statuses.outcome) == (True, "killed")
    assert not os.path.exists(ledger.read(folder)[0]["scratch"])
    assert abandoned.find(driver.runs) == []
    assert main(["resume", folder.name, "--runs", str(driver.runs)]) == 0
    assert ledger.state(folder) == "ok"
    assert notebook(folder, "10-one.attempt1").causes == ["ok", "killed", "not-run"]
    assert "second try" in notebook(folder).printed


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
def test_an_abandoned_run_that_is_resumed_at_once_is_not_advised_to_be(
    book, notebooks, drive, capsys
):
    driver = drive()
    driver.process.kill()
    driver.process.wait()
    book(notebooks / "10-one.ipynb", "'second try'")
    assert main(["resume", driver.folder.name, "--runs", str(driver.runs)]) == 0
    output = capsys.readouterr().out
    assert f"{driver.folder.name} was abandoned" in output and "To continue" not in output


@pytest.mark.parametrize(
    ("cause", "signal", "leaks", "code"),
    [
        ("ok", 0, [], 0),
        ("failed", 0, [], 1),
        ("kernel-died", 0, [], 3),
        ("timed-out", 0, [], 4),
        ("ok", 0, ["a.ipynb, line 1"], 5),
        ("failed", 0, ["a.ipynb, line 1"], 5),
        ("interrupted", 2, [], 130),
        ("killed", 15, [], 143),
        ("interrupted", 1, [], 129),
    ],
)
def test_exit_codes_tell_the_causes_apart(tmp_path, cause, signal, leaks, code):
    results = [run.Result("10-one", cause), run.Result("20-two", "not-run")]
    assert Run(tmp_path, results, signal, leaks).exit_code == code


LEAK = """
import os
from pathlib import Path
from lib.record import masks
secret = masks.add('hunter2' * 2)
(Path(os.environ['RUNBOOK_RUN']) / 'note.txt').write_text(f'first\\n{secret}')
print(secret)
"""


@pytest.mark.parametrize("fail", [False, True])
def test_a_secret_in_the_record_fails_the_run_and_is_nowhere_else(book, notebooks, tmp_path, fail):
    book(notebooks / "10-one.ipynb", LEAK + "raise ValueError(secret)" if fail else LEAK)
    heard = []
    ended = run.run(stages.find(notebooks), {}, {}, runs=tmp_path / "runs", tell=heard.append)
    assert (ended.exit_code, ended.cause, ended.leaks) == (5, "failed", ["note.txt, line 2"])
    last = ledger.read(ended.folder)[-1]
    assert (last["event"], last["cause"]) == ("run-ended", "failed")
    assert last["error"] == "a secret stands in note.txt, line 2"
    holding = [p.name for p in ended.folder.iterdir() if b"hunter2hunter2" in p.read_bytes()]
    assert holding == ["note.txt"]
    assert "hunter2hunter2" not in str(heard) + str(ended)
    assert "***" in notebook(ended.folder).printed
    assert ended.results[0].error == ("ValueError: ***" if fail else "")


@pytest.mark.parametrize(
    "where, state, error",
    [
        ("lib.report.report.write", "ok", None),
        ("lib.chain.statuses.rewrite", "failed", "the chain itself failed"),
    ],
)
def test_a_record_is_sealed_also_when_the_chain_itself_fails(
    book, notebooks, tmp_path, monkeypatch, where, state, error
):
    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(where, broken)
    book(notebooks / "10-one.ipynb", "1")
    with pytest.raises(ZeroDivisionError):
        run.run(stages.find(notebooks), {}, {}, runs=tmp_path / "runs", tell=lambda _: None)
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert ledger.read(folder)[-1].get("error") == error
    assert ledger.state(folder) == state
    assert (folder / "MANIFEST.sha256").exists()
