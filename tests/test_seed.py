"""A survey of a cloud is a seed of the local cloud, and asks only questions."""

import json

import pytest
import yaml
from harness import Place, changes, client

from lib.commands.main import main
from lib.localcloud.state import seeds
from lib.localcloud.wire.server import Server
from lib.survey import seed

OWN = """
zones: [{name: tokyo-1}, {name: osaka-1}, {name: plain, type: Basic}]
networks:
  - {name: web, zone: tokyo-1, cidr: 10.9.0.0/24}
  - {name: far, zone: osaka-1, cidr: 10.8.0.0/24}
  - {name: web, zone: osaka-1, cidr: 10.7.0.0/24}
  - {name: shared, zone: plain, cidr: 10.6.0.0/24}
security_groups:
  - {name: default}
  - {name: peers, rules: [all 0-0 peers, tcp 22-22 192.0.2.0/24, icmp -1--1 0.0.0.0/0]}
service_offerings: [{name: M8, cpus: 2, memory: 8192}, {name: S2, cpus: 1, memory: 2048, tags: ssd}]
workstation: {name: bench, network: web, address: 10.9.0.10, offering: M8}
machines:
  - {name: far-away, network: web, zone: osaka-1, address: 10.7.0.20, offering: S2,
     template: Debian 12}
  - {name: theirs, state: Stopped, network: web, address: 10.9.0.20, offering: S2,
     template: Debian 12}
volumes:
  - {name: ROOT-theirs, size: 8, zone: tokyo-1, machine: theirs, root: true}
  - {name: data, size: 5, zone: tokyo-1, machine: theirs}
  - {name: spare, size: 7, zone: tokyo-1}
limits: {vm: 5, volume: 9}
configuration: {custom.diskoffering.size.max: 512}
"""
KEPT = ("zones", "networks", "service_offerings", "disk_offerings", "os_types", "workstation",
        "machines", "volumes", "security_groups")  # fmt: skip


@pytest.fixture
def own(tmp_path):
    """A file with a seed of a cloud with names of its own."""
    path = tmp_path / "own.yaml"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize("dialect", ["4.22", "2.2"])
def test_a_survey_makes_a_cloud_that_is_surveyed_alike_and_changes_nothing(own, tmp_path, dialect):
    with Server(tmp_path / "a", dialect=dialect, time_scale=0, seed=own) as server:
        first = seed.of(client(server), "bench")
        assert changes(client(server)) == []
    copy = tmp_path / "copy.yaml"
    copy.write_text(yaml.safe_dump(first))
    with Server(tmp_path / "b", dialect=dialect, time_scale=0, seed=copy) as server:
        again = seed.of(client(server), "bench")
    assert {name: again[name] for name in KEPT} == {name: first[name] for name in KEPT}
    assert [z["name"] for z in first["zones"]] == ["tokyo-1", "osaka-1", "plain"]
    assert first["security_groups"][1] == yaml.safe_load(OWN)["security_groups"][1]
    places = {m["name"]: (m["network"], m["zone"]) for m in first["machines"]}
    assert places == {"far-away": ("web", "osaka-1"), "theirs": ("web", "tokyo-1")}
    assert first["workstation"]["address"] == "10.9.0.10"
    assert all("mount" in disk for disk in first["workstation"]["disks"])
    held = seeds.read(copy)
    if dialect == "4.22":
        assert (held["limits"]["vm"], held["limits"]["volume"]) == (5, 9)
        assert held["configuration"]["custom.diskoffering.size.max"] == 512


def test_what_is_left_out_of_a_copy_is_free_there(own, tmp_path):
    with Server(tmp_path / "a", time_scale=0, seed=own) as server:
        whole = seed.of(client(server), "bench")
        rest = seed.of(client(server), "bench", lambda row: row["name"] in ("theirs", "spare"))
    assert [m["name"] for m in rest["machines"]] == ["far-away"] and "volumes" not in rest
    assert rest["limits"] == whole["limits"]


@pytest.mark.parametrize(
    "seed, text", [("bad.yaml", "expected a seed in YAML"), ("/dev/zero", "/dev/zero: is no file")]
)
def test_a_rehearsal_of_a_file_that_is_no_seed_is_refused(tmp_path, capsys, seed, text):
    (tmp_path / "my.yaml").write_text("profile: local\n")
    (tmp_path / "bad.yaml").write_text("- zones\n")
    words = ["rehearse", str(tmp_path / "my.yaml"), "--from", str(tmp_path / seed)]
    assert main([*words, "--runs", str(tmp_path / "runs")]) == 2
    assert text in capsys.readouterr().err


def test_a_rehearsal_runs_on_a_copy_and_asks_the_own_cloud_only_questions(own, tmp_path):
    with Server(tmp_path / "real", time_scale=0, seed=own) as server:
        facts, place = server.connection, Place(tmp_path)
        place.env |= {"CLOUDSTACK_ENDPOINT": facts["endpoint"]}
        place.env |= {"CLOUDSTACK_KEY": facts["apikey"], "CLOUDSTACK_SECRET": facts["secretkey"]}
        given = {"profile": "env", "zone": "tokyo-1", "workstation": "bench", "network": "web"}
        given |= {"service_offering": "M8", "mode": "plan"}
        (tmp_path / "my.yaml").write_text(yaml.safe_dump(given))
        file, runs = str(tmp_path / "my.yaml"), ["--runs", str(place.runs)]
        created = place.runbook("run", file, "--mode", "apply", "--yes", "--stages", "10", *runs)
        assert created.returncode == 0, created.stdout + created.stderr
        before = changes(client(server))
        survey = place.runbook("survey", file)
        assert survey.returncode == 0, survey.stderr
        assert facts["apikey"] not in survey.stdout and facts["secretkey"] not in survey.stdout
        (tmp_path / "saved.yaml").write_text(survey.stdout)
        done = place.runbook("rehearse", file, "--stages", "10", *runs)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "createVolume" in done.stdout and changes(client(server)) == before
        assert "At env these jobs took, in the median of earlier runs:\n  create" in done.stdout
    taken = ["--stages", "10", "-p", "volume_name=spare", *runs]
    failed = place.runbook("rehearse", file, "--from", str(tmp_path / "saved.yaml"), *taken)
    assert failed.returncode == 1 and "somebody else's" in failed.stdout
    assert "How long this takes at env is not known" in failed.stdout
    assert "Correct the file, then rehearse it again" in failed.stdout
    assert not any(words in failed.stdout for words in ("To continue", " resume ", "With another"))
    newest = max(p for p in place.runs.iterdir() if p.is_dir())
    page = (newest / "report.html").read_text()
    assert "rehearse it again" in page and " resume " not in page and "--stages 90" not in page
    assert json.loads((newest / "run.json").read_text())["reason"].startswith("a rehearsal")
