"""Fixed addresses: chosen, checked, kept, and enough for etcd to form a cluster."""

import re
from dataclasses import replace

import pytest
from harness import FLATCAR, machines, play, play_to

from lib import config
from lib.config.discovery import STATIC
from lib.errors import CheckFailed, ParamsError

FIXED = FLATCAR | {"discovery": "static"}
FORMS = {
    "cloud-config": {},
    "user data": {"config_delivery": "userdata"},
    "Ignition": {"config_format": "ignition"},
    "Ignition as user data": {"config_format": "ignition", "config_delivery": "userdata"},
}
FREE = ["10.1.0.252", "10.1.0.253", "10.1.0.254"]  # the last ones of the local cloud's network
STATIC_3 = config.Bootstrap("core", 3, STATIC)


def settle(cloud, wanted: list[str], kept=(), **changes) -> config.Bootstrap:
    bootstrap = replace(STATIC_3, **changes)
    return config.settle(cloud, bootstrap, "local-1", "", wanted, kept)


def deploy(cloud, name: str, address: str) -> None:
    """Deploy a machine of the template by hand."""
    zone, offering = cloud.zones[0]["id"], cloud.list("listServiceOfferings")[0]["id"]
    template = cloud.list("listTemplates", templatefilter="self")[0]["id"]
    where = {"zoneid": zone, "serviceofferingid": offering, "templateid": template}
    cloud.call("deployVirtualMachine", **where, name=name, ipaddress=address)


def addresses_of(cloud) -> dict[str, str]:
    return {name: row["nic"][0]["ipaddress"] for name, row in machines(cloud).items()}


def etcd_lines(cloud) -> list[str]:
    """Return the lines of the machines' etcd when they boot."""
    rows = cloud.list("listEvents", type="VM.BOOT")
    return re.findall(r"etcd: .*", "\n".join(r["description"] for r in rows))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_machines_at_fixed_addresses_need_no_token(built, tmp_path, form):
    with built(**FIXED, **form).running(tmp_path / "cloud") as cloud:
        play(cloud, "50-deploy-cluster", **FIXED, **form)
        check_machines_know_each_other(cloud, FIXED | form)


def check_machines_know_each_other(cloud, params: dict[str, str]) -> None:
    assert sorted(addresses_of(cloud).values()) == FREE
    known = [f"etcd: member {address} of 3 that know each other" for address in FREE]
    assert sorted(etcd_lines(cloud)) == known
    rows = play(cloud, "60-verify-cluster")["found"]
    assert {r.ok for r in rows} == {"✓", "-"}
    assert [r.ok for r in rows if r.what == "address"] == ["✓"] * 3
    assert cloud.server.cloud.state.setting("discovery", {"rows": {}})["rows"] == {}
    for stage in ("20-write-cloud-config", "50-deploy-cluster"):
        assert play(cloud, stage, **params)["plan"] == []


def test_addresses_are_shown_before_and_those_named_are_taken_in_their_order(cloud):
    names = play(cloud, "20-write-cloud-config", **FIXED, mode="plan")
    assert list(names["bootstrap"].addresses) == FREE
    assert [config.Written("", names["plan"][0].params["text"]).addresses] == [tuple(FREE)]
    wanted = ["10.1.0.60", "10.1.0.50", "10.1.0.70"]
    play_to(cloud, "50-deploy-cluster", **FIXED, fixed_addresses=wanted)
    assert addresses_of(cloud) == {f"coreos-cluster-{i}": a for i, a in enumerate(wanted, 1)}


@pytest.mark.parametrize(
    "wanted, part",
    [
        (["10.1.0.5"], "3 different ones"),
        (["10.1.0.5"] * 3, "3 different ones"),
        (["10.1.0.5", "10.1.0.6", "10.2.0.7"], r"in 10\.1\.0\.0/24, found '10\.2\.0\.7'"),
        (["10.1.0.5", "10.1.0.6", "10.1.0.1"], r"found '10\.1\.0\.1'"),
        (["10.1.0.5", "10.1.0.6", "core-3"], "found 'core-3'"),
    ],
)
def test_addresses_that_cannot_be_are_refused(cloud, wanted, part):
    with pytest.raises(ParamsError, match=f"fixed_addresses: .*{part}"):
        settle(cloud, wanted)


def test_addresses_are_for_static_discovery_and_those_kept_come_before_new_ones(cloud):
    with pytest.raises(ParamsError, match='only discovery "static" fixes'):
        settle(cloud, FREE, service="http://x")
    assert settle(cloud, [], service="http://x").addresses == ()
    assert settle(cloud, [], ["10.1.0.9"]).addresses == ("10.1.0.9",)
    with pytest.raises(CheckFailed, match="wanted 300, found 252"):
        settle(cloud, [], size=300)


@pytest.mark.parametrize(
    "taken, size, message",
    [
        (("other", FREE[1]), 3, rf"{FREE[1]} is meant for .*-2, but the machine other"),
        (("coreos-cluster-1", "10.1.0.99"), 3, r"of coreos-cluster-1: .*found 10\.1\.0\.99"),
        ((), 4, "wanted 4, one for each etcd member, found 3"),
    ],
)
def test_what_does_not_fit_the_fixed_addresses_stops_the_first_machine(
    built, tmp_path, taken, size, message
):
    with built(**FIXED).running(tmp_path / "cloud") as cloud:
        if taken:
            deploy(cloud, *taken)
        with pytest.raises(CheckFailed, match=message):
            play(cloud, "50-deploy-cluster", **FIXED, cluster_size=size)
        assert len(addresses_of(cloud)) == len(taken[:1])


def test_a_token_is_not_exchanged_for_addresses_nor_done_without_in_2014(cloud):
    with pytest.raises(ParamsError, match="etcd of 2014 needs a token"):
        play(cloud, "20-write-cloud-config", discovery="static", mode="plan")
    play(cloud, "20-write-cloud-config", **FIXED | {"discovery": "local"})
    with pytest.raises(CheckFailed, match=r"(?s)-.*initial-cluster.*90-remove-cluster"):
        play(cloud, "20-write-cloud-config", **FIXED)
