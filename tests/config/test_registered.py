"""Registered user data: kept at the cloud under a name, given to machines by id, and removed."""

import base64
import json

import pytest
from harness import OLD, changes, fault, play, play_to, running

from lib.config import ignition, registered, userdata
from lib.config.lint import validate
from lib.errors import CheckFailed, Refused

USERDATA = {"config_delivery": "userdata"}
IGNITION = USERDATA | {"installer": "flatcar-install", "channel": "stable"}
IGNITION |= {"config_format": "ignition"}
NAMES = [f"coreos-cluster-{n}" for n in (1, 2, 3)]


@pytest.fixture
def cloud(tmp_path):
    """A client whose account may expunge: else nothing is registered."""
    with running(tmp_path / "cloud", may_expunge=1) as one:
        yield one


def kept(cloud) -> dict[str, str]:
    """Return what is registered, name -> text."""
    rows = cloud.list("listUserData")
    return {r["name"]: base64.b64decode(r["userdata"]).decode() for r in rows}


def given(cloud) -> dict[str, str]:
    """Return what each machine was given, name -> text."""
    rows = cloud.list("listVirtualMachines", userdata=True)
    return {r["name"]: base64.b64decode(r["userdata"]).decode() for r in rows if "userdata" in r}


def test_all_machines_share_what_is_registered_under_the_clusters_name(cloud):
    play_to(cloud, "50-deploy-cluster", **USERDATA)
    (text,) = kept(cloud).values()
    assert list(kept(cloud)) == ["runbook-coreos-cluster"]
    assert given(cloud) == dict.fromkeys(NAMES, text)
    assert changes(cloud).count("registerUserData") == 1
    assert play(cloud, "50-deploy-cluster", **USERDATA)["plan"] == []


@pytest.mark.parametrize("form", [USERDATA, IGNITION], ids=["cloud-config", "Ignition"])
def test_each_machine_may_have_its_own_with_its_host_name(cloud, form):
    play_to(cloud, "60-verify-cluster", **form, user_data_each=True)
    texts = given(cloud)
    assert sorted(texts) == NAMES and kept(cloud) == {
        f"runbook-coreos-cluster_{n[-1]}": t for n, t in texts.items()
    }
    for name, text in texts.items():
        if "config_format" in form:
            assert ignition.validate(text) == []
            (file,) = json.loads(text)["storage"]["files"]
            assert file["path"] == "/etc/hostname" and file["contents"]["source"].startswith(
                f"data:,{name}%0A"
            )
        else:
            assert validate(text) == [] and f"\nhostname: {name}\n" in text
    assert play(cloud, "50-deploy-cluster", **form, user_data_each=True)["plan"] == []


def test_a_plan_shows_size_and_checksum_and_changes_nothing(cloud):
    play_to(cloud, "42-create-template", **USERDATA)
    before = changes(cloud)
    plan = play(cloud, "50-deploy-cluster", **USERDATA, mode="plan")["plan"]
    deploys = ["deployVirtualMachine"] * 3 + ["startVirtualMachine"] * 3
    assert [s.command for s in plan] == ["registerUserData", *deploys]
    assert "bytes, sha256" in repr(plan[0]) and changes(cloud) == before


@pytest.mark.parametrize("kind", ["drop-before", "drop-after"])
def test_a_lost_answer_registers_once(cloud, kind):
    play_to(cloud, "42-create-template", **USERDATA)
    fault(cloud, "registerUserData", f"fault:{kind}")
    play(cloud, "50-deploy-cluster", **USERDATA)
    assert len(kept(cloud)) == 1 and sorted(given(cloud)) == NAMES


# Name -> host name in the text: of others, the last two of a cluster coreos-cluster-1.
OTHERS = {
    "mine": "mine",
    "runbook-coreos-cluster-x": "",
    "runbook-coreos-cluster2": "",
    "runbook-coreos-cluster-1": "",
    "runbook-coreos-cluster-1_2": "coreos-cluster-1-2",
}
# Ours, as machines' user data were called before.
OLDER = {"runbook-coreos-cluster-7": "coreos-cluster-7",
         "runbook-coreos-cluster-8_0123abcd": "coreos-cluster-8"}  # fmt: skip


def test_the_removal_deletes_those_of_this_cluster_only(cloud):
    play_to(cloud, "50-deploy-cluster", **USERDATA, user_data_each=True)
    for name, host in (OTHERS | OLDER).items():
        text = f"#cloud-config\n\nhostname: {host}\nmanage_etc_hosts: {name}\n"
        cloud.call("registerUserData", name=name, userdata=userdata.encoded(text))
    assert [r["name"] for r in registered.rows_of(cloud, "coreos-cluster-1")] == [*OTHERS][-2:]
    play(cloud, "90-remove-cluster", keep=["template"])
    assert sorted(kept(cloud)) == sorted(OTHERS)


def test_a_kept_template_is_given_the_next_clusters_own(cloud):
    play_to(cloud, "50-deploy-cluster", **USERDATA)
    first = kept(cloud)
    play(cloud, "90-remove-cluster", keep=["template"])
    assert kept(cloud) == {}
    play_to(cloud, "50-deploy-cluster", **USERDATA)
    assert kept(cloud) != first and list(kept(cloud)) == list(first)


def test_others_under_the_same_name_are_reported_before_anything_is_sent(cloud):
    play_to(cloud, "42-create-template", **USERDATA)
    data = userdata.encoded("#cloud-config\nhostname: a\n")
    cloud.call("registerUserData", name="runbook-coreos-cluster", userdata=data)
    before = changes(cloud)
    with pytest.raises(CheckFailed, match=r"registered as runbook-coreos-cluster\. .*90-remove"):
        play(cloud, "50-deploy-cluster", **USERDATA)
    assert changes(cloud) == before


def test_a_client_asks_once_whether_they_can_be_registered(cloud):
    play_to(cloud, "50-deploy-cluster", **USERDATA)
    calls = cloud.list("listSimulatorCalls")
    asked = [c["params"]["name"] for c in calls if c["command"] == "listApis"]
    assert sorted(asked) == ["deleteUserData", "registerUserData"]


def test_where_the_account_may_not_expunge_they_are_sent_with_each_machine(cloud):
    cloud.capabilities["allowuserexpungerecovervm"] = False
    play_to(cloud, "50-deploy-cluster", **USERDATA)
    assert kept(cloud) == {} and sorted(given(cloud)) == NAMES


def test_a_server_that_cannot_register_is_sent_them_with_each_machine(tmp_path):
    with running(tmp_path / "cloud", dialect="2.2") as old:
        assert not old.may_register and registered.rows_of(old, "coreos-cluster") == []
        play_to(old, "60-verify-cluster", **OLD, **USERDATA)
        with pytest.raises(Refused):
            old.call("listUserData")
