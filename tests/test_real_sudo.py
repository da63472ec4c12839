"""Debian's own sudo with a user who has a password: it is handed over, and leaves no trace."""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from workstations import call, demand, program, served

from lib.errors import ParamsError, ShellFailed
from lib.install import detached
from lib.record import masks
from lib.workstation.shell import PASSWORD, Shell, ask_password, connect_shell, run, write_text

pytestmark = pytest.mark.system
SECRET = "pass word$'\\é"
PROGRAMS = ("sudo", "setpriv", "useradd", "userdel", "chpasswd", "flock", "setsid", "printenv")


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """A user of this machine who may do everything with the password, and nothing without."""
    demand(*PROGRAMS)
    name = f"runbook{os.getpid()}"
    home = Path("/var/tmp") / name
    rule = Path("/etc/sudoers.d") / name
    call("useradd", "-m", "-d", str(home), "-s", "/bin/sh", name)
    try:
        call("chpasswd", input=f"{name}:{SECRET}\n")
        rule.write_text(f"{name} ALL=(ALL) ALL\nDefaults:{name} timestamp_timeout=0\n")
        rule.chmod(0o440)
        yield name
    finally:
        rule.unlink(missing_ok=True)
        call("userdel", "-r", name)


@pytest.fixture
def shell(user, monkeypatch):
    """A shell of that user, whose password is known."""
    monkeypatch.setenv(PASSWORD, SECRET)
    monkeypatch.setenv("HOME", f"/var/tmp/{user}")
    ids = [call("id", flag, user).strip() for flag in ("-u", "-g")]
    become = ["setpriv", "--reuid", ids[0], "--regid", ids[1], "--init-groups"]
    return Shell((*become, "/bin/sh"), "the workstation", takes_password=True)


def test_it_serves_each_program_of_a_command_and_detached_ones(shell):
    seen = run(shell, 'sh -c "id -un; cat" && $SUDO id -u; id -un', sudo=True, stdin=b"in\n")
    assert seen.out.splitlines()[:3] == ["root", "in", "0"]
    detached.start(shell, "job", "id -un; cat")
    assert detached.follow(shell, "job", lambda line: None).out.split() == ["root"]


def test_the_password_is_in_no_command_line_no_file_and_no_environment_of_root(shell, user):
    look = 'sh -c \'cat /proc/[0-9]*/cmdline | tr "\\0" " "; env\''
    output = run(shell, look, sudo=True).out
    detached.start(shell, "job", look)
    output += detached.follow(shell, "job", lambda line: None).out
    assert "sudo -A -p SUDO_ANSWER timeout" in output and SECRET not in output
    search = ["grep", "-rlF", "-e", SECRET, f"/var/tmp/{user}", "/var/log"]
    assert subprocess.run(search, capture_output=True, check=False).stdout == b""


def test_it_is_masked_and_not_handed_to_programs(shell):
    assert run(shell, "env").out.find(PASSWORD) == -1
    run(shell, "true", sudo=True)
    assert SECRET in masks.values()


def test_a_wrong_or_missing_password_is_explained_and_not_shown(shell, monkeypatch):
    for wrong in ("not this one", ""):
        monkeypatch.setenv(PASSWORD, wrong)
        with pytest.raises(ShellFailed, match=f"the environment variable {PASSWORD}") as failed:
            run(shell, "true", sudo=True)
        assert not wrong or wrong not in str(failed.value)


def test_one_that_is_not_needed_does_no_harm(shell, user):
    rule = Path("/etc/sudoers.d") / user
    before = rule.read_text()
    rule.write_text(f"{user} ALL=(ALL) NOPASSWD: ALL\n")
    try:
        assert run(shell, "cat", sudo=True, stdin=b"x").out == "x"
        detached.start(shell, "job", "id -un; cat")
        assert detached.follow(shell, "job", lambda line: None).out.split() == ["root"]
    finally:
        rule.write_text(before)


def test_a_notebook_can_ask_for_the_password_which_has_one_line(monkeypatch):
    monkeypatch.setenv(PASSWORD, "")
    monkeypatch.setattr("getpass.getpass", lambda prompt: "typed in")
    ask_password()
    assert os.environ[PASSWORD] == "typed in" and "typed in" in masks.values()
    monkeypatch.setenv(PASSWORD, "")
    monkeypatch.setattr("getpass.getpass", lambda prompt: "a\nb")
    with pytest.raises(ParamsError, match=PASSWORD):
        ask_password()


def test_a_machine_that_is_not_the_workstation_gets_none(shell):
    node = replace(shell, takes_password=False)
    assert run(node, "cat", stdin=b"in").out == "in"
    with pytest.raises(ShellFailed, match="none is passed on") as failed:
        run(node, "true", sudo=True, stdin=b"in")
    assert PASSWORD not in str(failed.value)


def test_over_ssh_it_is_the_same(user, tmp_path, monkeypatch):
    demand("sshd", "ssh", "ssh-keygen")
    monkeypatch.setenv(PASSWORD, SECRET)
    (tmp_path / "home").mkdir()
    ids = [call("id", flag, user).strip() for flag in ("-u", "-g")]
    with served(tmp_path / "home", tmp_path / "client", monkeypatch) as sshd:
        ask = f"setpriv --reuid {ids[0]} --regid {ids[1]} --clear-groups /usr/bin/sudo"
        program(sshd.home, "sudo", f'exec {ask} "$@"')
        shell = connect_shell(None, sshd.target)
        assert run(shell, "cat", sudo=True, stdin=b"x").out == "x"
        write_text(shell, "a", "b")
        detached.start(shell, "job", "id -un")
        assert detached.follow(shell, "job", lambda line: None).out.split() == ["root"]
        assert not re.search("pass.word", (sshd.home / "sshd.log").read_text())
