"""A neutral template serves many clusters: each is given its own token as user data."""

from types import SimpleNamespace

import pytest
from harness import FLATCAR, OLD, changes, home, inventory, play, play_to, running, user_data

from lib import ours
from lib.config import registered, userdata
from lib.config.discovery import url_in
from lib.errors import CheckFailed, Refused
from lib.plan import show

USERDATA = {"config_delivery": "userdata"}
IGNITION = FLATCAR | {"config_format": "ignition"}
OTHER = {"cluster_name": "other", "work_dir": "other", "volume_name": "other_disk"}
FORMS = {"cloud-config": {}, "Flatcar's": FLATCAR, "Ignition": IGNITION}


def token(cloud, work_dir: str) -> str:
    return url_in((home(cloud, work_dir) / "user-data.yml").read_text())


@pytest.fixture
def formed(built, tmp_path):
    """Return a function: a client of a cloud with a template of a form, which may expunge."""
    return lambda **form: built(**form, **USERDATA).running(tmp_path / "cloud", may_expunge=1)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_each_cluster_of_one_template_has_a_token_of_its_own(formed, form):
    with formed(**form) as cloud:
        for stage in ("50-deploy-cluster", "60-verify-cluster"):
            play(cloud, stage, **form, **USERDATA)
        check_each_cluster_has_a_token(cloud, form)


def check_each_cluster_has_a_token(cloud, form: dict[str, str]) -> None:
    seen = changes(cloud)
    play_to(cloud, "60-verify-cluster", **form, **USERDATA, **OTHER)
    more = {"registerUserData", "deployVirtualMachine", "createTags"}
    assert set(changes(cloud)[len(seen) :]) == more
    for where in ({}, OTHER):
        rows = play(cloud, "60-verify-cluster", **where)["found"]
        assert {(r.what, r.ok) for r in rows if r.what != "etcd"} >= {("registered", "✓")}
    first = token(cloud, "coreos-cluster")
    assert first != token(cloud, "other")
    seen = changes(cloud)
    play_to(cloud, "50-deploy-cluster", **form, **USERDATA, **OTHER)
    assert changes(cloud) == seen, "a second run changed something"
    play(cloud, "90-remove-cluster", keep=["template"])
    left = {p.name for p in home(cloud).iterdir()}
    assert "user-data.yml" not in left and "notes.json" in left
    assert ("cloud-config.yml" in left) == ("config_format" not in form)
    seen = changes(cloud)
    play_to(cloud, "50-deploy-cluster", **form, **USERDATA)
    assert "createVolume" not in changes(cloud)[len(seen) :]
    assert token(cloud, "coreos-cluster") != first


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
    assert not home(neutral).exists()


def test_it_works_on_the_cloud_of_2014_too_which_registers_no_user_data(tmp_path):
    with running(tmp_path / "cloud", dialect="2.2") as cloud:
        for where in ({}, OTHER):
            play_to(cloud, "60-verify-cluster", **OLD, **USERDATA, **where)
        assert not cloud.may_register and registered.rows_of(cloud, "coreos-cluster") == []
        with pytest.raises(Refused):
            cloud.call("listUserData")


def test_the_template_is_neutral_and_the_token_in_the_users_file_only(neutral, capsys):
    folder = home(neutral)
    text = (folder / "cloud-config.yml").read_text()
    assert "etcd" not in text and "ssh_authorized_keys" in text
    assert (folder / "user-data.yml").stat().st_mode & 0o777 == 0o600
    (row,) = neutral.list("listTemplates", templatefilter="self")
    assert ours.is_neutral(row)
    capsys.readouterr()
    names = play(neutral, "50-deploy-cluster", mode="plan", **USERDATA)
    shown = show(names["plan"]).to_string() + repr(names["plan"]) + capsys.readouterr().out
    play(neutral, "50-deploy-cluster", **USERDATA)
    shown += "".join(p.read_text() for p in neutral.folder.iterdir() if p.is_file())
    assert token(neutral, "coreos-cluster").rpartition("/")[2] not in shown
    assert str(names["data"]) not in shown and "bytes, sha256 " in shown


def test_the_length_of_the_user_data_is_a_multiple_of_three():
    for text in ("#cloud-config\n", "x", "xy", "日本"):
        data = userdata.encoded(text)
        assert len(data) % 4 == 0 and "=" not in data


def sized(version: tuple[int, ...], configured: int | None = None) -> SimpleNamespace:
    """Stand in for a server of that version, with that setting if it tells one."""
    rows = [{"name": "vm.userdata.max.length", "value": str(configured)}]
    facts = {"list_if_allowed": lambda command, **params: rows if configured else None}
    facts |= {"can_take_long_user_data": version >= (4, 3)}
    return SimpleNamespace(**facts, can_keep_user_data=version >= (4, 18))


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


def test_the_limits_are_those_of_the_servers(cloud, old_cloud):
    for one, most in ((cloud, 24576), (old_cloud, 2046)):
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


def test_an_ignition_config_on_the_disk_is_read_back_and_excludes_user_data(cloud, capsys):
    play_to(cloud, "60-verify-cluster", **IGNITION)
    assert "has config.ign, byte for byte" in capsys.readouterr().out
    seen = changes(cloud)
    for stage in ("20-write-cloud-config", "50-deploy-cluster"):
        with pytest.raises(CheckFailed, match=r"config.ign.*read no user data"):
            play(cloud, stage, **IGNITION, **USERDATA)
    with pytest.raises(CheckFailed, match="config_delivery"):
        play(cloud, "50-deploy-cluster", **IGNITION, **USERDATA, work_dir="lost")
    assert changes(cloud) == seen


def test_a_delivery_that_does_not_fit_the_template_or_the_notes_is_reported(neutral):
    with pytest.raises(CheckFailed, match=r"wanted with a token .*found one neutral"):
        play(neutral, "50-deploy-cluster")
    with pytest.raises(CheckFailed, match=r"the parameters ask for cloud-config\.yml"):
        play(neutral, "20-write-cloud-config")


def test_a_template_with_a_token_gets_no_second_one(built, tmp_path):
    with built().running(tmp_path / "cloud") as cloud:
        with pytest.raises(CheckFailed, match=r"the parameters ask for user-data\.yml"):
            play(cloud, "20-write-cloud-config", **USERDATA)
        play(cloud, "20-write-cloud-config", **USERDATA, work_dir="elsewhere")
        with pytest.raises(CheckFailed, match="wanted neutral"):
            play(cloud, "50-deploy-cluster", **USERDATA, work_dir="elsewhere")


def test_without_user_data_nothing_is_deployed_and_lost_ones_are_not_replaced(neutral):
    file = home(neutral) / "user-data.yml"
    text = file.read_text()
    file.unlink()
    with pytest.raises(CheckFailed, match="Run 20-write-cloud-config first"):
        play(neutral, "50-deploy-cluster", **USERDATA)
    file.write_text(text)
    play(neutral, "50-deploy-cluster", **USERDATA)
    file.unlink()
    with pytest.raises(CheckFailed, match=r"coreos-cluster-1.*lost.*move_discovery") as failed:
        play(neutral, "20-write-cloud-config", **USERDATA)
    assert "90-remove-cluster" not in str(failed.value)
    play(neutral, "70-reconfigure-cluster", **USERDATA, move_discovery="a")
    play(neutral, "20-write-cloud-config", **USERDATA)


@pytest.mark.parametrize("form", [FLATCAR, IGNITION], ids=["cloud-config", "Ignition"])
def test_a_token_for_another_size_is_reported_before_the_first_machine(formed, form):
    with (
        formed(**form) as cloud,
        pytest.raises(CheckFailed, match="wanted 4, the etcd members, found 3"),
    ):
        play(cloud, "50-deploy-cluster", **form, **USERDATA, cluster_size=4)


OWN = """\
#cloud-config
write_files:
  - {path: /etc/mine, content: "${line} ${key}"}
coreos: {units: [{name: mine.service, command: start, content: "[Service]"}]}
"""
STATIC = FLATCAR | USERDATA | {"discovery": "static"}
ROLLOUTS = {"4.22": STATIC, "2.2": OLD | {"machine_user": "core"}}


@pytest.mark.parametrize("dialect", ROLLOUTS)
def test_a_file_of_ones_own_is_delivered_and_rolled_out_with_its_secrets_masked(
    tmp_path, monkeypatch, capsys, dialect
):
    own, options = tmp_path / "own.yml", {} if dialect == "2.2" else {"may_expunge": 1}
    monkeypatch.setenv("THE_KEY", "correct horse battery")
    params = ROLLOUTS[dialect] | {
        "config_file": str(own),
        "config_values": {"line": "one", "key": "secret:THE_KEY"},
    }
    machine = "" if dialect == "2.2" else "hostname: ${host_name}-${index}-${address}\n"
    own.write_text(OWN + machine)
    with running(tmp_path / "cloud", dialect=dialect, **options) as cloud:
        play_to(cloud, "60-verify-cluster", **params)
        rows = play(cloud, "60-verify-cluster", **params)["found"]
        assert {r.ok for r in rows} <= {"✓", "-"}
        if machine:
            text = user_data(cloud)["coreos-cluster-2"]
            assert "hostname: coreos-cluster-2-2-10.1.0.253\n" in text
        own.write_text((OWN + machine).replace("/etc/mine", "/etc/other"))
        with pytest.raises(CheckFailed, match=r"(?s)-.*/etc/other.*\+.*/etc/mine"):
            play(cloud, "20-write-cloud-config", **params)
        play(cloud, "70-reconfigure-cluster", **params)
        assert play(cloud, "70-reconfigure-cluster", **params)["plan"].steps == []
        assert play(cloud, "50-deploy-cluster", **params)["plan"] == []
        rows = play(cloud, "60-verify-cluster", **params)["found"]
        assert {r.ok for r in rows} <= {"✓", "-"}
        kept = "".join(p.read_text() for p in cloud.folder.iterdir() if p.is_file())
    output = capsys.readouterr().out
    assert "+- {path: /etc/other" in output
    assert "correct horse battery" not in output + kept
