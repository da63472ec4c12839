"""The template: registered from a URL, or one that others made; no disk is needed then."""

from dataclasses import replace

import pytest
from harness import RUN, URL, USERDATA, changes, fault, inventory, play, play_to, running
from stages import ATTACH, CHECK, CREATE, DEPLOY, REGISTER, REMOVE, VERIFY

from lib.config import Form
from lib.errors import CheckFailed, JobTimeout, NotOne, ParamsError
from lib.lab import procedure
from lib.ours import Ours
from lib.resources import templates

IMAGE = URL["template_url"]
RAW = {"url": IMAGE, "format": "RAW"}
SHA = "0a" * 32


def fail_downloads(cloud, text: str) -> None:
    cloud.call("configureSimulator", name="downloads", value=f"error:{text}")


def test_a_cluster_is_made_of_a_registered_template_without_a_disk(each_cloud, capsys):
    play_to(each_cloud, VERIFY, **URL)
    output = capsys.readouterr().out
    assert output.count('not needed: template_from is "url", so there is no disk') == 6
    assert changes(each_cloud)[0] == "registerTemplate"
    assert "createVolume" not in changes(each_cloud)
    rows = play(each_cloud, VERIFY, **URL)["found"]
    assert {r.ok for r in rows} <= {"✓", "-"}
    (row,) = each_cloud.list("listTemplates", templatefilter="self")
    assert row["isready"] and row["status"] == "Download Complete"
    seen = changes(each_cloud)
    play_to(each_cloud, VERIFY, **URL)
    assert changes(each_cloud) == seen, "a second run changed something"
    found = procedure.states(procedure.look(each_cloud, RUN | URL))
    assert [str(found[n]) for n in (10, 42, 43)] == ["✓ not needed"] * 2 + ["✓ template is ready"]
    play(each_cloud, REMOVE, **URL)
    assert inventory(each_cloud)["listTemplates"] == []


def test_where_no_disk_is_needed_a_foreign_one_of_its_name_does_not_matter(cloud):
    for stage in (CREATE, ATTACH):
        play(cloud, stage, cluster_name="theirs")
    with pytest.raises(CheckFailed, match=r"somebody else's: .* Set volume_name\."):
        play(cloud, CHECK, **USERDATA)
    play(cloud, CHECK, **URL)


def test_looking_registers_nothing_and_names_the_stage_to_come(cloud):
    plan = play(cloud, REGISTER, mode="plan", **URL)["plan"]
    assert [s.command for s in plan] == ["registerTemplate"]
    assert plan[0].params["hypervisor"] == "KVM" and "checksum" not in plan[0].params
    plan = play(cloud, REGISTER, mode="plan", **URL, template_sha256=SHA)["plan"]
    assert plan[0].params["checksum"] == f"{{SHA-256}}{SHA}"
    with pytest.raises(CheckFailed, match=r"Run 20-write-cloud-config first|43-register-template"):
        play(cloud, DEPLOY, **URL)
    assert changes(cloud) == []
    found = procedure.states(procedure.look(cloud, RUN | URL))
    assert str(found[43]) == "○ to do"


def test_a_failed_download_is_explained_and_the_next_run_registers_the_template_again(each_cloud):
    fail_downloads(each_cloud, "Failed to download, HTTP 404")
    text = "Download failed: template coreos-cluster-tpl: Failed to download, HTTP 404. The cloud"
    with pytest.raises(CheckFailed, match=text):
        play(each_cloud, REGISTER, **URL)
    found = procedure.states(procedure.look(each_cloud, RUN | URL))
    assert str(found[43]) == "◐ Failed to download, HTTP 404"
    fail_downloads(each_cloud, "")
    play_to(each_cloud, REGISTER, **URL)
    created = [c for c in changes(each_cloud) if "Template" in c]
    assert created == ["registerTemplate", "deleteTemplate", "registerTemplate"]
    assert play(each_cloud, REGISTER, **URL)["plan"] == []


@pytest.mark.parametrize("kind", ["drop-before", "drop-after"])
def test_a_lost_answer_registers_once(cloud, kind):
    fault(cloud, "registerTemplate", f"fault:{kind}")
    play(cloud, REGISTER, **URL)
    assert inventory(cloud)["listTemplates"] == ["coreos-cluster-tpl"]


def test_a_download_that_takes_too_long_may_be_waited_for_again(cloud, tmp_path):
    cloud.call("configureSimulator", name="time", value="scale:1000")
    ours = Ours(cloud, "local-1", "coreos-cluster", template_name="t", template_from="url")
    (step,) = templates.plan_register(ours, RAW, os_type="Other Linux (64-bit)")
    cloud.call(step.command, **step.params)
    with pytest.raises(JobTimeout, match=r"t is still running|waiting for template t of 0% Downl"):
        templates.wait_ready(ours, within=0)


@pytest.mark.parametrize("dialect", ["4.22", "2.2"])
def test_a_template_of_others_is_used_recorded_and_kept(tmp_path, capsys, dialect):
    mine = USERDATA | {"template_from": "existing", "template_name": "Debian 12"}
    with running(tmp_path / "cloud", dialect=dialect) as cloud:
        play_to(cloud, DEPLOY, **mine)
        assert "taken as it is: name Debian 12, id " in capsys.readouterr().out
        assert '"ostypename": "Debian GNU/Linux 12' in (cloud.folder / "facts.jsonl").read_text()
        assert len(inventory(cloud)["listVirtualMachines"]) == 4
        assert not {"registerTemplate", "createVolume"} & set(changes(cloud))
        play(cloud, REMOVE, **mine)
        assert "deleteTemplate" not in changes(cloud)
        assert inventory(cloud)["listVirtualMachines"] == ["my-workstation"]


def test_a_template_of_others_that_is_not_there_is_reported_with_what_there_is(cloud):
    params = USERDATA | {"template_from": "existing"}
    with pytest.raises(CheckFailed, match=r"(?s)template_name coreos-cluster-tpl.*Debian 12"):
        play(cloud, CHECK, **params)
    with pytest.raises(NotOne, match="exactly one template with name 'coreos-cluster-tpl'"):
        play(cloud, DEPLOY, **params, mode="plan")
    play(cloud, REMOVE, **params)


# What is wrong -> (parameter in the message, what it says).
WRONG = {
    "no URL": ({"url": ""}, "template_url: wanted the http"),
    "scheme": ({"url": "ftp://x/a.qcow2"}, "template_url: wanted the http"),
    "unknown end": ({"url": "https://x/image.bin.bz2"}, "template_url: wanted a URL that ends in"),
    "two formats": ({"url": "https://x/a.img"}, r"\(\.img: set template_format\)"),
    "other format": ({"url": "https://x/a.ova", "format": "QCOW2"}, "fits a file .ova: OVA"),
    "checksum": (RAW | {"sha256": "12"}, "template_sha256: wanted 64 hex digits"),
}


@pytest.mark.parametrize("image, message", WRONG.values(), ids=WRONG)
def test_an_image_that_no_cloud_takes_is_refused_before_anything_is_sent(cloud, image, message):
    ours = Ours(cloud, "local-1", "c", template_name="t", template_from="url")
    with pytest.raises(ParamsError, match=message):
        templates.plan_register(ours, image, os_type="Other Linux (64-bit)")
    assert templates.plan_register(replace(ours, template_from="disk"), image, os_type="") == []


def test_what_an_old_server_cannot_do_is_refused(tmp_path):
    with running(tmp_path / "cloud", dialect="2.2") as old:
        ours = Ours(old, "local-1", "c", template_name="t", template_from="url")
        kind = {"os_type": "Other Linux (64-bit)"}
        for more, text in (({"sha256": SHA}, "MD5 only"), ({"directly": True}, "older than 4.11")):
            with pytest.raises(ParamsError, match=text):
                templates.plan_register(ours, RAW | more, **kind)


def test_hosts_may_download_by_themselves(cloud):
    play(cloud, REGISTER, **URL, direct_download=True)
    (row,) = cloud.list("listTemplates", templatefilter="self")
    assert (row["directdownload"], row["isready"]) == (True, True)
    with pytest.raises(ParamsError, match="only KVM hosts download"):
        play(cloud, REGISTER, **URL, direct_download=True, template_hypervisor="VMware",
             template_name="t2")  # fmt: skip


def test_an_invalid_source_is_refused():
    with pytest.raises(ParamsError, match="template_from: wanted disk, url or existing"):
        Ours(None, "local-1", "c", template_from="iso")
    with pytest.raises(
        ParamsError, match='config_delivery: template_from "url" configures no disk'
    ):
        Form("flatcar-install", "cloudstack", template_from="url")


@pytest.mark.parametrize(
    "row, is_so",
    [
        ({"isready": True, "status": "odd"}, False),
        ({"status": "Processing"}, False),
        ({"status": "37% Downloaded"}, False),
        ({"status": "NotUploaded"}, False),
        ({}, False),
        ({"status": "Unable to resolve mirror"}, True),
        ({"status": "x y", "downloaddetails": [{"downloadState": "DOWNLOAD_IN_PROGRESS"}]}, False),
        ({"downloaddetails": [{"downloadState": "DOWNLOAD_ERROR"}]}, True),
    ],
)
def test_a_failed_download_is_known_by_its_status(row, is_so):
    assert templates.failed(row) is is_so


def test_00_reports_an_image_that_no_cloud_takes(cloud):
    text = r"(?s)template_url: .*a URL that ends in"
    with pytest.raises(CheckFailed, match=text):
        play(cloud, CHECK, **URL | {"template_url": "https://x/image.bin.bz2"})
    play(cloud, CHECK, **URL)
