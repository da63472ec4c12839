"""Stage 60 questions the machines over real SSH, through a workstation, and names faults."""

import contextlib
import shutil
import socket
import subprocess
from types import SimpleNamespace

import pytest
from harness import FLATCAR, changes, client, play
from stages import DEPLOY, RECONFIGURE, VERIFY
from workstations import Sshd, demand, program, served

from lib.cluster import etcd, inside, login
from lib.errors import CheckFailed, ShellFailed
from lib.localcloud.guests import etcd as members
from lib.workstation.shell import PASSWORD, Shell

LOGIN = 'ForceCommand /bin/sh {shell} {machine} -c "$SSH_ORIGINAL_COMMAND"\n'


class Machines:
    """A cluster with an sshd at the address of each machine, reached through the workstation's."""

    def __init__(self, cloud, workstation: Sshd, folder):
        self.cloud, self.workstation, self.sshds = cloud, workstation, {}
        for row in cloud.list("listVirtualMachines"):
            if row["name"].startswith("coreos"):
                self.sshds[row["name"]] = self._serve(row, folder / row["name"])

    def _serve(self, row: dict, home) -> Sshd:
        """Serve a machine's shell at its address, with the port in the config of ssh."""
        home.mkdir()
        address = row["nic"][0]["ipaddress"]
        shell = self.cloud.server.folder / "machines/shell"
        one = Sshd(home, address, LOGIN.format(shell=shell, machine=row["id"]))
        shutil.copy(self.workstation.home / "key.pub", home / "authorized_keys")
        config = self.workstation.home / "ssh_config"
        config.write_text(f"Host {address}\n    Port {one.port}\n{config.read_text()}")
        one.start()
        return one

    def ask(self, stage: str = VERIFY, **more) -> dict:
        away = {"machine_user": "root", "workstation_ssh": self.workstation.target}
        return play(self.cloud, stage, **FLATCAR, **away | more)

    def wrong(self) -> dict[str, str]:
        """Return what 60 finds wrong: title -> found."""
        rows = self.ask(mode="plan", stop_at="verify")["found"]
        return {r.title: r.found for r in rows if r.ok == "✗"}


@pytest.fixture
def there(built, tmp_path, monkeypatch):
    demand("sshd", "ssh", "ssh-keygen", "etcd", "curl")
    home = tmp_path / "workstation"
    home.mkdir()
    with (
        served(home, tmp_path / "client", monkeypatch) as workstation,
        built(**FLATCAR).running(tmp_path / "cloud", real_etcd=True) as there,
    ):
        cloud = client(there.server, machine_shell=())
        play(cloud, DEPLOY, **FLATCAR)
        machines = Machines(cloud, workstation, tmp_path)
        yield machines
        for one in machines.sshds.values():
            one.stop()


def came_in(sshd: Sshd) -> int:
    return (sshd.home / "sshd.log").read_text().count("Accepted publickey")


@pytest.mark.system
class TestOverSsh:
    def test_each_machine_is_questioned_through_the_workstation(self, there):
        rows = there.ask()["found"]
        assert {r.ok for r in rows} == {"✓"}
        assert {"ssh", "configuration", "systemd"} <= {r.what for r in rows}
        assert 1 <= came_in(there.workstation) <= 3  # the first ones may come at once
        assert all(map(came_in, there.sshds.values()))
        kept = (there.cloud.folder.parent / "known_hosts").read_text()
        ids = [m["id"] for m in there.cloud.list("listVirtualMachines") if "cluster" in m["name"]]
        known = sorted(line.split()[0] for line in kept.splitlines())
        assert known == sorted(f"{i}.127.0.0.1" for i in ids)

    def test_the_cluster_moves_to_a_new_token_over_ssh(self, there):
        there.ask()
        there.ask(RECONFIGURE, move_discovery="a")
        odd = [(r.what, r.ok) for r in there.ask()["found"] if r.ok != "✓"]
        assert odd == [("registered", "-")] * 3  # they had formed, and ask it no more

    def test_the_host_key_of_the_workstation_must_be_known(self, there):
        (there.workstation.home / "known_hosts").unlink()
        wrong = there.wrong()
        assert set(wrong) == {f"ssh of coreos-cluster-{n}" for n in (1, 2, 3)}
        assert came_in(there.workstation) == 0
        with pytest.raises(CheckFailed, match="coreos-cluster-1 over SSH"):
            there.ask(RECONFIGURE)

    def test_no_command_is_sent_to_a_machine_whose_host_key_has_changed(self, there):
        there.ask()
        one = there.sshds["coreos-cluster-2"]
        one.stop()
        for name in ("host_key", "host_key.pub"):
            shutil.copy(there.workstation.home / name, one.home / name)
        one.start()
        before = came_in(one)
        assert list(there.wrong()) == ["ssh of coreos-cluster-2"]
        assert came_in(one) == before

    def test_a_machine_that_does_not_answer_is_named(self, there):
        there.sshds["coreos-cluster-3"].stop()
        assert list(there.wrong()) == ["ssh of coreos-cluster-3"]

    def test_another_configuration_and_a_failed_unit_are_named(self, there):
        file = "/var/lib/flatcar-install/user_data"
        shell = [*there.cloud.server.connection["machine_shell"]]
        one = there.cloud.list("listVirtualMachines", name="coreos-cluster-1")[0]
        subprocess.run([*shell, one["id"], "-c", f"echo '# more' >>{file}"], check=True)
        text = 'case $1 in is-*) echo degraded; exit 1 ;; --failed) echo "a.service x" ;; esac'
        program(there.cloud.server.folder / "machines", "systemctl", text)
        wrong = there.wrong()
        assert wrong.pop("configuration of coreos-cluster-1").endswith("user_data")
        assert wrong == {f"systemd of coreos-cluster-{n}": "degraded a.service" for n in (1, 2, 3)}
        seen = changes(there.cloud)
        assert len(there.ask(RECONFIGURE, mode="plan")["plan"].then) == 2
        assert changes(there.cloud) == seen

    def test_an_etcd_gives_the_same_answer_on_its_machine_as_from_here(self, there):
        there.ask()
        one = there.cloud.list("listVirtualMachines", name="coreos-cluster-2")[0]
        shell = login.connect(login.Access(there.cloud, "root", there.workstation.target), one)
        address = one["nic"][0]["ipaddress"]
        assert etcd.ask_on(shell, address, False) == etcd.ask(address, False)
        assert len(etcd.ask(address, False).members) == 3
        members.end(there.cloud.server.cloud, one)
        assert etcd.ask_on(shell, address, False).state == "silent"
        there.sshds["coreos-cluster-2"].stop()
        assert etcd.ask_on(shell, address, False).state == "unreachable"


CURL = """\
for url; do :; done
case $url in
    */health) printf '{"health":"true"}\\n200' ;;
    */v3/*) printf '{"members":[{"ID":"255","name":"a","peerURLs":["http://192.0.2.1:2380"]}]}'
        printf '\\n200' ;;
    *) printf '404 page not found\\n404' ;;
esac"""


def test_an_unreachable_etcd_is_queried_on_its_machine(tmp_path, monkeypatch):
    program(tmp_path, "curl", CURL)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    far = SimpleNamespace(profile=SimpleNamespace(shell=()))
    found, text = {"m-1": "127.9.8.7"}, "etcd-member"
    with deaf("127.9.8.7", etcd.PORT):
        assert etcd.ask_all(far, found, text)["m-1"].state == "unreachable"
        node = Shell(("/bin/sh",), "m-1")
        answer = etcd.ask_all(far, found, text, {"m-1": node})["m-1"]
    assert (answer.state, answer.members) == ("healthy", {"192.0.2.1"})


@contextlib.contextmanager
def deaf(address: str, port: int):
    """Have a port that answers nobody, as its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((address, port))
        yield


def test_no_machine_receives_the_password_of_the_workstation(tmp_path, monkeypatch):
    """The host key of a machine is accepted on first contact, so anybody could answer there."""
    program(tmp_path, "ssh", f"cat >>{tmp_path}/got; echo 'sudo: a password is required'; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv(PASSWORD, "pass word")
    monkeypatch.setenv("RUNBOOK_RUN", str(tmp_path / "run"))
    profile = SimpleNamespace(machine_shell=(), endpoint="http://cloud.test/api")
    cloud = SimpleNamespace(profile=profile, folder=tmp_path / "run")
    machine = {"name": "m-1", "id": "1", "nic": [{"ipaddress": "192.0.2.1"}]}
    shell = login.connect(login.Access(cloud, "core"), machine)
    with pytest.raises(CheckFailed, match="must need no password"):
        login._on_disk(machine, shell)
    assert "none is passed on" in str(inside._ask(shell))
    with pytest.raises(CheckFailed):
        login.write(login.Node(machine, "a", "/f", shell, "0"), b"the text")
    assert (tmp_path / "got").read_bytes() == b"the text"


def test_the_answers_of_a_machine_of_2014_become_rows():
    answers = {"carries": f"{'a' * 64} user_data", "system": "Unknown operation", "fleet": "2"}
    rows = list(inside._machine("m-1", answers | {"address": ":4001"}, "a" * 64, 3))
    assert [(r.title, r.ok, r.found) for r in rows] == [
        ("ssh of m-1", "✓", "an answer"),
        ("configuration of m-1", "✓", f"{'a' * 12} user_data"),
        ("fleet of m-1", "✗", "2 machines"),
        ("$private_ipv4 of m-1", "✗", ":4001"),
    ]


def test_the_questions_find_an_empty_address_and_count_the_machines_of_fleet(tmp_path):
    folder = tmp_path / "etcd.service.d"
    folder.mkdir()
    text = '[Service]\nEnvironment="ETCD_ADDR=:4001"\nEnvironment="ETCD_PEER_ADDR=:7001"\n'
    (folder / "20-cloudinit.conf").write_text(text)
    program(tmp_path, "fleetctl", "echo a 10.1.0.7 -; echo b 10.1.0.8 -")
    program(tmp_path, "systemctl", "echo Unknown operation $1 >&2; exit 1")
    asked = inside.QUESTIONS.replace("/run/systemd/system/etcd.service.d", str(folder))
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", asked], capture_output=True, text=True, env=env, check=True)
    lines = done.stdout.splitlines()
    assert "address :4001" in lines and "fleet 2" in lines
    assert "system Unknown operation is-system-running" in lines


def test_an_unreachable_machine_has_one_row_with_the_reason():
    error = ShellFailed("sh", 255, "x\nssh: connect to host 10.1.0.7 port 22: No route to host\n")
    (row,) = inside._machine("m-1", error, "a", 3)
    assert row.ok == "✗" and row.found.endswith("No route to host")
