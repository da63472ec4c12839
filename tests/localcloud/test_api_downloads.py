"""Templates that the cloud downloads, and copies in other zones."""

import pytest

from lib.localcloud.workstation import images

FLATCAR = "https://stable.release.flatcar-linux.net/amd64-usr/{}/flatcar_production_{}image.img"
URL = FLATCAR.format("current", "cloudstack_")
ZONES = """\
zones: [{name: local-1}, {name: west}]
networks:
  - {name: default-guest, zone: local-1, cidr: 10.1.0.0/24}
  - {name: far, zone: west, cidr: 10.3.0.0/24}
"""


@pytest.fixture
def two(cloud_of, seed):
    """A cloud with two zones."""
    return cloud_of(seed=seed(ZONES))


def image(api, **more: object) -> dict:
    """Return the parameters of a registration; an empty one is left out."""
    kind = api.id_of("listOsTypes", "Other Linux (64-bit)", by="description")
    given = {"name": "flatcar", "url": URL, "format": "RAW", "hypervisor": "KVM"}
    given |= {"ostypeid": kind, "zoneid": api.zone()} | more
    return {k: v for k, v in given.items() if v != ""}


def registered(api, **more: object) -> dict:
    """Register a template, and return its row once the download is over."""
    [row] = api("registerTemplate", **image(api, **more))["template"]
    return row_of(api, row["id"])


def row_of(api, id: str, **more: object) -> dict:
    return api("listTemplates", templatefilter="self", id=id, **more)["template"][0]


def test_a_download_shows_how_far_it_is_and_ends_as_a_template_that_boots(cloud_of, clock):
    cloud = cloud_of(clock=clock, time_scale=1)
    body = cloud("registerTemplate", **image(cloud))
    [row] = body["template"]
    assert (body["count"], row["isready"], row["status"]) == (1, False, "0% Downloaded")
    assert (row["format"], row["hypervisor"], row["zonename"]) == ("RAW", "KVM", "local-1")
    shown = {75: "50% Downloaded", 74: "99% Downloaded", 1: "Download Complete"}
    for seconds, status in shown.items():
        clock.now += seconds
        assert row_of(cloud, row["id"])["status"] == status
    assert row_of(cloud, row["id"])["isready"]
    disk = cloud.server.cloud.disk({"id": row["id"]})
    assert b"VERSION=4459.2.0" in images.tree(disk, 3)["lib/os-release"]
    assert b"ID=cloudstack" in images.tree(disk, 6)["oem-release"]


MD5, SHA512 = "a" * 32, "b" * 128
GIVEN = "didn't match the given value, \"{MD5}"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"checksum": MD5}, "Download Complete"),
        ({"checksum": f"{{SHA-512}}{SHA512}"}, "Download Complete"),
        ({"checksum": SHA512}, f'Failed post download script: checksum "{{MD5}}*{GIVEN}{SHA512}"'),
        ({"checksum": f"{{X}}{MD5}"}, "Failed post download script: checksum algorithm not recog*"),
        ({"url": FLATCAR.format("4.5", "")}, " HTTP Server returned 404 (expected 200 OK) "),
        ({"url": FLATCAR.format("current", "no_such_")}, " HTTP Server returned 404 *"),
    ],
)
def test_a_download_that_fails_says_why_in_its_status(api, given, status):
    from fnmatch import fnmatchcase

    row = registered(api, **given)
    assert fnmatchcase(row["status"], status.replace("[", "[[]"))
    assert row["isready"] == (status == "Download Complete")
    if not row["isready"]:
        assert row["downloaddetails"][0]["downloadState"] == "DOWNLOAD_ERROR"
        params = api.machine_params(name="m", templateid=row["id"])
        assert "is not available for use" in api.refused("deployVirtualMachine", **params)[1]


def test_quotas_of_templates_and_storage_count_for_downloads(api):
    api.fault("limits", "secondarystorage:3")
    assert "Type = 'secondary_storage'" in api.refused("registerTemplate", **image(api))[1]
    api.fault("limits", "template:0")
    assert api.refused("registerTemplate", **image(api))[0] == 535


def test_a_direct_download_bypasses_the_store_and_is_ready_at_once(api):
    [row] = api("registerTemplate", **image(api, directdownload="true"))["template"]
    assert (row["status"], row["isready"]) == ("Bypassed Secondary Storage", True)
    assert (row["directdownload"], row["downloaddetails"][0]["downloadState"]) == (True, "BYPASSED")
    assert api.machine("m", templateid=row["id"])["state"] == "Running"


def test_no_host_takes_a_template_of_another_hypervisor(api):
    row = registered(api, hypervisor="VMware")
    params = api.machine_params(name="m", templateid=row["id"])
    assert api.failed("deployVirtualMachine", **params)[0] == 533
    assert api("listTemplates", templatefilter="self", hypervisor="KVM") == {}


def test_a_template_is_in_the_zones_it_was_registered_or_copied_for(two):
    west = two.zone("west")
    created = registered(two)["id"]
    params = two.machine_params(name="m", zone="west", templateid=created)
    text = two.refused("deployVirtualMachine", **params)[1]
    assert text == f"The template {created} is not available for use"
    two.done("copyTemplate", id=created, sourcezoneid=two.zone(), destzoneid=west)
    two.done("copyTemplate", id=created, destzoneids=west)  # which has it already
    found = two("listTemplates", templatefilter="self", id=created)
    assert [t["zonename"] for t in found["template"]] == ["local-1", "west"]
    assert two("listTemplates", templatefilter="self", id=created, showunique="true")["count"] == 1
    assert row_of(two, created, zoneid=west)["zonename"] == "west"
    assert two.done("deployVirtualMachine", **params)["zonename"] == "west"
    code, text = two.failed("deleteTemplate", id=created, zoneid=west)
    assert code == 431 and "are using it" in text
    two.done("deleteTemplate", id=created, zoneid=two.zone())
    assert [t["zonename"] for t in two("listTemplates", templatefilter="self")["template"]] == [
        "west"
    ]
    both = two("registerTemplate", **image(two, zoneid="", zoneids=f"{two.zone()},{west}"))
    assert both["count"] == 2
    assert two("listTemplates", templatefilter="featured")["count"] == 2


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        ({}, 431, "Either destzoneid or destzoneids parameters have to be specified."),
        ({"destzoneid": "$w", "destzoneids": "$w"}, 431, "Both destzoneid and destzoneids cannot"),
        ({"sourcezoneid": "$w", "destzoneid": "$w"}, 431, "Please specify different source and"),
        ({"sourcezoneid": "$w", "destzoneid": "$l"}, 431, "There is no template "),
        ({"id": "$s", "destzoneid": "$w"}, 531, "Acct runbook does not have permission to op"),
    ],
)
def test_a_copy_that_cannot_be_made_is_refused(two, given, code, text):
    names = {"$w": two.zone("west"), "$l": two.zone()}
    names["$s"] = two.id_of(
        "listTemplates", "Debian 12", templatefilter="featured", zoneid=names["$l"]
    )
    given = {"id": registered(two)["id"]} | {k: names[v] for k, v in given.items()}
    found, message = two.failed("copyTemplate", **given)
    assert found == code and message.startswith(text)
