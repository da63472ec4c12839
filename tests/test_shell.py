"""The shell that runs commands on the workstation."""

import os
import stat
import tempfile
from pathlib import Path

import pytest
from harness import until
from workstations import SUDO, at_home, program, runs

from lib.errors import ParamsError, ShellFailed
from lib.workstation import shell
from lib.workstation.shell import Shell, connect_shell, find_text, read_text, run, write_text


def test_the_profiles_prefix_wins_over_ssh():
    assert connect_shell(["/bin/sh", "x"], "me@there").argv == ("/bin/sh", "x")


def test_ssh_asks_nothing_and_trusts_no_unknown_host():
    argv = connect_shell(None, "core@10.1.0.5:2222").argv
    assert argv[0] == "ssh" and argv[-3:] == ("--", "core@10.1.0.5", "exec /bin/sh")
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=10"} <= set(argv)
    assert argv[argv.index("-p") + 1] == "2222"


@pytest.mark.parametrize("exists", [True, False])
def test_without_a_folder_for_them_no_connections_are_shared(monkeypatch, exists):
    with tempfile.TemporaryDirectory(dir="/tmp") as base:  # short, as its name counts
        (Path(base) / f"runbook-ssh-{os.getuid()}").touch()
        monkeypatch.setenv("XDG_RUNTIME_DIR", base if exists else f"{base}/absent")
        argv = connect_shell(None, "me@h").argv
    assert "BatchMode=yes" in argv and "ControlMaster=auto" not in argv


@pytest.mark.parametrize(
    "bad", ["-oProxyCommand=x", "me@-x", "a b", "me@", "h:0", "h:99999", "h;x", "-l@h", "h\n"]
)
def test_a_host_that_ssh_would_misread_is_refused(bad):
    with pytest.raises(ParamsError, match="workstation_ssh"):
        connect_shell(None, bad)


def test_a_command_starts_at_home_and_speaks_english(here, tmp_path):
    assert run(here, "pwd; echo $LC_ALL").out.split() == [str(tmp_path), "C"]


def test_stdout_stderr_and_exit_code_are_apart(here):
    assert run(here, "echo a; echo b >&2; exit 3", ok=(3,)) == shell.Result(3, "a\n", "b\n")
    assert run(here, "printf '\\377'").out == "\ufffd"
    assert run(here, "cat").out == "", "without stdin the end is found at once"
    with pytest.raises(ShellFailed, match="ended with 3: no such thing") as failed:
        run(here, "echo no such thing >&2; exit 3")
    assert failed.value.rc == 3


def test_a_hanging_command_is_ended_with_its_children(here, tmp_path):
    with pytest.raises(ShellFailed, match="did not end in time") as failed:
        run(here, "sh -c 'sleep 60 & echo $! >pid; wait'; true", within=0.4)
    assert failed.value.rc is None
    until(lambda: not runs((tmp_path / "pid").read_text()))


SUDOS = {  # the program sudo, the command, the error, whether it blames sudo
    "it hangs": (SUDO, "sh -c 'echo began; sleep 60'", "did not end in time: began", False),
    "the program fails": (SUDO, "sh -c 'exit 4'", "ended with 4", False),
    "no rights": ("echo 'sudo: a password is required' >&2; exit 1", "true", "ended with 1", True),
}


@pytest.mark.parametrize("sudo, command, error, blamed", SUDOS.values(), ids=SUDOS)
def test_a_root_command_that_fails_is_blamed_on_sudo_only_for_missing_rights(
    tmp_path, monkeypatch, sudo, command, error, blamed
):
    ws = at_home(tmp_path, monkeypatch, {"sudo": sudo}, os.environ["PATH"])
    with pytest.raises(ShellFailed, match=error) as failed:
        run(ws, command, sudo=True, within=0.4 if "sleep" in command else 60)
    assert ("needs `sudo` for your user" in str(failed.value)) == blamed
    assert failed.value.rc is None or "sleep" not in command


def test_sudo_is_not_interactive_and_serves_each_program(tmp_path, monkeypatch):
    says = {"sudo": 'echo "$1 $7"; shift; exec "$@"'}
    ws = at_home(tmp_path, monkeypatch, says, os.environ["PATH"])
    assert run(ws, "echo a; $SUDO echo b", sudo=True).out == "-n a\na\n-n b\nb\n"


ANSWERS = {  # of ssh, of a second ssh that diagnoses the first, and the advice
    "no key of ours": ("Permission denied (publickey).", "exit 255", "none of your keys"),
    "no answer": ("connect to host h port 22: Connection refused", "exit 255", "was not reached"),
    "no key shown": (
        "Host key verification failed.", "echo debug1: >&2; exit 255",
        r"not known here\. The key it offers: not shown by ssh\..*by hand: ssh -p 22 me@h$",
    ),
    "a key shown": (
        "Host key verification failed.", "echo Server host key: ssh-x SHA256:abc >&2; exit 255",
        r"The key it offers: ssh-x SHA256:abc\.",
    ),
    "it hangs then": ("Host key verification failed.", "exec sleep 60", "not shown by ssh"),
    "a jump host hangs then": (
        "kex_exchange_identification: closed", "exec sleep 60", "was not reached",
    ),
    "a jump host's key": (
        "kex_exchange_identification: closed",
        "echo Host key verification failed. >&2; exit 255", "not known here",
    ),
}  # fmt: skip


@pytest.mark.parametrize("first, second, advice", ANSWERS.values(), ids=ANSWERS)
def test_an_ssh_that_fails_is_explained(tmp_path, monkeypatch, first, second, advice):
    if "sleep" in second:
        monkeypatch.setattr("lib.workstation.ssh.AGAIN", 0.2)
    text = f"case $* in *ControlPath=none*) {second} ;; esac; echo '{first}' >&2; exit 255"
    ssh = program(tmp_path, "ssh", text)
    with pytest.raises(ShellFailed, match=advice):
        run(Shell((str(ssh), "-p", "22", "--", "me@h"), "h", remote=True), "true")


def test_a_remote_command_arrives_unchanged(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    ssh = program(tmp_path, "ssh", 'exec /bin/sh -c "$*"')  # as sshd does
    ws = Shell((str(ssh), "exec /bin/sh"), "h", remote=True)
    assert run(ws, """printf '%s|' "a  b" 'c"d' '$HOME' \\\\""").out == """a  b|c"d|$HOME|\\|"""


def test_a_login_that_does_not_run_the_command_is_an_error(tmp_path):
    login = program(tmp_path, "login", "echo menu")
    with pytest.raises(ShellFailed, match=r"(?s)menu.*did not run the command"):
        run(Shell((str(login),), "h"), "echo out")


def test_a_text_comes_back_as_it_was_written(here, tmp_path):
    text = "a\r\n'\"$x `y` é\n\n"
    write_text(here, "new folder/it's", text)
    assert read_text(here, "new folder/it's") == text
    file = tmp_path / "new folder" / "it's"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_writing_replaces_the_file_in_one_step(here, tmp_path):
    write_text(here, "f/x", "old")
    with (tmp_path / "f/x").open() as old:
        write_text(here, "f/x", "new")
        assert old.read() == "old"
    assert read_text(here, "f/x") == "new"
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["x"]


def test_a_text_is_on_the_disk_before_it_has_its_name(here, tmp_path, monkeypatch):
    """As a power cut may leave a name whose bytes were not written yet."""
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    program(tmp_path, "sync", 'echo "$2" >>synced; ls -A f >>synced')
    write_text(here, "f/x", "new")
    file, listed, folder, after = (tmp_path / "synced").read_text().split()
    assert file.startswith("f/.new.") and listed == ".new." + file[7:]
    assert (folder, after) == ("f", "x")


def test_a_text_cut_off_on_its_way_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    cut = program(tmp_path, "cut", 'head -c 3 | exec /bin/sh "$@"')
    with pytest.raises(ShellFailed):
        write_text(Shell((str(cut),), "cut"), "f/x", "whole text")
    assert list((tmp_path / "f").iterdir()) == []


def test_an_absent_file_is_none_or_an_error(here):
    assert find_text(here, "absent") is None
    with pytest.raises(ShellFailed, match="No such file"):
        read_text(here, "absent")
