"""The whole procedure with the workstation behind a real sshd: the notebooks are unchanged."""

import pytest
from harness import changes, client, play, play_to
from stages import REMOVE, VERIFY
from workstations import demand, served

from lib.localcloud.wire.server import Server

pytestmark = pytest.mark.system
PARAMS = {"installer": "flatcar-install", "channel": "stable", "config_format": "ignition"}
PARAMS |= {"config_delivery": "userdata", "discovery": "static"}


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


def test_the_chain_runs_over_ssh_and_a_second_run_finds_nothing_to_do(sshd, tmp_path):
    with Server(tmp_path / "cloud", time_scale=0, real_etcd=True) as server:
        lead_to(sshd, server)
        cloud, place = client(server, shell=()), {"workstation_ssh": sshd.target}
        play_to(cloud, VERIFY, **PARAMS | place)
        before = changes(cloud)
        play_to(cloud, VERIFY, **PARAMS | place)
        assert changes(cloud) == before
        play(cloud, REMOVE, **place)
    home = tmp_path / "cloud/workstation/home"
    assert not (home / "coreos-cluster").exists() and list(sshd.home.glob("coreos*")) == []
    log = (sshd.home / "sshd.log").read_text()
    assert log.count("Accepted publickey") == 1
