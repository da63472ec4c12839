"""The shell over a real OpenSSH server: keys, one connection, and connections that break."""

import os
import shutil
import stat
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from harness import until
from workstations import Sshd, call, demand, fingerprint, make_key, served

from lib.errors import ShellFailed
from lib.install import detached
from lib.workstation import notes
from lib.workstation.shell import connect_shell, read_text, run, write_text

pytestmark = pytest.mark.system


@pytest.fixture
def sshd(tmp_path, monkeypatch):
    """A server whose key is known, reached by an ssh that reads the tests' own config."""
    demand("sshd", "ssh", "ssh-keygen", "setsid", "flock")
    home = tmp_path / "home"
    home.mkdir()
    with served(home, tmp_path / "client", monkeypatch) as server:
        yield server


@pytest.fixture
def shell(sshd):
    return connect_shell(None, sshd.target)


def connections(sshd) -> int:
    return (sshd.home / "sshd.log").read_text().count("Accepted publickey")


def test_commands_files_and_notes_are_those_of_a_local_shell_over_one_connection(
    shell, sshd, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(shell, "pwd; echo $LC_ALL").out.split() == [str(sshd.home), "C"]
    assert run(shell, """printf '%s|' "a  b" '$HOME'; echo e >&2; exit 3""", ok=(3,)).rc == 3
    text = "a\r\n'\"$x `y` é\n\n"
    write_text(shell, "new folder/it's", text)
    assert read_text(shell, "new folder/it's") == text
    notes.update(shell, "w", attach={"volume": "1"})
    assert notes.read(connect_shell(None, sshd.target), "w") == {"attach": {"volume": "1"}}
    assert (sshd.home / "w/notes.json").exists() and not (tmp_path / "w").exists()
    notes.clear(shell, "w")
    assert not (sshd.home / "w").exists() and connections(sshd) == 1
    (folder,) = Path(os.environ["XDG_RUNTIME_DIR"]).iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert run(connect_shell(None, "alias"), "echo $HOME").out.strip() == str(sshd.home)


def test_where_others_may_look_into_the_folder_no_connection_is_shared(sshd):
    folder = Path(os.environ["XDG_RUNTIME_DIR"]) / f"runbook-ssh-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o755)
    shell = connect_shell(None, sshd.target)
    run(shell, "true")
    run(shell, "true")
    assert connections(sshd) == 2 and list(folder.iterdir()) == []


def test_the_folder_of_the_shared_connection_may_have_a_blank_in_its_name(sshd, monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="a %b") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        shell = connect_shell(None, sshd.target)
        run(shell, "true")
        run(shell, "true")
        (socket,) = Path(folder).glob("*/*")
        close = ["ssh", "-o", f'ControlPath="{str(socket).replace("%", "%%")}"', "-O", "exit", "x"]
        call(*close)
    assert connections(sshd) == 1


def test_a_key_in_the_agent_is_enough(sshd, tmp_path, monkeypatch):
    demand("ssh-agent", "ssh-add")
    (sshd.home / "key").rename(tmp_path / "elsewhere")
    config = sshd.home / "ssh_config"
    lines = [x for x in config.read_text().splitlines() if "Identit" not in x]
    config.write_text("\n".join(lines))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    with pytest.raises(ShellFailed, match="none of your keys"):
        run(connect_shell(None, sshd.target), "true")
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")]) as agent:
        try:
            until((tmp_path / "agent").exists)
            call("ssh-add", "-q", str(tmp_path / "elsewhere"))
            assert run(connect_shell(None, sshd.target), "echo in").out == "in\n"
        finally:
            agent.terminate()


@pytest.fixture
def behind(sshd, tmp_path):
    """A server that the client's config reaches by way of the other one."""
    (tmp_path / "inner").mkdir()
    inner = Sshd(tmp_path / "inner")
    shutil.copy(sshd.home / "key.pub", inner.home / "authorized_keys")
    known = inner.home / "known_hosts"
    inner.know()
    with (sshd.home / "known_hosts").open("a") as file:
        file.write(known.read_text())
    with (sshd.home / "ssh_config").open("a") as file:
        file.write(f"Host inner\n    HostName 127.0.0.1\n    Port {inner.port}\n    User root\n")
        file.write(f"    ProxyJump {sshd.target}\n")
    inner.start()
    yield inner
    inner.stop()


def test_a_jump_host_of_the_ssh_config_is_gone_through(sshd, behind):
    shell = connect_shell(None, "inner")
    assert run(shell, "echo $HOME").out.strip() == str(behind.home)
    detached.start(shell, "w/job", "echo done")
    assert detached.follow(shell, "w/job", lambda line: None).out == "done\n"
    assert connections(sshd) == connections(behind) == 1


def test_the_key_of_a_jump_host_is_checked_as_well(sshd, behind):
    (sshd.home / "known_hosts").write_text((behind.home / "known_hosts").read_text())
    with pytest.raises(ShellFailed, match="not known here") as failed:
        run(connect_shell(None, "inner"), "true")
    assert fingerprint(sshd.home / "host_key.pub") in str(failed.value)
    assert connections(sshd) == connections(behind) == 0


@pytest.mark.parametrize("changed", [False, True])
def test_an_unknown_or_changed_host_key_is_refused_and_shown(shell, sshd, changed):
    (sshd.home / "known_hosts").unlink()
    if changed:
        make_key(sshd.home / "other")
        kind, key = (sshd.home / "other.pub").read_text().split()[:2]
        (sshd.home / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {kind} {key}\n")
    words = r"HAS CHANGED.*ssh-keygen -R" if changed else "not known here"
    with pytest.raises(ShellFailed, match=words) as failed:
        run(shell, "touch came-in")
    assert fingerprint(sshd.home / "host_key.pub") in str(failed.value)
    assert f"ssh -p {sshd.port} root@127.0.0.1" in str(failed.value)
    assert connections(sshd) == 0 and not (sshd.home / "came-in").exists()


def test_a_server_that_accepts_no_key_or_is_missing_is_explained(shell, sshd):
    (sshd.home / "authorized_keys").write_text("")
    with pytest.raises(ShellFailed, match="none of your keys"):
        run(shell, "true")
    sshd.stop()
    with pytest.raises(ShellFailed, match="was not reached"):
        run(shell, "true")


def test_the_output_of_a_bashrc_is_dropped(shell, sshd):
    (sshd.home / ".bashrc").write_text("echo '{hello'; printf there; echo oh >&2\n")
    assert run(shell, "echo out").out == "out\n"
    write_text(shell, "w/notes.json", '{"a": 1}')
    assert notes.read(shell, "w") == {"a": 1}
    seen = []
    detached.start(shell, "w/job", "echo a; echo b >&2")
    detached.follow(shell, "w/job", seen.append)
    assert seen == ["a", "b"]


LONG = "echo begun; touch begun; while [ ! -e go ]; do sleep 0.05; done; echo ended"


def test_a_command_outlives_its_connection_and_is_followed_to_its_end(shell, sshd):
    """The server dies in the middle and comes back: no line is lost, and none comes twice."""
    seen, done = [], []
    detached.start(shell, "w/job", LONG)
    follower = threading.Thread(
        target=lambda: done.append(detached.follow(shell, "w/job", seen.append, within=60))
    )
    follower.start()
    until((sshd.home / "begun").exists)
    until(lambda: seen)
    sshd.drop()
    sshd.start()
    (sshd.home / "go").touch()
    follower.join(30)
    assert done[0].out.split() == ["begun", "ended"]
    assert [line for line in seen if "connection was lost" not in line] == ["begun", "ended"]
    assert any("connection was lost" in line for line in seen)


def test_a_lost_connection_is_an_error_that_names_the_running_command(shell, sshd, monkeypatch):
    monkeypatch.setattr(detached, "RECONNECT", 0.2)
    detached.start(shell, "w/job", LONG)
    until((sshd.home / "begun").exists)
    with pytest.raises(ShellFailed, match=r"probably still runs.*Run this stage again"):
        detached.follow(shell, "w/job", lambda line: line == "begun" and sshd.drop())
    sshd.start()
    assert detached.is_running(shell, "w/job")
    (sshd.home / "go").touch()
    assert detached.follow(shell, "w/job", lambda line: None).out.split() == ["begun", "ended"]
