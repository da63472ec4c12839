"""Exports of a run's resources, read by the programs that they are for."""

import csv
import io
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import folders
import pandas as pd
import pytest
from folders import ID, shown, stage

from lib.commands.main import main
from lib.record import jsonl, reading
from lib.report import cover, resources
from lib.report.past import read

ANSIBLE = Path(__file__).parents[2] / ".ansible/bin/ansible-inventory"
COLUMNS = ["name", "state", "serviceofferingname", "nic", "id"]


def table(columns, *rows):
    return shown(pd.DataFrame(rows, columns=columns, dtype="str"))


def changed(*rows):
    return table(reading.CHANGES, *rows)


def run(runs, machine="web-2", address="10.0.0.3", **params):
    """Write a run that created two machines, changed one, removed one, and saw the workstation."""
    events = stage("10-make", 0, 1) + stage("42-make", 1, 1) + stage("50-deploy", 2, 4)
    folder = folders.run(runs, "20260304-050607-web", events, **params)
    before = [("desk", "Running", "S", "10.0.0.2", "i0"), ("web-10", "Stopped", "S", "", "i10")]
    before.append(("web-9", "Running", "S", "10.0.0.9", "i9"))
    after = changed(
        ("new", machine, "i2", f"state Running, serviceofferingname S, nic {address}, 10.1.0.3"),
        ("changed", "web-10", "i10", "state: Stopped → Running; nic: none → 10.0.0.10"),
        ("gone", "web-9", "i9", "state Running"),
    )
    disk = table(["name", "state", "vmdisplayname", "id"], ("web_disk", "Ready", "", ID))
    image = table(["name", "isready", "id"], ("web-tpl", "True", "t"))
    folders.book(folder, "10-make", before=[disk])
    folders.book(folder, "42-make", before=[image])
    folders.book(folder, "50-deploy", before=[table(COLUMNS, *before)], after=[after])
    return folder


def exported(capsys, runs, form):
    assert main(["export", "latest", "--to", form, "--runs", str(runs)]) == 0
    return capsys.readouterr().out


def test_hosts_and_ssh_config_name_the_machines_in_order(tmp_path, capsys):
    run(tmp_path)
    lines = exported(capsys, tmp_path, "hosts").splitlines()
    assert lines[1:] == ["10.0.0.3\tweb-2", "10.0.0.10\tweb-10"]
    config = tmp_path / "config"
    config.write_text(exported(capsys, tmp_path, "ssh-config"))
    command = ["ssh", "-F", config, "-G", "web-10"]
    read = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"hostname 10.0.0.10", "user core"} <= set(read)


def test_the_address_by_which_a_machine_is_reached_from_outside_is_exported(tmp_path, capsys):
    outside = {"name": "web-2", "address": "203.0.113.2", "login": "ssh core@203.0.113.2"}
    facts = run(tmp_path, cluster_name="web") / "facts.jsonl"
    for at in ("203.0.113.9", "203.0.113.2"):  # the last one counts
        with jsonl.opened(facts) as file:
            jsonl.append(file, {"at": "", "outside": outside | {"address": at}})
    assert "\n203.0.113.2\tweb-2-public\n" in exported(capsys, tmp_path, "hosts")
    named = "Host web-2-public\n    HostName 203.0.113.2\n"
    assert named in exported(capsys, tmp_path, "ssh-config")
    rows = list(csv.DictReader(io.StringIO(exported(capsys, tmp_path, "csv"))))
    assert [r["public_address"] for r in rows if r["name"] == "web-2"] == ["203.0.113.2"]
    assert "public_address: 203.0.113.2" in exported(capsys, tmp_path, "ansible")
    report = cover.facts(read(facts.parent))
    assert report["from outside"] == "ssh core@203.0.113.2"


def test_machines_of_roles_are_of_the_cluster(tmp_path, capsys):
    roles = [{"name": "db", "count": 1}]
    folder = run(tmp_path, machine="web-db-2", cluster_name="web", roles=roles)
    found = resources.read(read(folder))
    seen = [replace(one, change="") for one in found if one.kind == "machine"]
    assert [one.name for one in resources.of_cluster(read(folder), seen)] == [
        "web-9", "web-10", "web-db-2"
    ]  # fmt: skip


def test_ansible_reads_the_inventory(tmp_path, capsys):
    if not ANSIBLE.exists():
        pytest.skip("no .ansible: python3 tests/localcloud/ansible_environment.py makes it")
    run(tmp_path, cluster_name="web", machine_user="ops")
    file = tmp_path / "hosts.yaml"
    file.write_text(exported(capsys, tmp_path, "ansible"))
    command = [ANSIBLE, "-i", file, "--list"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert found["web"] == {"hosts": ["web-2", "web-10"]}
    facts = {"ansible_host": "10.0.0.3", "ansible_user": "ops", "cloudstack_id": "i2"}
    assert found["_meta"]["hostvars"]["web-2"] == facts


@pytest.mark.parametrize(("project", "prefix"), [("", ""), ("p${x}", "p$${x}/")])
def test_terraform_gets_a_block_for_what_its_provider_can_import(tmp_path, capsys, project, prefix):
    run(tmp_path, project=project, template_name="web-tpl")
    text = exported(capsys, tmp_path, "terraform-import")
    blocks = [
        ("cloudstack_instance.web-2", "i2"),
        ("cloudstack_instance.web-10", "i10"),
        ("cloudstack_disk.web_disk", ID),
    ]
    for address, identity in blocks:
        assert f'import {{\n  to = {address}\n  id = "{prefix}{identity}"\n}}\n' in text
    assert text.count("import {") == 3
    assert "# template web-tpl (t): the provider cannot import it\n" in text


def test_the_table_has_what_is_of_the_cluster_and_what_became_of_it(tmp_path, capsys):
    run(tmp_path, template_name="web-tpl")
    rows = list(csv.DictReader(io.StringIO(exported(capsys, tmp_path, "csv"))))
    assert [(r["kind"], r["name"], r["address"], r["run"]) for r in rows] == [
        ("machine", "web-2", "10.0.0.3", "created"),
        ("machine", "web-10", "10.0.0.10", "changed"),
        ("template", "web-tpl", "", ""),
        ("volume", "web_disk", "", ""),
    ]


@pytest.mark.parametrize("form", ["ansible", "ssh-config", "hosts"])
@pytest.mark.parametrize("bad", [{"machine": "x\n1.2.3.4 bank"}, {"address": "none"}])
def test_a_name_or_address_that_such_a_file_cannot_hold_is_refused(tmp_path, capsys, form, bad):
    run(tmp_path, **bad)
    assert main(["export", "latest", "--to", form, "--runs", str(tmp_path)]) == 2
    assert "1 of 2 machines lack a name or address" in capsys.readouterr().err


def test_a_run_that_saw_nothing_of_the_cluster_is_refused(tmp_path, capsys):
    folders.run(tmp_path, "20260304-050607-web", stage("00-look", 0, 4))
    assert main(["export", "latest", "--to", "csv", "--runs", str(tmp_path)]) == 2
    assert "show no resource of the cluster" in capsys.readouterr().err
