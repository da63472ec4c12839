"""Stage 00: the account, the resources and the quota, also for roles with few permissions."""

import uuid
from dataclasses import replace

import pytest
from harness import RUN, changes, machines, play, play_to, running, volume_params
from stages import CHECK, DEPLOY, REMOVE, TEMPLATE, VERIFY

from lib.errors import CheckFailed
from lib.localcloud.state import registry, views
from lib.survey import quota

QUESTIONS = "listAccounts,listResourceLimits,listEvents,listHypervisors"


@pytest.fixture
def cloud(tmp_path):
    """A client of a local cloud that offers machines of custom size."""
    with running(tmp_path / "cloud", custom_offering=1) as one:
        yield one


@pytest.fixture
def templated(built, tmp_path):
    """A client of such a cloud with a template."""
    with built().running(tmp_path / "cloud", custom_offering=1) as one:
        yield one


KINDS = {words for _, words in quota.KINDS.values()}


def left(cloud, **params) -> dict[str, dict]:
    """Return the rows on quota by their subject."""
    rows = play(cloud, CHECK, **params)["rows"]
    named = {r.what.removesuffix(" still allowed"): r for r in rows}
    return {name: row for name, row in named.items() if name in KINDS}


def limit(cloud, **values: float) -> None:
    given = ";".join(f"{k}:{v}" for k, v in values.items())
    cloud.call("configureSimulator", name="limits", value=given)


def test_the_quota_left_is_compared_with_all_that_a_run_needs(cloud):
    wanted = {r: row.wanted for r, row in left(cloud).items()}
    assert wanted == {
        "machines": "3 or more",
        "volumes": "4 or more",
        "snapshots": "1 or more",
        "templates": "1 or more",
        "public addresses": "0 or more",
        "CPUs": "6 or more",
        "MiB of memory": "12288 or more",
        "GiB of primary storage": "160 or more",
        "GiB of secondary storage": "80 or more",
    }


SHORT = {"cpu": "CPUs", "memory": "MiB of memory", "primarystorage": "GiB of primary storage"}
SHORT |= {"secondarystorage": "GiB of secondary storage", "template": "templates"}


@pytest.mark.parametrize(("kind", "words"), SHORT.items())
def test_a_quota_that_is_too_small_stops_the_run(cloud, kind, words):
    limit(cloud, **{kind: 0})
    with pytest.raises(CheckFailed, match=f"{words} still allowed: wanted .*Ask the provider"):
        play(cloud, CHECK)
    assert changes(cloud) == []


@pytest.fixture
def brief(cloud, monkeypatch):
    """The same client, of a server whose account has no count of machines and templates."""
    plain, hidden = views.MORE["account"], ("vmtotal", "templatetotal", "templatelimit")

    def shortened(there, row: dict) -> dict:
        return {k: v for k, v in plain(there, row).items() if k not in hidden}

    monkeypatch.setitem(views.MORE, "account", shortened)
    return cloud


def test_resources_that_the_account_does_not_count_are_counted(brief):
    limit(brief, vm=2)
    with pytest.raises(CheckFailed, match="machines still allowed: wanted 3 or more, found 1"):
        play(brief, CHECK)


def test_a_template_in_three_zones_counts_once(templated, monkeypatch):
    command = registry.known("4.22")["listTemplates"]
    plain = command.run

    def tripled(there, **filters):
        found = plain(there, **filters)
        return found._replace(rows=found.rows * 3)

    monkeypatch.setattr(command, "run", tripled)
    assert quota.COUNTS["template"](templated) == 1


def test_a_role_without_permission_for_informative_lists_can_run_the_procedure(tmp_path):
    with running(tmp_path / "cloud", refuse=QUESTIONS) as bare:
        play_to(bare, VERIFY)
        seen = play(bare, CHECK)
        dashes = [r for r in seen["rows"] if r.ok == "-"]
        assert {r.found for r in dashes} == {"not known: this account may not call listAccounts"}
        play(bare, "explore")
        play(bare, REMOVE)


def test_a_hidden_version_does_not_count_as_an_old_one(cloud):
    cloud.capabilities.pop("cloudstackversion")
    (row,) = [r for r in play(cloud, CHECK)["rows"] if r.what == "server"]
    assert row.ok == "✓" and row.found.startswith("a version that it hides (tags")


def test_explore_reports_what_it_may_not_list(tmp_path, capsys):
    lists = ("listEvents", "listSnapshots", "listServiceOfferings", "listApis")
    with running(tmp_path / "cloud", refuse=",".join(lists)) as bare:
        play(bare, "explore")
    output = capsys.readouterr().out
    assert all(f"this account may not call {name}" in output for name in lists)


def test_the_newest_events_are_shown_first(cloud):
    limit(cloud, volume=100)
    params = volume_params(cloud)
    for n in range(60):
        cloud.call("createVolume", **params | {"name": f"v{n}"})
    events = play(cloud, "explore")["events"]
    every = sorted((e["created"] for e in cloud.list("listEvents")), reverse=True)
    assert len(events) == 50 and events["created"].is_monotonic_decreasing
    assert f"{events['created'].iloc[0]:%Y-%m-%dT%H:%M:%S+0000}" == every[0]


CUSTOM = "Custom Instance"
SIZE = {"cpu_number": 2, "cpu_speed": 1000, "memory": 2048}


@pytest.mark.parametrize("which", ["service_offering", "fallback_offerings"])
def test_an_offering_of_custom_size_needs_a_size(cloud, which):
    params = {which: CUSTOM if which == "service_offering" else [CUSTOM]}
    with pytest.raises(CheckFailed, match="cpu_number is not set; cpu_speed is not set; memory"):
        play(cloud, CHECK, **params)
    play(cloud, CHECK, **params, **SIZE)


@pytest.mark.parametrize("first", [True, False])
def test_machines_of_a_custom_offering_get_the_given_size(templated, first):
    names = [CUSTOM, "Small Instance"] if first else ["Tagged Instance", CUSTOM]
    params = {"service_offering": names[0], "fallback_offerings": names[1:], "cluster_size": 1}
    play(templated, DEPLOY, **params, **SIZE)
    (machine,) = machines(templated).values()
    fields = ("serviceofferingname", "cpunumber", "cpuspeed", "memory", "state")
    assert tuple(machine[f] for f in fields) == (CUSTOM, *SIZE.values(), "Running")


def twice(cloud, kind: str) -> list[dict]:
    """Give two resources of a kind the same name; return their rows."""
    there = cloud.server.cloud
    with there.lock:
        first = next(iter(there.rows(kind)))
        there.state.add(kind, **{k: v for k, v in first.items() if k not in ("id", "n")})
        return [r for r in there.rows(kind) if r["name"] == first["name"]]


PARAMETERS = {"diskoffering": "disk_offering", "ostype": "os_type", "network": "network"}


@pytest.mark.parametrize(("kind", "parameter"), PARAMETERS.items())
def test_an_id_selects_one_of_two_namesakes(cloud, kind, parameter):
    rows = twice(cloud, kind)
    with pytest.raises(CheckFailed, match=f"{rows[0]['name'][:6]}.*as id:{rows[0]['id']}"):
        play(cloud, CHECK, **{parameter: rows[0]["name"]})
    play(cloud, CHECK, **{parameter: f"id:{rows[1]['id']}"})


def test_every_stage_takes_ids_instead_of_names(cloud):
    by = {"listZones": ("zone", "name"), "listDiskOfferings": ("disk_offering", "name")}
    by |= {"listServiceOfferings": ("service_offering", "name")}
    by |= {"listOsTypes": ("os_type", "description")}
    by |= {"listVirtualMachines": ("workstation", "displayname")}
    given = {}
    for command, (parameter, field) in by.items():
        (row,) = [r for r in cloud.list(command) if r[field] == RUN[parameter]]
        given[parameter] = f"id:{row['id']}"
    given["network"] = f"id:{cloud.list('listNetworks')[0]['id']}"
    play_to(cloud, VERIFY, **given)
    seen = changes(cloud)
    play_to(cloud, VERIFY, **given)
    assert changes(cloud) == seen


def test_an_unknown_id_is_reported_like_a_name(cloud):
    with pytest.raises(CheckFailed, match="disk_offering id:nowhere: wanted exactly one"):
        play(cloud, "10-create-volume", disk_offering="id:nowhere")


@pytest.fixture
def snapped(built, tmp_path):
    """A client of a local cloud with a snapshot, whose row is `snapped.row`."""
    with built("41-create-snapshot").running(tmp_path / "cloud") as one:
        with one.server.cloud.lock:
            (one.row,) = one.server.cloud.rows("snapshot")
        yield one


def test_a_snapshot_is_recognized_by_its_tags_without_a_journal(snapped, tmp_path):
    snapped.folder = tmp_path / "elsewhere" / "run"
    seen = changes(snapped)
    play(snapped, "41-create-snapshot", mode="plan")
    assert changes(snapped) == seen
    play(snapped, REMOVE)
    assert snapped.list("listSnapshots") == []


def test_only_missing_tags_are_added_to_a_snapshot(snapped):
    tags = [t for t in snapped.row["tags"] if t["key"] != "cluster"]
    with snapped.server.cloud.lock:
        snapped.server.cloud.state.change("snapshot", snapped.row, tags=tags)
    play(snapped, "41-create-snapshot")
    tags = {t["key"] for t in snapped.list("listTags", resourcetype="Snapshot")}
    assert tags == {"runbook", "cluster", "revision"}


def test_a_scheduled_snapshot_is_not_used(snapped):
    hourly = {k: v for k, v in snapped.row.items() if k not in ("id", "n")}
    hourly |= {"intervaltype": "HOURLY", "at": snapped.row["at"] + 60}
    with snapped.server.cloud.lock:
        snapped.server.cloud.state.add("snapshot", **hourly)
    plan = play(snapped, TEMPLATE, mode="plan")["plan"]
    assert plan[0].params["snapshotid"] == snapped.row["id"]


# Values that a later stage would refuse, and the words of the row in 00.
WRONG = {
    "ssh_key_file": (
        "no/key.pub",
        "ssh_key_file no/key.pub: .* it cannot be read .* Set ssh_key_file",
    ),
    "installer": ("coreos-setup", "wanted coreos-install or flatcar-install"),
    "channel": ("lts", "wanted stable or beta or alpha"),
    "oem": ("nothing", "http.*nothing_image.bin.bz2: there, found .*broken link"),
    "board": ("arm64", '"" or such as amd64-usr'),
    "image_url": ("ftp://mirror", "without a password"),
    "config_delivery": ("mail", "disk or userdata"),
    "discovery": ("http://127.0.0.1:9", "no answer from http://127.0.0.1:9"),
    "fixed_addresses": (["10.1.1.7"], "fixes addresses: leave it .*Set fixed_addresses"),
    "template_name": ("x" * 33, "1 to 32 characters, found 33"),
    "cluster_name": ("9lives", "a letter, then letters"),
    "config_file": ("no/file.yml", "config_file"),
    "keep": (["machines"], "template, snapshot, volume"),
    "volume_size": (4, "5 GB or more, found 4 GB. Set volume_size"),
    "zone": ("local-9", "there are: local-1"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One cloud for all checks, which change nothing."""
    with running(tmp_path_factory.mktemp("shared") / "cloud") as one:
        yield one
        assert changes(one) == []


@pytest.mark.parametrize(("parameter", "case"), WRONG.items())
def test_00_refuses_what_a_later_stage_would_refuse(shared, parameter, case):
    value, words = case
    with pytest.raises(CheckFailed, match=words) as refused:
        play(shared, CHECK, **{parameter: value})
    assert parameter == "installer" or "found 1 of" in str(refused.value)


def test_a_part_of_a_name_is_no_name(shared):
    with pytest.raises(CheckFailed, match=r"disk_offering Custom: .* found none of that name"):
        play(shared, CHECK, disk_offering="Custom")


def test_one_table_lists_all_faults(shared):
    wrong = {n: v for n, (v, _) in WRONG.items() if n not in ("zone", "installer", "image_url")}
    with pytest.raises(CheckFailed) as refused:
        play(shared, CHECK, **wrong)
    rows = [line.strip().partition(" ")[0] for line in str(refused.value).splitlines()[1:]]
    assert rows[:4] == ["template_name", "cluster_name", "keep:", "the"]
    assert rows[4:] == ["its", "ssh_key_file", "discovery:", "config_file:"]


def test_the_workstation_must_be_the_machine_of_that_name_at_the_cloud(cloud):
    (cloud.server.folder / "workstation/dmi/product_uuid").write_text(f"{uuid.uuid4()}\n")
    with pytest.raises(CheckFailed, match=r"it is my-workstation: wanted .*Set workstation_ssh to"):
        play(cloud, CHECK)


def test_an_unreachable_workstation_is_one_row(shared, monkeypatch):
    monkeypatch.setattr(shared, "profile", replace(shared.profile, shell=("/bin/false",)))
    with pytest.raises(CheckFailed, match="found 1 of") as refused:
        play(shared, CHECK)
    assert "  the workstation: " in str(refused.value)


def test_a_damaged_file_of_the_working_folder_is_one_row(cloud):
    home = cloud.server.folder / "workstation/home/coreos-cluster"
    home.mkdir()
    for name in ("notes.json", "secrets.json"):
        (home / name).write_text("[1")
        with pytest.raises(
            CheckFailed, match=rf"found 1 of .*\n  (work_dir|the notes in .*): .*/{name} on"
        ):
            play(cloud, CHECK)
        (home / name).unlink()


def test_an_existing_cluster_needs_no_image_and_no_quota(templated):
    play(templated, DEPLOY)
    assert {row.wanted for row in left(templated).values()} == {"0 or more"}
    rows = {r.what: r.found for r in play(templated, CHECK, oem="nothing")["rows"]}
    assert rows["the installer"] == "not needed: CoreOS is installed"
    assert rows["volume_name coreos_cluster_disk"] == "there, and ours"
