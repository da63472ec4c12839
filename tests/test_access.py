"""Stage 00: who we are, what there is, and what the account has left, also where it may not ask."""

import pytest
from harness import RUN, build, changes, play, play_to, running

from lib.errors import CheckFailed
from lib.localcloud.state import registry, views
from lib.survey import quota

CHECK = "00-check-access"
QUESTIONS = "listAccounts,listResourceLimits,listEvents,listHypervisors"


@pytest.fixture
def cloud(tmp_path):
    """A client of a local cloud of today that offers machines of custom size."""
    with running(tmp_path / "cloud", custom_offering=1) as one:
        yield one


def left(cloud, **params) -> dict[str, dict]:
    """Return the rows on quota by their subject."""
    rows = play(cloud, CHECK, **params)["left"]
    return {r.what.removesuffix(" still allowed"): r for r in rows}


def limit(cloud, **values: float) -> None:
    given = ";".join(f"{k}:{v}" for k, v in values.items())
    cloud.call("configureSimulator", name="limits", value=given)


def test_everything_that_a_run_needs_is_compared_with_what_is_left(cloud):
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
    play_to(cloud, "50-deploy-cluster")
    assert {row.wanted for row in left(cloud).values()} == {"0 or more"}


SHORT = {"cpu": "CPUs", "memory": "MiB of memory", "primarystorage": "GiB of primary storage"}
SHORT |= {"secondarystorage": "GiB of secondary storage", "template": "templates"}


@pytest.mark.parametrize(("kind", "words"), SHORT.items())
def test_a_quota_of_any_kind_that_is_too_small_stops_the_run(cloud, kind, words):
    limit(cloud, **{kind: 0})
    with pytest.raises(CheckFailed, match=f"{words} still allowed: wanted .*Ask the provider"):
        play(cloud, CHECK)
    assert changes(cloud) == []


@pytest.fixture
def brief(cloud, monkeypatch):
    """The same client, of a server whose account does not tell what it has of some kinds."""
    plain, hidden = views.MORE["account"], ("vmtotal", "templatetotal", "templatelimit")

    def told(there, row: dict) -> dict:
        return {k: v for k, v in plain(there, row).items() if k not in hidden}

    monkeypatch.setitem(views.MORE, "account", told)
    return cloud


def test_what_the_account_does_not_tell_is_counted(brief):
    limit(brief, vm=2)
    with pytest.raises(CheckFailed, match="machines still allowed: wanted 3 or more, found 1"):
        play(brief, CHECK)


def test_a_template_in_three_zones_is_one(brief, monkeypatch):
    play_to(brief, "42-create-template")
    command = registry.known("4.22")["listTemplates"]
    plain = command.run

    def tripled(there, **filters):
        found = plain(there, **filters)
        return found._replace(rows=found.rows * 3)

    monkeypatch.setattr(command, "run", tripled)
    assert quota.COUNTS["template"](brief) == 1


def test_a_role_without_questions_that_only_show_gets_through(tmp_path):
    with running(tmp_path / "cloud", refuse=QUESTIONS) as bare:
        play_to(bare, "60-verify-cluster")
        seen = play(bare, CHECK)
        dashes = [r for r in seen["who"] + seen["left"] if r.ok == "-"]
        assert {r.found for r in dashes} == {"not known: this account may not call listAccounts"}
        play(bare, "explore")
        play(bare, "90-remove-cluster")


def test_a_version_that_is_hidden_is_no_old_one(cloud):
    cloud.capabilities.pop("cloudstackversion")
    (row,) = [r for r in play(cloud, CHECK)["who"] if r.what == "server"]
    assert row.ok == "✓" and row.found.startswith("a version that it hides (tags")


def test_what_explore_may_not_list_is_reported(tmp_path, capsys):
    lists = ("listEvents", "listSnapshots", "listServiceOfferings", "listApis")
    with running(tmp_path / "cloud", refuse=",".join(lists)) as bare:
        play(bare, "explore")
    said = capsys.readouterr().out
    assert all(f"this account may not call {name}" in said for name in lists)


def test_the_newest_events_are_shown_first(cloud):
    limit(cloud, volume=100)
    place = {"zoneid": cloud.zones[0]["id"]}
    place |= {"diskofferingid": cloud.list("listDiskOfferings")[0]["id"]}
    for n in range(60):
        cloud.call("createVolume", name=f"v{n}", size=1, **place)
    events = play(cloud, "explore")["events"]
    every = sorted((e["created"] for e in cloud.list("listEvents")), reverse=True)
    assert len(events) == 50 and events["created"].is_monotonic_decreasing
    assert f"{events['created'].iloc[0]:%Y-%m-%dT%H:%M:%S+0000}" == every[0]


CUSTOM = "Custom Instance"
SIZE = {"cpu_number": 2, "cpu_speed": 1000, "memory": 2048}


@pytest.mark.parametrize("which", ["service_offering", "fallback_offerings"])
def test_an_offering_of_custom_size_wants_its_size(cloud, which):
    asked = {which: CUSTOM if which == "service_offering" else [CUSTOM]}
    with pytest.raises(CheckFailed, match="cpu_number is not set; cpu_speed is not set; memory"):
        play(cloud, CHECK, **asked)
    play(cloud, CHECK, **asked, **SIZE)


@pytest.mark.parametrize("first", [True, False])
def test_machines_of_custom_size_get_it(cloud, first):
    names = [CUSTOM, "Small Instance"] if first else ["Tagged Instance", CUSTOM]
    asked = {"service_offering": names[0], "fallback_offerings": names[1:], "cluster_size": 1}
    play_to(cloud, "50-deploy-cluster", **asked, **SIZE)
    (machine,) = [m for m in cloud.list("listVirtualMachines") if m["name"] == "coreos-cluster-1"]
    fields = ("serviceofferingname", "cpunumber", "cpuspeed", "memory", "state")
    assert tuple(machine[f] for f in fields) == (CUSTOM, *SIZE.values(), "Running")


def twice(cloud, kind: str) -> list[dict]:
    """Give a name to two things of a kind; return their rows."""
    there = cloud.server.cloud
    with there.lock:
        first = next(iter(there.rows(kind)))
        there.state.add(kind, **{k: v for k, v in first.items() if k not in ("id", "n")})
        return [r for r in there.rows(kind) if r["name"] == first["name"]]


PARAMETERS = {"diskoffering": "disk_offering", "ostype": "os_type", "network": "network"}


@pytest.mark.parametrize(("kind", "parameter"), PARAMETERS.items())
def test_of_two_namesakes_one_is_given_by_its_id(cloud, kind, parameter):
    rows = twice(cloud, kind)
    with pytest.raises(CheckFailed, match=f"{rows[0]['name'][:6]}.*as id:{rows[0]['id']}"):
        play(cloud, CHECK, **{parameter: rows[0]["name"]})
    play(cloud, CHECK, **{parameter: f"id:{rows[1]['id']}"})


def test_ids_do_for_names_in_every_stage(cloud):
    by = {"listZones": ("zone", "name"), "listDiskOfferings": ("disk_offering", "name")}
    by |= {"listServiceOfferings": ("service_offering", "name")}
    by |= {"listOsTypes": ("os_type", "description")}
    by |= {"listVirtualMachines": ("workstation", "displayname")}
    given = {}
    for command, (parameter, field) in by.items():
        (row,) = [r for r in cloud.list(command) if r[field] == RUN[parameter]]
        given[parameter] = f"id:{row['id']}"
    given["network"] = f"id:{cloud.list('listNetworks')[0]['id']}"
    play_to(cloud, "60-verify-cluster", **given)
    seen = changes(cloud)
    play_to(cloud, "60-verify-cluster", **given)
    assert changes(cloud) == seen


def test_an_id_that_is_missing_is_reported_like_a_name(cloud):
    with pytest.raises(CheckFailed, match="disk_offering id:nowhere: wanted exactly one"):
        play(cloud, "10-create-volume", disk_offering="id:nowhere")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A local cloud on which a snapshot was taken."""
    return build(tmp_path_factory.mktemp("built") / "cloud", "41-create-snapshot")


def test_a_snapshot_is_known_by_its_tags_without_a_journal(built, tmp_path):
    with built.running(tmp_path / "cloud") as one:
        one.folder = tmp_path / "elsewhere" / "run"
        seen = changes(one)
        play(one, "41-create-snapshot", mode="plan")
        assert changes(one) == seen
        play(one, "90-remove-cluster")
        assert one.list("listSnapshots") == []


def test_tags_that_are_on_already_are_done(built, tmp_path):
    with built.running(tmp_path / "cloud") as one:
        with one.server.cloud.lock:
            (row,) = one.server.cloud.rows("snapshot")
            tags = [t for t in row["tags"] if t["key"] != "cluster"]
            one.server.cloud.state.change("snapshot", row, tags=tags)
        play(one, "41-create-snapshot")
        tags = {t["key"] for t in one.list("listTags", resourcetype="Snapshot")}
        assert tags == {"runbook", "cluster", "revision"}


def test_a_snapshot_taken_by_schedule_is_not_ours(built, tmp_path):
    with built.running(tmp_path / "cloud") as one:
        with one.server.cloud.lock:
            (row,) = one.server.cloud.rows("snapshot")
            hourly = {k: v for k, v in row.items() if k not in ("id", "n")}
            hourly |= {"intervaltype": "HOURLY", "at": row["at"] + 60}
            one.server.cloud.state.add("snapshot", **hourly)
        plan = play(one, "42-create-template", mode="plan")["plan"]
        assert plan[0].params["snapshotid"] == row["id"]
