"""Every stage on a local cloud of each dialect: looking is free, it acts, then it is done."""

import hashlib
import json
from functools import partial

import pytest
import requests
import yaml
from harness import ROOT, STAGES, changes, home, hurry, inventory, machines, play, play_to, running
from stages import ATTACH, CHECK, CREATE, DEPLOY, REMOVE, TEMPLATE, VERIFY, WRITE
from workstations import program

from lib import config, sending
from lib.cluster import removal
from lib.config import discovery
from lib.errors import CheckFailed, JobFailed, NotOne, Refused
from lib.install import detached
from lib.localcloud.guests import guests
from lib.workstation import notes
from lib.workstation.shell import connect_shell, write_text

FIRST = "coreos-cluster-1"
# These change the cloud; 43 does where the template comes from a URL.
ACTS = [s for s in STAGES if s[:2] not in ("00", "20", "30", "43", "60")]


@pytest.fixture
def templated(request, built, tmp_path):
    """A client of a local cloud with the template, by default of today's dialect."""
    dialect = getattr(request, "param", "4.22")
    with built(dialect=dialect).running(tmp_path / "cloud") as one:
        yield one


both_dialects = pytest.mark.parametrize("templated", ["4.22", "2.2"], indirect=True)


def test_the_procedure_builds_a_cluster_stage_by_stage_and_then_has_nothing_to_do(each_cloud):
    cloud, folder = each_cloud, {"work_dir": "my cluster"}
    before = inventory(cloud)
    for stage in STAGES:
        play(cloud, stage, mode="plan", **folder)
    assert changes(cloud) == [], "plan mode changed something on an empty cloud"
    for stage in STAGES:
        seen = changes(cloud)
        play(cloud, stage, mode="plan", **folder)
        assert changes(cloud) == seen, f"{stage} changed something in plan mode"
        play(cloud, stage, **folder)
        after = changes(cloud)
        assert (after != seen) == (stage in ACTS), stage
        play(cloud, stage, **folder)
        assert changes(cloud) == after, f"{stage} was not done after its first run"
    play_to(cloud, VERIFY, **folder)
    rows = play(cloud, VERIFY, **folder)["found"]
    assert [r.ok for r in rows if r.what == "registered"] == ["✓"] * 3
    assert ["stand-ins" in r.next for r in rows if r.ok == "-"] == [True] * 3
    play(cloud, "explore")
    play(cloud, REMOVE, mode="plan", **folder)
    assert changes(cloud) == after, "a second run of the whole chain changed something"
    play(cloud, REMOVE, **folder)
    assert inventory(cloud) == before and not home(cloud, "my cluster").exists()
    gone = changes(cloud)
    play(cloud, REMOVE, **folder)
    assert changes(cloud) == gone


@pytest.mark.parametrize(("file", "dialect"), [("idcf", "2.2"), ("cloudstack", "4.22")])
def test_the_parameter_files_to_copy_from_build_a_cluster(file, dialect, tmp_path):
    values = yaml.safe_load((ROOT / f"params/{file}.yaml").read_text())
    here = {"zone": "local-1", "discovery": "local", "ssh_key_file": "params/rehearsal.pub"}
    here |= {"disk_offering": "Custom Disk"}
    with running(tmp_path / "cloud", dialect=dialect) as cloud:
        play_to(cloud, VERIFY, **values | here)


def test_damaged_notes_are_not_needed_once_there_is_a_template(templated):
    file, seen = home(templated) / "notes.json", changes(templated)
    file.write_text("{")
    with pytest.raises(CheckFailed, match=r"Rename it there .* run this stage again"):
        play(templated, "30-install-coreos")
    file.rename(file.with_name("notes.json.damaged"))
    play_to(templated, TEMPLATE)
    assert changes(templated) == seen


def test_a_second_cluster_gets_a_token_and_a_disk_of_its_own(templated):
    play(templated, DEPLOY)
    other = {n: f"other-{n[:4]}" for n in ("cluster_name", "template_name", "volume_name")}
    play_to(templated, VERIFY, **other, work_dir="other")
    assert len(inventory(templated)["listVirtualMachines"]) == 7


# Bad input: a message that a tired operator understands, nothing sent, nothing lost.


def test_an_unknown_name_is_reported_with_the_names_there_are(cloud):
    for name, wrong in {
        "zone": "local-2",
        "disk_offering": "Custom Disc",
        "service_offering": "Medium",
        "os_type": "Other Linux",
        "workstation": "workstation",
        "network": "guest",
    }.items():
        with pytest.raises((CheckFailed, NotOne)) as error:
            play(cloud, CHECK, **{name: wrong})
        assert f"{name} {wrong}" in str(error.value) or name == "zone"
        assert "there are" in str(error.value)
    assert changes(cloud) == []


def test_two_machines_of_one_display_name_are_reported_with_their_ids(templated):
    play(templated, DEPLOY, cluster_size=1)
    one = machines(templated)[FIRST]["id"]
    templated.call("updateVirtualMachine", id=one, displayname="my-workstation")
    with pytest.raises(CheckFailed, match=one):
        play(templated, CHECK)


def test_a_volume_of_another_size_or_of_somebody_else_is_left_alone(cloud):
    with pytest.raises(CheckFailed, match="volume_size: wanted 1 GB or more, found 0 GB"):
        play(cloud, CREATE, volume_size=0)
    assert changes(cloud) == []
    theirs = {"cluster_name": "theirs"}
    for stage in (CREATE, ATTACH):
        play(cloud, stage, **theirs)
    seen = changes(cloud)
    for stage, params, text in (
        (CREATE, theirs | {"volume_size": 10}, "of Custom Disk, found 40 GB"),
        (CREATE, {}, "somebody else's"),
        (REMOVE, {}, "somebody else's"),
    ):
        with pytest.raises(CheckFailed, match=text):
            play(cloud, stage, **params)
    assert changes(cloud) == seen


def test_a_wrong_image_is_wiped_and_reported_and_the_right_one_installed(cloud, capsys):
    params = {"installer": "flatcar-install", "channel": "stable", "image_file": "my.bin"}
    play_to(cloud, WRITE, **params)
    shell = connect_shell(cloud.profile.shell, "")
    write_text(shell, "my.bin", "an image")
    wrong, right = (hashlib.sha256(t.encode()).hexdigest() for t in ("another", "an image"))
    stage = partial(play, cloud, "30-install-coreos", **params)
    with pytest.raises(CheckFailed, match=rf"wanted {wrong}, found {right}\..*Nothing was written"):
        stage(image_sha256=wrong, mode="plan")
    with pytest.raises(CheckFailed, match=rf"wanted {wrong}, found {right}\..*is blank"):
        stage(image_sha256=wrong)
    assert "erased at offset" in capsys.readouterr().out
    stage(image_sha256=right)


def test_no_snapshot_is_taken_of_a_disk_without_coreos(cloud):
    play_to(cloud, WRITE)
    with pytest.raises(CheckFailed, match="Run 30-install-coreos first"):
        play(cloud, "41-create-snapshot")


def test_nothing_is_removed_while_an_installer_writes(cloud, monkeypatch):
    play_to(cloud, WRITE)
    waits = "[ $1 != -h ] || exit 0; for _ in $(seq 3000); do [ -e go ] && exit; sleep 0.02; done"
    program(cloud.server.folder / "workstation", "coreos-install", waits)

    def left(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("lib.install.detached.follow", left)
        play(cloud, "30-install-coreos")
    seen, shell = changes(cloud), connect_shell(cloud.profile.shell, "")
    at_work = pytest.raises(CheckFailed, match=r"found coreos-install on /dev/vdc\. Wait for its")
    for mode in ("plan", "apply"):
        with at_work:
            play(cloud, REMOVE, mode=mode)
    with at_work:
        removal.clear_notes(shell, "coreos-cluster", "coreos-cluster", [], "apply")
    folder = notes.job("coreos-cluster")
    assert changes(cloud) == seen and detached.is_running(shell, folder)
    write_text(shell, "go", "")
    detached.follow(shell, folder, print)
    play(cloud, REMOVE)
    assert "coreos_cluster_disk" not in inventory(cloud)["listVolumes"]


@both_dialects
def test_a_full_cloud_is_explained_and_the_broken_machine_cleared_away(templated, capsys):
    cloud = templated
    cloud.call("configureSimulator", name="capacity", value="cpus:0")
    with pytest.raises((JobFailed, Refused), match=r"533.*No host could take it"):
        play(cloud, DEPLOY)
    output = capsys.readouterr().out
    assert "template ready here" in output and "size of the offering" in output
    assert "Error" not in {m["state"] for m in cloud.list("listVirtualMachines")}
    cloud.call("configureSimulator", name="capacity", value="cpus:100")
    play(cloud, DEPLOY)
    play(cloud, VERIFY)


@both_dialects
def test_a_machine_that_finds_no_place_to_start_is_explained(templated, capsys):
    cloud = templated
    play(cloud, DEPLOY, cluster_size=1)
    sending.run(cloud, "stopVirtualMachine", id=machines(cloud)[FIRST]["id"])
    cloud.call("configureSimulator", name="capacity", value="cpus:0")
    seen, offerings = changes(cloud), {"fallback_offerings": ["Small Instance"]}
    for size in (1, 3):
        with pytest.raises((JobFailed, Refused), match=r"startVirtualMachine.*533"):
            play(cloud, DEPLOY, **offerings, cluster_size=size)
        assert "size of the offering" in capsys.readouterr().out
    sent = [c for c in changes(cloud)[len(seen) :] if c != "createTags"]
    start, change = "startVirtualMachine", "changeServiceForVirtualMachine"
    first = [start, change, start] if cloud.has_tags else [start]
    more = ["deployVirtualMachine"] * 2 if cloud.has_tags else []
    assert sent == [*first, *more, start]
    cloud.call("configureSimulator", name="capacity", value="cpus:100")
    play(cloud, DEPLOY)
    play(cloud, VERIFY)


def test_a_plain_image_forms_a_cluster_by_the_unit_that_finds_its_address(cloud):
    play_to(cloud, VERIFY, oem="")


def test_without_that_unit_a_plain_image_forms_none_and_50_and_60_say_where_to_look(cloud):
    for stage in STAGES[: STAGES.index(DEPLOY)]:
        # The cloud-config is written for an image that knows $private_ipv4.
        play(cloud, stage, oem="cloudstack" if stage[:2] == "20" else "")
    hurry(cloud)
    with pytest.raises(CheckFailed, match=r"coreos-cluster-1: wanted .*empty \$private_ipv4"):
        play(cloud, DEPLOY, oem="")
    assert changes(cloud).count("startVirtualMachine") == 1
    reason = r"registered of coreos-cluster-1.*empty \$private_ipv4"
    with pytest.raises(CheckFailed, match=reason) as error:
        play(cloud, VERIFY, oem="")
    assert "$private_ipv4 of coreos-cluster-1: wanted its address, found :4001" in str(error.value)


def boots(cloud) -> list[str]:
    """Return the states of the entries in the journal that boot machines, in the lines' order."""
    lines = map(json.loads, (cloud.folder / "journal.jsonl").read_text().splitlines())
    known = {e.n for e in cloud.journal.every() if e.command == "startVirtualMachine"}
    return [x["state"] for x in lines if x["n"] in known]


def test_the_next_machine_of_2014_is_started_when_the_last_has_registered(templated, monkeypatch):
    def boot_anew(_seconds: float) -> None:
        """While the stage waits for the first machine, boot it until it reaches the service."""
        there = templated.server.cloud
        if boots(templated) == ["intent", "accepted", "done"]:
            waits.append("the only one")
            (row,) = [m for m in there.rows("virtualmachine") if m["name"] == "coreos-cluster-1"]
            with there.lock:
                guests.boot(there, row, None)

    def fetch(*request) -> tuple[int, str]:
        return reaches(*request) if len(waits) == 2 else (503, "")

    waits, reaches = [], guests.fetch
    monkeypatch.setattr(guests, "fetch", fetch)
    monkeypatch.setattr(templated, "sleep", boot_anew)
    play(templated, DEPLOY)
    assert len(waits) == 2
    play(templated, VERIFY)


def test_a_machine_of_2014_that_does_not_register_keeps_the_others_from_being_started(
    templated, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(guests, "fetch", lambda *_: (503, ""))
        patch.setattr(templated, "clock", iter(range(0, 10**6, 60)).__next__)
        for _ in range(2):
            with pytest.raises(CheckFailed, match="the registration of coreos-cluster-1: wanted"):
                play(templated, DEPLOY)
    assert changes(templated).count("startVirtualMachine") == 1
    sending.run(templated, "rebootVirtualMachine", id=machines(templated)[FIRST]["id"])
    play(templated, DEPLOY)
    play(templated, VERIFY)


def test_a_machine_is_at_the_address_of_its_default_nic_whichever_comes_first(built, tmp_path):
    with built().running(tmp_path / "cloud", second_nic=1) as cloud:
        play(cloud, DEPLOY)
        rows = cloud.list("listVirtualMachines", name="coreos-cluster-1")
        assert [n["isdefault"] for n in rows[0]["nic"]] == [False, True]
        rows = play(cloud, VERIFY)["found"]
        assert "✗" not in {r.ok for r in rows}
        assert play(cloud, DEPLOY)["plan"] == []


def test_what_an_earlier_stage_brings_about_fails_in_apply_mode_alone(templated):
    for state in ("absent", "Stopped"):  # as 50 deploys and starts the machines
        signs = {r.ok for r in play(templated, VERIFY, mode="plan")["found"]}
        assert "…" in signs and "✗" not in signs
        not_there = pytest.raises(CheckFailed, match=f"found {state}")
        with pytest.MonkeyPatch.context() as patch, not_there:
            patch.setattr(templated, "clock", iter(range(0, 10**6, 60)).__next__)
            play(templated, VERIFY)
        play(templated, DEPLOY)
        sending.run(templated, "stopVirtualMachine", id=machines(templated)[FIRST]["id"])


def test_a_stranger_in_the_registry_is_named(templated):
    play(templated, DEPLOY)
    shell = play(templated, VERIFY)["shell"]
    url = config.read(shell, "coreos-cluster").url
    assert len(discovery.members(url)) == 3
    requests.put(f"{url}/{'ab' * 16}", data={"value": "http://10.9.9.9:7001"}, timeout=5)
    hurry(templated)
    with pytest.raises(CheckFailed, match=r"10\.9\.9\.9"):
        play(templated, VERIFY, mode="plan")  # what is wrong fails in every mode


def test_two_clusters_never_share_a_folder_on_the_workstation(cloud, capsys):
    params = {"installer": "flatcar-install", "channel": "stable", "config_delivery": "userdata"}
    params |= {"template_from": "existing", "template_name": "Debian 12"}
    play(cloud, WRITE, **params)
    second = params | {"cluster_name": "second"}
    for stage in (WRITE, DEPLOY):
        with pytest.raises(CheckFailed, match="configuration of coreos-cluster"):
            play(cloud, stage, **second)
    with pytest.raises(CheckFailed, match="work_dir"):
        play(cloud, CHECK, **second)
    play(cloud, REMOVE, **second)
    assert "kept coreos-cluster: it holds the configuration of" in capsys.readouterr().out
    assert play(cloud, WRITE, **params)["plan"] == []
