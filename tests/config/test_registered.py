"""Registered user data: kept at the cloud under a name, given to machines by id, and removed."""

import base64
import json

import pytest
from harness import FLATCAR, changes, fault, play, play_to, user_data

from lib.config import ignition, registered, userdata
from lib.config.lint import validate
from lib.errors import CheckFailed

FIFTY = "50-deploy-cluster"
USERDATA = {"config_delivery": "userdata"}
IGNITION = USERDATA | FLATCAR | {"config_format": "ignition"}
NAMES = [f"coreos-cluster-{n}" for n in (1, 2, 3)]


def kept(cloud) -> dict[str, str]:
    """Return what is registered, name -> text."""
    rows = cloud.list("listUserData")
    return {r["name"]: base64.b64decode(r["userdata"]).decode() for r in rows}


def test_all_machines_share_what_is_registered_under_the_clusters_name(registering):
    before = changes(registering)
    plan = play(registering, FIFTY, **USERDATA, mode="plan")["plan"]
    deploys = ["deployVirtualMachine"] * 3
    assert [s.command for s in plan] == ["registerUserData", *deploys]
    assert "bytes, sha256" in repr(plan[0]) and changes(registering) == before
    play(registering, FIFTY, **USERDATA)
    (text,) = kept(registering).values()
    assert list(kept(registering)) == ["runbook-coreos-cluster"]
    assert user_data(registering) == dict.fromkeys(NAMES, text)
    assert changes(registering).count("registerUserData") == 1
    assert play(registering, FIFTY, **USERDATA)["plan"] == []
    calls = registering.list("listSimulatorCalls")
    asked = [c["params"]["name"] for c in calls if c["command"] == "listApis"]
    once = ["deleteUserData", "expungeVirtualMachine", "registerUserData"]
    assert sorted(asked) == once, "asked once whether it can"


def test_each_machine_may_have_its_own_with_its_host_name_in_an_ignition_config(built, tmp_path):
    with built(**IGNITION).running(tmp_path / "cloud", may_expunge=1) as cloud:
        for stage in (FIFTY, "60-verify-cluster"):
            play(cloud, stage, **IGNITION, user_data_each=True)
        texts = user_data(cloud)
        named = {f"runbook-coreos-cluster_{n[-1]}": t for n, t in texts.items()}
        assert sorted(texts) == NAMES and kept(cloud) == named
        assert play(cloud, FIFTY, **IGNITION, user_data_each=True)["plan"] == []
    for name, text in texts.items():
        assert ignition.validate(text) == []
        (file,) = json.loads(text)["storage"]["files"]
        source = file["contents"]["source"]
        assert file["path"] == "/etc/hostname" and source.startswith(f"data:,{name}%0A")


@pytest.mark.parametrize("kind", ["drop-before", "drop-after"])
def test_a_lost_answer_registers_once(registering, kind):
    fault(registering, "registerUserData", f"fault:{kind}")
    play(registering, FIFTY, **USERDATA)
    assert len(kept(registering)) == 1 and sorted(user_data(registering)) == NAMES


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


def test_the_removal_deletes_those_of_this_cluster_only(registering):
    play(registering, FIFTY, **USERDATA, user_data_each=True)
    for name, text in user_data(registering).items():
        assert validate(text) == [] and f"\nhostname: {name}\n" in text
    for name, host in (OTHERS | OLDER).items():
        text = f"#cloud-config\n\nhostname: {host}\nmanage_etc_hosts: {name}\n"
        registering.call("registerUserData", name=name, userdata=userdata.encoded(text))
    found = registered.rows_of(registering, "coreos-cluster-1")
    assert [r["name"] for r in found] == [*OTHERS][-2:]
    play(registering, "90-remove-cluster", keep=["template"])
    assert sorted(kept(registering)) == sorted(OTHERS)
    play_to(registering, FIFTY, **USERDATA)
    assert sorted(kept(registering)) == sorted([*OTHERS, "runbook-coreos-cluster"])


def test_others_under_the_same_name_are_reported_before_anything_is_sent(registering):
    data = userdata.encoded("#cloud-config\nhostname: a\n")
    registering.call("registerUserData", name="runbook-coreos-cluster", userdata=data)
    before = changes(registering)
    with pytest.raises(CheckFailed, match=r"registered as runbook-coreos-cluster\. .*90-remove"):
        play(registering, FIFTY, **USERDATA)
    assert changes(registering) == before


def test_where_the_account_may_not_expunge_they_are_sent_with_each_machine(neutral):
    play(neutral, FIFTY, **USERDATA)
    assert kept(neutral) == {} and sorted(user_data(neutral)) == NAMES
