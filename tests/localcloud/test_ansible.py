"""Ansible's collection for CloudStack keeps a cluster; a run that follows changes nothing."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from .ansible_environment import FOLDER

PLAYBOOK = Path(__file__).with_name("playbook.yml")


@pytest.fixture
def play(api, tmp_path):
    """Run the playbook and return how many tasks it did, and how many changed something."""
    if not (FOLDER / "ansible_collections").exists():
        pytest.skip("no .ansible: python3 tests/localcloud/ansible_environment.py makes it")
    private = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", private], check=True)
    key = private.with_suffix(".pub").read_text().strip()

    def run(**values):
        done = subprocess.run(
            [FOLDER / "bin" / "ansible-playbook", PLAYBOOK, "-i", "localhost,", "-c", "local",
             "-e", json.dumps({"public_key": key} | values)],
            env=environment(api, tmp_path), capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout.replace(api.facts["apikey"], "…")
        [recap] = re.findall(r"ok=(\d+) +changed=(\d+)", done.stdout)
        return tuple(map(int, recap))

    return run


def environment(api, home):
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(FOLDER),
        "ANSIBLE_PYTHON_INTERPRETER": str(FOLDER / "bin" / "python"),
        "CLOUDSTACK_ENDPOINT": api.facts["endpoint"],
        "CLOUDSTACK_KEY": api.facts["apikey"],
        "CLOUDSTACK_SECRET": api.facts["secretkey"],
    }


@pytest.mark.system
def test_a_second_run_changes_nothing_and_a_changed_playbook_its_difference(play, api):
    assert play(size=5, offering="Small Instance") == (5, 3)
    before = api("listVirtualMachines", keyword="ansible")["virtualmachine"]
    assert play(size=5, offering="Small Instance") == (5, 0)
    assert api("listVirtualMachines", keyword="ansible")["virtualmachine"] == before
    assert play(size=7, offering="Medium Instance") == (5, 2)
    after = api("listVirtualMachines", keyword="ansible")["virtualmachine"]
    assert [m["id"] for m in after] == [m["id"] for m in before]
    assert {(m["serviceofferingname"], m["state"]) for m in after} == {
        ("Medium Instance", "Running")
    }
    [volume] = api("listVolumes", name="ansible-data")["volume"]
    assert (volume["size"], volume["vmname"]) == (7 * 2**30, "ansible-1")
