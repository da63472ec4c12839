"""Commands that survive a lost connection to the workstation."""

import os
import signal

import pytest
from harness import until
from workstations import at_home, runs

from lib.errors import CheckFailed, ShellFailed
from lib.install import detached
from lib.workstation.shell import run


@pytest.fixture
def here(tmp_path, monkeypatch):
    shell = at_home(tmp_path, monkeypatch, {}, os.environ["PATH"])
    yield shell
    detached.end(shell, "w/job")


def ended(here, command, **more):
    detached.start(here, "w/job", command, **more)
    return detached.follow(here, "w/job", lambda line: None)


def test_its_output_stays_until_it_is_deleted(here, tmp_path):
    assert not detached.is_running(here, "w/job")
    command = """printf '%s ' "it's" '$HOME' \\\\; pwd; echo b >&2; ls -l /proc/$$/fd"""
    result = ended(here, command)
    assert result.out.startswith(f"it's $HOME \\ {tmp_path}\nb\n")
    assert "/log" in result.out and "/lock" not in result.out
    assert not detached.is_running(here, "w/job")
    assert detached.log(here, "w/job") == result.out
    detached.forget(here, "w/job")
    assert list((tmp_path / "w").iterdir()) == []


def test_lines_are_passed_on_as_they_come_and_only_once(here):
    seen = []

    def see(line):
        seen.append(line)
        run(here, "touch go") if line == "a" else None

    waits = "while [ ! -e go ]; do sleep 0.02; done"
    detached.start(here, "w/job", f"echo a; {waits}; printf '1%%\\r99%%\\r\\n\\nb\\377'")
    result = detached.follow(here, "w/job", see)
    assert seen == ["a", "1%", "99%", "", "b\ufffd"] == result.out.splitlines()


def test_the_output_of_a_probe_comes_in_one_line_also_while_the_command_is_silent(here):
    seen = []

    def see(shown):
        seen.append(shown)
        run(here, "touch go") if len(seen) == 2 else None

    detached.start(here, "w/job", "while [ ! -e go ]; do sleep 0.02; done")
    probe = "echo '1  2'; echo 3"
    detached.follow(here, "w/job", print, probe=probe, on_probe=see)
    assert len(seen) > 2 and set(seen) == {"1 2 3"}


@pytest.mark.parametrize(
    "command, within, rc, error",
    [
        ("echo last words; exit 3", 60, 3, "ended with 3: last words"),
        ("echo began; sleep 60", 0.4, None, "did not end in time: began"),
        ("kill -9 $$", 60, 137, r"ended with 137.*\n.*memory was short"),
    ],
)
def test_a_failure_has_its_exit_code_and_last_output(here, command, within, rc, error):
    with pytest.raises(ShellFailed, match=error) as failed:
        ended(here, command, within=within)
    assert failed.value.rc == rc


LEAVES = {
    "a child": "sleep 300 &",
    "one blocked on a FIFO for ever": "mkfifo fifo; (echo done >fifo) &",
    "one that has no environment": "env -i sleep 300 &",
    "a daemon in a session of its own": "setsid sleep 300 >/dev/null 2>&1 </dev/null &",
}


@pytest.mark.parametrize("end", ["exit 0", "kill -9 $$"])
def test_its_end_is_the_end_of_all_that_it_started(here, end):
    starts = " ".join(f"{leaves} echo $! >>left;" for leaves in LEAVES.values())
    if end != "exit 0":
        with pytest.raises(ShellFailed, match="ended with 137"):
            ended(here, f"{starts} {end}")
    else:
        assert ended(here, f"{starts} echo a; {end}").out == "a\n"
    left = run(here, "cat left").out.split()
    assert len(left) == len(LEAVES) and not any(map(runs, left))
    assert ended(here, "echo again").out == "again\n"


def test_its_processes_are_ended_without_a_follower(here, tmp_path):
    detached.start(here, "w/job", "sleep 300 & echo $! >left")
    until((tmp_path / "w/job/rc").exists)
    assert not runs(run(here, "cat left").out)


def test_processes_are_its_own_by_its_folder_not_by_a_number(here):
    detached.start(here, "w/job2", "echo $$ >pid.new; mv pid.new pid; sleep 300")
    until(lambda: run(here, "[ -e pid ]", ok=(0, 1)).rc == 0)
    pid = run(here, "cat pid").out
    run(here, f"mkdir -p w/job; echo {pid.strip()} | tee w/job/pid w/job/lock")
    assert not detached.is_running(here, "w/job")
    detached.end(here, "w/job")
    assert runs(pid) and detached.is_running(here, "w/job2")
    detached.end(here, "w/job2")
    assert not runs(pid)


def supervisor(here) -> int:
    """Return the process that holds the lock, which is the only one to write the exit code."""
    return int(run(here, "ps -o ppid= -p $(ps -o ppid= -p $(cat pid))").out)


def test_processes_of_a_killed_supervisor_are_ended_before_the_error(here):
    detached.start(here, "w/job", "echo $$ >pid.new; mv pid.new pid; sleep 300")
    until(lambda: run(here, "[ -e pid ]", ok=(0, 1)).rc == 0)
    os.kill(supervisor(here), signal.SIGKILL)
    assert detached.is_running(here, "w/job")
    with pytest.raises(ShellFailed, match="left no exit code: it was killed") as failed:
        detached.follow(here, "w/job", lambda line: None)
    assert failed.value.rc is None and not detached.is_running(here, "w/job")
    assert not runs(run(here, "cat pid").out)


@pytest.mark.parametrize("text", ["", "\0\0\0", "null", "[]", "-"])
def test_an_exit_code_that_is_damaged_is_as_none(here, tmp_path, text):
    ended(here, "echo a")
    (tmp_path / "w/job/rc").write_text(text)
    with pytest.raises(ShellFailed, match=r"left no exit code.*or its disk is full"):
        detached.follow(here, "w/job", lambda line: None)
    assert ended(here, "echo again").out == "again\n"


def test_a_second_start_is_refused_while_the_first_runs_on(here):
    def stop(line):
        raise KeyboardInterrupt

    detached.start(here, "w/job", "echo a; while [ ! -e go ]; do sleep 0.02; done; echo b")
    with pytest.raises(KeyboardInterrupt) as stopped:
        detached.follow(here, "w/job", stop)
    assert "runs on" in stopped.value.__notes__[0]
    assert detached.is_running(here, "w/job")
    with pytest.raises(CheckFailed, match="Another command still runs"):
        detached.start(here, "w/job", "true")
    run(here, "touch go")
    assert detached.follow(here, "w/job", lambda line: None).out.split() == ["a", "b"]
    assert ended(here, "echo second").out == "second\n"
