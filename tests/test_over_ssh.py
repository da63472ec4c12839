"""The whole procedure with the workstation behind a real sshd: the notebooks are unchanged."""

import pytest
from harness import OLD, changes, client, play, play_to
from workstations import demand, served

from lib.localcloud.wire.server import Server

pytestmark = pytest.mark.system
FLATCAR = {"installer": "flatcar-install", "channel": "stable", "config_format": "ignition"}
FLATCAR |= {"config_delivery": "userdata", "discovery": "static"}
# Nobody has a real etcd of 2014 to ask any more.
WAYS = {
    "of 2014": ("2.2", OLD, "50-deploy-cluster"),
    "of today": ("4.22", FLATCAR, "60-verify-cluster"),
}


@pytest.fixture
def sshd(tmp_path, monkeypatch):
    demand("sshd", "ssh", "ssh-keygen", "etcd")
    (tmp_path / "home").mkdir()
    with served(tmp_path / "home", tmp_path / "client", monkeypatch) as one:
        yield one


def lead_to(sshd, server) -> None:
    """Have a login end up in the shell of the local cloud's workstation."""
    shell = " ".join(server.connection["shell"])
    keys, key = sshd.home / "authorized_keys", (sshd.home / "key.pub").read_text()
    keys.write_text(f'command="{shell} -c \\"$SSH_ORIGINAL_COMMAND\\"" {key}')


@pytest.mark.parametrize("dialect, params, last", WAYS.values(), ids=WAYS)
def test_the_chain_runs_over_ssh_and_a_second_run_finds_nothing_to_do(
    sshd, tmp_path, dialect, params, last
):
    place = {"dialect": dialect, "time_scale": 0}
    with Server(tmp_path / "cloud", **place, real_etcd=True) as server:
        lead_to(sshd, server)
        cloud, there = client(server, shell=()), {"workstation_ssh": sshd.target}
        play_to(cloud, last, **params | there)
        before = changes(cloud)
        play_to(cloud, last, **params | there)
        assert changes(cloud) == before
        play(cloud, "90-remove-cluster", **there)
    home = tmp_path / "cloud/workstation/home"
    assert not (home / "coreos-cluster").exists() and list(sshd.home.glob("coreos*")) == []
    log = (sshd.home / "sshd.log").read_text()
    assert log.count("Accepted publickey") == 1
