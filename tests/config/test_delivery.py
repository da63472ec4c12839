"""A neutral template serves many clusters: each is given its own token as user data."""

import json
from types import SimpleNamespace

import pytest
from harness import OLD, build, changes, client, inventory, play, play_to, running

from lib import ours
from lib.config import ON_DISK, USER_DATA, userdata
from lib.config.discovery import url_in
from lib.errors import CheckFailed, Refused
from lib.plan import show
from lib.steps import Step

USERDATA = {"config_delivery": "userdata"}
FLATCAR = {"installer": "flatcar-install", "channel": "stable"}
IGNITION = FLATCAR | {"config_format": "ignition"}
OTHER = {"cluster_name": "other", "work_dir": "other", "volume_name": "other_disk"}
FORMS = {"cloud-config": {}, "Flatcar's": FLATCAR, "Ignition": IGNITION}


@pytest.fixture
def cloud(tmp_path):
    """A client whose account may expunge, so that user data are registered and names are free."""
    with running(tmp_path / "cloud", may_expunge=1) as one:
        yield one


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A local cloud on which a neutral template was made."""
    return build(tmp_path_factory.mktemp("neutral") / "cloud", **USERDATA)


@pytest.fixture
def neutral(built, tmp_path):
    """A client of a copy of that cloud."""
    with built.running(tmp_path / "cloud") as one:
        yield one


def home(cloud):
    """Return the home folder on the workstation."""
    return cloud.server.folder / "workstation" / "home"


def token(cloud, work_dir: str) -> str:
    text = (home(cloud) / work_dir / "user-data.yml").read_text()
    return url_in(text)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_two_clusters_of_one_template_have_tokens_of_their_own(cloud, form):
    play_to(cloud, "60-verify-cluster", **form, **USERDATA)
    seen = changes(cloud)
    play_to(cloud, "60-verify-cluster", **form, **USERDATA, **OTHER)
    more = {"registerUserData", "deployVirtualMachine", "startVirtualMachine", "createTags"}
    assert set(changes(cloud)[len(seen) :]) == more
    for where in ({}, OTHER):
        rows = play(cloud, "60-verify-cluster", **where)["found"]
        assert {(r.what, r.ok) for r in rows if r.what != "etcd"} >= {("registered", "✓")}
    assert token(cloud, "coreos-cluster") != token(cloud, "other")
    seen = changes(cloud)
    play_to(cloud, "60-verify-cluster", **form, **USERDATA)
    play_to(cloud, "60-verify-cluster", **form, **USERDATA, **OTHER)
    assert changes(cloud) == seen, "a second run changed something"


def test_the_second_cluster_is_removed_without_the_template_of_the_first(neutral):
    before = inventory(neutral)
    play_to(neutral, "50-deploy-cluster", **USERDATA, **OTHER)
    assert len(inventory(neutral)["listVirtualMachines"]) == 4
    seen = changes(neutral)
    with pytest.raises(CheckFailed, match=r"found other-1, .*keep: \[template\]"):
        play(neutral, "90-remove-cluster")
    assert changes(neutral) == seen
    play(neutral, "90-remove-cluster", mode="plan", keep=["template"])
    play(neutral, "90-remove-cluster", **OTHER)
    assert inventory(neutral) == before
    play(neutral, "90-remove-cluster")
    assert inventory(neutral)["listTemplates"] == []
    assert not (home(neutral) / "coreos-cluster").exists()


def test_it_works_on_the_cloud_of_2014_too(tmp_path):
    with running(tmp_path / "cloud", dialect="2.2") as cloud:
        for where in ({}, OTHER):
            play_to(cloud, "60-verify-cluster", **OLD, **USERDATA, **where)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_kept_template_gets_a_new_token_the_next_time(cloud, form):
    play_to(cloud, "60-verify-cluster", **form, **USERDATA)
    first = token(cloud, "coreos-cluster")
    play(cloud, "90-remove-cluster", keep=["template"])
    left = {p.name for p in (home(cloud) / "coreos-cluster").iterdir()}
    assert "user-data.yml" not in left and "notes.json" in left
    assert ("cloud-config.yml" in left) == ("config_format" not in form)
    seen = changes(cloud)
    play_to(cloud, "60-verify-cluster", **form, **USERDATA)
    assert "createVolume" not in changes(cloud)[len(seen) :]
    assert token(cloud, "coreos-cluster") != first


def test_the_template_is_neutral_and_the_token_only_in_the_users_file(neutral):
    folder = home(neutral) / "coreos-cluster"
    text = (folder / "cloud-config.yml").read_text()
    assert "etcd" not in text and "ssh_authorized_keys" in text
    assert (folder / "user-data.yml").stat().st_mode & 0o777 == 0o600
    (row,) = neutral.list("listTemplates", templatefilter="self")
    assert ours.is_neutral(row)


def test_nothing_of_the_user_data_is_shown_but_their_size_and_checksum(neutral, capsys):
    capsys.readouterr()
    names = play(neutral, "50-deploy-cluster", mode="plan", **USERDATA)
    shown = show(names["plan"]).to_string() + repr(names["plan"]) + capsys.readouterr().out
    secret = token(neutral, "coreos-cluster").rpartition("/")[2]
    assert secret not in shown and str(names["data"]) not in shown
    assert "bytes, sha256 " in shown
    play(neutral, "50-deploy-cluster", **USERDATA)
    kept = "".join(p.read_text() for p in neutral.folder.iterdir() if p.is_file())
    assert secret not in kept and str(names["data"]) not in kept


def test_the_length_of_the_user_data_is_a_multiple_of_three():
    for text in ("#cloud-config\n", "x", "xy", "日本"):
        data = userdata.encoded(text)
        assert len(data) % 4 == 0 and "=" not in data


def sized(version: tuple[int, ...], configured: int | None = None) -> SimpleNamespace:
    """Stand in for a server of that version, with that setting if it tells one."""
    rows = [{"name": "vm.userdata.max.length", "value": str(configured)}]
    told = {"list_if_allowed": lambda command, **params: rows if configured else None}
    told |= {"can_take_long_user_data": version >= (4, 3)}
    return SimpleNamespace(**told, can_keep_user_data=version >= (4, 18))


@pytest.mark.parametrize(
    "version, configured, most",
    [
        ((2, 2, 14), None, 2046),
        ((4, 2, 0), None, 2046),
        ((4, 11, 0), None, 24573),
        ((4, 20, 2), None, 24576),
        ((4, 20, 2), 40000, 30000),
    ],
)
def test_too_many_user_data_are_refused_before_anything_is_sent(version, configured, most):
    cloud = sized(version, configured)
    userdata.demand_fits(cloud, userdata.encoded("x" * most))
    with pytest.raises(CheckFailed, match=r"(?s)the user data: wanted \d+ .* at most.*fewer"):
        userdata.demand_fits(cloud, userdata.encoded("x" * (most + 1)))


def test_the_limits_are_those_of_the_servers(server, old_server):
    for one, most in ((client(server), 24576), (client(old_server), 2046)):
        userdata.demand_fits(one, userdata.encoded("x" * most))
        over = userdata.UserData(userdata.encoded("x" * (most + 3)))
        with pytest.raises(CheckFailed):
            userdata.demand_fits(one, over)
        zone = one.zones[0]["id"]
        with pytest.raises(Refused, match=r"too long|max length|exceeded"):
            offering = one.list("listServiceOfferings")[0]["id"]
            templates = one.list("listTemplates", templatefilter="executable")
            one.call("deployVirtualMachine", zoneid=zone, serviceofferingid=offering,
                     templateid=templates[0]["id"], userdata=over)  # fmt: skip


def test_a_template_with_an_ignition_config_baked_in_is_not_given_user_data(cloud):
    play_to(cloud, "42-create-template", **IGNITION)
    seen = changes(cloud)
    for stage in ("20-write-cloud-config", "50-deploy-cluster"):
        with pytest.raises(CheckFailed, match=r"config.ign.*read no user data"):
            play(cloud, stage, **IGNITION, **USERDATA)
    with pytest.raises(CheckFailed, match="config_delivery"):
        play(cloud, "50-deploy-cluster", **IGNITION, **USERDATA, work_dir="lost")
    assert changes(cloud) == seen


def test_an_ignition_config_on_the_disk_is_read_back_and_forms_a_cluster(cloud, capsys):
    play_to(cloud, "60-verify-cluster", **IGNITION)
    assert "has config.ign, byte for byte" in capsys.readouterr().out
    json.loads((home(cloud) / "coreos-cluster" / "config.ign").read_text())


def test_a_delivery_that_does_not_fit_the_template_is_reported(neutral):
    with pytest.raises(CheckFailed, match=r"wanted with a token .*found one neutral"):
        play(neutral, "50-deploy-cluster")
    with pytest.raises(CheckFailed, match=r"holds the token: wanted cloud-config\.yml"):
        play(neutral, "20-write-cloud-config")


def test_a_template_with_a_token_gets_no_second_one(cloud):
    play_to(cloud, "42-create-template")
    with pytest.raises(CheckFailed, match=r"holds the token: wanted user-data\.yml"):
        play(cloud, "20-write-cloud-config", **USERDATA)
    play(cloud, "20-write-cloud-config", **USERDATA, work_dir="elsewhere")
    with pytest.raises(CheckFailed, match="wanted neutral"):
        play(cloud, "50-deploy-cluster", **USERDATA, work_dir="elsewhere")


def test_lost_user_data_are_not_replaced_while_machines_are_there(neutral):
    play(neutral, "50-deploy-cluster", **USERDATA)
    (home(neutral) / "coreos-cluster" / "user-data.yml").unlink()
    with pytest.raises(CheckFailed, match=r"coreos-cluster-1.*lost.*move_discovery") as failed:
        play(neutral, "20-write-cloud-config", **USERDATA)
    assert "90-remove-cluster" not in str(failed.value)
    play(neutral, "70-reconfigure-cluster", **USERDATA, move_discovery="a")
    play(neutral, "20-write-cloud-config", **USERDATA)


def test_without_user_data_nothing_is_deployed(neutral):
    (home(neutral) / "coreos-cluster" / "user-data.yml").unlink()
    with pytest.raises(CheckFailed, match="Run 20-write-cloud-config first"):
        play(neutral, "50-deploy-cluster", **USERDATA)


@pytest.mark.parametrize("form", [FLATCAR, IGNITION], ids=["cloud-config", "Ignition"])
def test_a_token_for_another_size_is_reported_before_the_first_machine(cloud, form):
    play_to(cloud, "42-create-template", **form, **USERDATA)
    with pytest.raises(CheckFailed, match="wanted 4, the cluster_size, found 3"):
        play(cloud, "50-deploy-cluster", **form, **USERDATA, cluster_size=4)


def test_user_data_in_a_plan_are_reported_by_their_size():
    data = userdata.encoded("#cloud-config\n")
    step = Step("deployVirtualMachine", {"name": "m", "userdata": data}, "why", "m")
    assert show([step])["userdata"][0].startswith("15 bytes, sha256 ")
    assert data not in repr(step)


def test_the_names_of_the_files_are_distinct():
    assert USER_DATA not in ON_DISK.values()
