"""Commands that go on by themselves on the workstation."""

import os
import time

import pytest
from workstations import SUDO, program

from lib import detached
from lib.errors import CheckFailed, ShellFailed
from lib.shell import connect_shell, run


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    program(tmp_path, "sudo", SUDO)
    return connect_shell(None, "")


def ended(here, command, **more):
    detached.start(here, "w/job", command, **more)
    return detached.follow(here, "w/job", lambda line: None)


def test_nothing_was_started_at_first(here):
    assert detached.look(here, "w/job") is None


def test_what_it_wrote_and_how_it_ended_stay_until_they_are_forgotten(here, tmp_path):
    assert ended(here, "echo a; echo b >&2").out.split() == ["a", "b"]
    assert detached.look(here, "w/job") == detached.Job("echo a; echo b >&2", False, 0)
    assert detached.log(here, "w/job").split() == ["a", "b"]
    detached.forget(here, "w/job")
    assert detached.look(here, "w/job") is None and list((tmp_path / "w").iterdir()) == []


def test_its_command_is_kept_as_it_was_given(here):
    command = """printf '%s' "it's" '$HOME' \\\\; cd /; pwd"""
    assert ended(here, command).out == "it's$HOME\\/\n"
    assert detached.look(here, "w/job").command == command


def test_it_starts_at_home(here, tmp_path):
    assert ended(here, "pwd").out.strip() == str(tmp_path)


def test_lines_are_passed_on_as_they_come_and_only_once(here):
    seen = []
    detached.start(here, "w/job", "echo a; sleep 0.3; printf '1%%\\r99%%\\n'; echo b")
    began = time.monotonic()
    result = detached.follow(here, "w/job", lambda x: seen.append((x, time.monotonic() - began)))
    assert [line for line, _ in seen] == ["a", "99%", "b"] == result.out.split()
    assert seen[1][1] - seen[0][1] > 0.15


def test_a_failure_tells_its_exit_code_and_last_words(here):
    with pytest.raises(ShellFailed, match="ended with 3: last words") as failed:
        ended(here, "echo last words; exit 3")
    assert failed.value.rc == 3 and detached.look(here, "w/job").rc == 3


def test_one_that_takes_too_long_is_ended_by_the_workstation(here):
    with pytest.raises(ShellFailed, match="did not end in time: began"):
        ended(here, "echo began; sleep 60", within=0.4)


def test_one_that_was_killed_is_neither_running_nor_well(here, tmp_path):
    detached.start(here, "w/job", "echo $PPID $$; exec sleep 60")
    run(here, "while [ ! -s w/job/log ]; do sleep 0.02; done")
    assert detached.look(here, "w/job").running
    by_timeout, itself = map(int, (tmp_path / "w/job/log").read_text().split())
    wrapper = int(run(here, f"ps -o ppid= -p {by_timeout}").out)
    for pid in (wrapper, by_timeout, itself):
        os.kill(pid, 9)
    with pytest.raises(ShellFailed, match="left no exit code: it was killed") as failed:
        detached.follow(here, "w/job", lambda line: None)
    assert failed.value.rc is None
    assert detached.look(here, "w/job") == detached.Job("echo $PPID $$; exec sleep 60", False, None)


def test_one_that_was_killed_for_want_of_memory_is_not_said_to_take_too_long(here):
    with pytest.raises(ShellFailed, match=r"ended with 137.*\n.*memory was short") as failed:
        ended(here, "kill -9 $$")
    assert failed.value.rc == 137


def test_an_interrupted_look_leaves_it_running(here):
    def stop(line):
        raise KeyboardInterrupt

    detached.start(here, "w/job", "echo a; while [ ! -e go ]; do sleep 0.02; done; echo b")
    with pytest.raises(KeyboardInterrupt) as stopped:
        detached.follow(here, "w/job", stop)
    assert "runs on" in stopped.value.__notes__[0]
    assert detached.look(here, "w/job").running
    with pytest.raises(CheckFailed, match="another command"):
        detached.start(here, "w/job", "true")
    run(here, "touch go")
    assert detached.follow(here, "w/job", lambda line: None).out.split() == ["a", "b"]


def test_one_that_only_left_children_behind_is_waited_for(here):
    began = time.monotonic()
    assert ended(here, "sleep 0.4 & echo a").out.split() == ["a"]
    assert time.monotonic() - began > 0.35
