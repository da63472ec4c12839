"""Templates: ours is the one of our name; it is usable once `isready` is true.

It is made of a snapshot, registered from a URL, or there already, as `template_from` says.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from lib.api import find
from lib.checks import check
from lib.errors import CheckFailed, JobTimeout, ParamsError
from lib.ours import NEUTRAL, Ours, is_neutral
from lib.record import facts
from lib.steps import Id, Pending, Step
from lib.waiting import Waiting, until

SECONDS_PER_GIB = 3.0
SHA256 = re.compile(r"[0-9a-fA-F]{64}")
COMPRESSED = (".bz2", ".gz", ".zip")
# How a URL's path ends, but for a compression, in each format (UriUtils of CloudStack).
ENDS = {"QCOW2": (".qcow2", ".img"), "VHD": (".vhd",), "VHDX": (".vhdx",), "OVA": (".ova",),
        "RAW": (".raw", ".img"), "VMDK": (".vmdk",)}  # fmt: skip
GOES_ON = re.compile(r"|Processing|Installing Template|\d+% Downloaded|Download Complete"
                     r"|Bypassed Secondary Storage|[A-Z][a-zA-Z]*")  # fmt: skip
FAILED = ("DOWNLOAD_ERROR", "ABANDONED")  # VMTemplateStorageResourceAssoc.Status
DOWNLOAD_FAILED = (
    "The cloud downloads by itself, from its secondary storage: can it reach that URL, is the file "
    "there, does its sha256 fit, and is it of that format once it is unpacked? Correct "
    "template_url or template_sha256 and run this stage again: it registers the template anew."
)


def plan_create(ours: Ours, *, os_type: str, config_delivery: str = "disk") -> list[Step]:
    """Return the step that creates the template from the snapshot, none if it exists.

    One without a token is tagged as neutral, where there are tags: for others than this cluster.
    2.2 demands a display text and a name of at most 32 characters, so both are always kept to.
    """
    if not ours.needs_disk:
        return []
    template, name = ours.template(), ours.template_name
    more = NEUTRAL if config_delivery == "userdata" else {}
    if template and is_neutral(template):
        return []
    if template:
        return ours.plan_tags(template, "Template", **more)
    demand_name(name)
    volume = ours.volume()
    kind = ours.cloud.one("listOsTypes", os_type, by="description")
    params = {
        "name": name,
        "displaytext": name,
        "snapshotid": _source(ours.snapshot(volume), ours.volume_name),
        "ostypeid": Id.of(kind, "description"),
    }
    expect = volume["size"] / 2**30 * SECONDS_PER_GIB if volume else 0
    why = f"there is no template {name} in {ours.zone}"
    return [Step("createTemplate", params, why, name, ours.tags | more, "Template", expect)]


def demand_name(name: str) -> None:
    """Raise CheckFailed for a name that CloudStack 2.2 refuses."""
    if not 0 < len(name) <= 32:
        raise CheckFailed("template_name", "1 to 32 characters", f"{len(name)}")


@dataclass(frozen=True)
class Image:
    """An image that a template is registered from.

    `format` "" goes by the end of the URL, `hypervisor` "" is the only one of the zone. Raises
    ParamsError for what no server takes.
    """

    url: str
    format: str = ""
    hypervisor: str = ""
    sha256: str = ""
    directly: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ParamsError("template_url", "the http(s) URL of an image", self.url)
        if self.sha256 and not SHA256.fullmatch(self.sha256):
            raise ParamsError("template_sha256", "64 hex digits, or nothing", self.sha256)
        self.kind()

    def kind(self) -> str:
        """Return the format, which the end of the URL must fit: CloudStack refuses others."""
        name = PurePosixPath(urlsplit(self.url).path.lower())
        end = PurePosixPath(name.stem).suffix if name.suffix in COMPRESSED else name.suffix
        fitting = [kind for kind, ends in ENDS.items() if end in ends]
        if not fitting or (len(fitting) > 1 and not self.format):
            ends = ", ".join(dict.fromkeys(e for each in ENDS.values() for e in each))
            wanted = f"a URL that ends in {ends} (.img: set template_format), compressed or not"
            raise ParamsError("template_url", wanted, self.url)
        if self.format and self.format.upper() not in fitting:
            wanted = f"one that fits a file {end}: {', '.join(fitting)}"
            raise ParamsError("template_format", wanted, self.format)
        return self.format.upper() or fitting[0]


def plan_register(ours: Ours, image: dict, *, os_type: str) -> list[Step]:
    """Return the step that registers the template from a URL, none if it is there or not needed.

    `image` are the values of an `Image`. A template whose download failed is deleted before: apply
    these one after the other. Raises ParamsError for what this server cannot do.
    """
    if ours.template_from != "url":
        return []
    given, template, name = Image(**image), ours.template(), ours.template_name
    steps = []
    if template and not failed(template):
        return [] if is_neutral(template) else ours.plan_tags(template, "Template", **NEUTRAL)
    if template:
        steps = [Step("deleteTemplate", _removed(ours, template), "its download failed", name)]
    demand_name(name)
    kind = ours.cloud.one("listOsTypes", os_type, by="description")
    params = {
        "name": name,
        "displaytext": name,
        "url": given.url,
        "format": given.kind(),
        "hypervisor": _hypervisor(ours, given),
        "ostypeid": Id.of(kind, "description"),
        "zoneid": ours.zone_id,
        **_checked(ours, given),
    }
    why = f"there is no template {name} in {ours.zone}"
    step = Step("registerTemplate", params, why, name, ours.tags | NEUTRAL, "Template")
    return [*steps, step]


def _checked(ours: Ours, image: Image) -> dict[str, object]:
    """Return the parameters that not every server has."""
    cloud, version = ours.cloud, ".".join(map(str, ours.cloud.version))
    if image.sha256 and not cloud.can_check_sha256:
        wanted = f"nothing: this server ({version}) compares MD5 only"
        raise ParamsError("template_sha256", wanted, image.sha256)
    if image.directly and not cloud.can_download_directly:
        wanted = f"false: this server ({version}) is older than 4.11"
        raise ParamsError("direct_download", wanted, True)
    if image.directly and _hypervisor(ours, image) != "KVM":
        raise ParamsError("direct_download", "false: only KVM hosts download", True)
    found = {"checksum": f"{{SHA-256}}{image.sha256}"} if image.sha256 else {}
    return found | ({"directdownload": True} if image.directly else {})


def _hypervisor(ours: Ours, image: Image) -> str:
    if image.hypervisor:
        return image.hypervisor
    rows = ours.cloud.list_if_allowed("listHypervisors", zoneid=ours.zone_id) or []
    if len(rows) != 1:
        names = ", ".join(r["name"] for r in rows) or "what the provider names"
        raise ParamsError("template_hypervisor", f"one of the zone's: {names}", "")
    return rows[0]["name"]


def failed(template: dict) -> bool:
    """Tell whether the download of a template has failed, by its status.

    An old server says nothing but the error itself: any text that is no known state.
    """
    if template.get("isready"):
        return False
    states = [d.get("downloadState") for d in template.get("downloaddetails") or []]
    if states:
        return all(state in FAILED for state in states)
    return not GOES_ON.fullmatch(template.get("status") or "")


def _source(snapshot: dict | None, volume_name: str) -> object:
    if snapshot and snapshot["state"] == "BackedUp":
        return Id.of(snapshot)
    return Pending(f"backed-up snapshot of {volume_name}", "41-create-snapshot")


def wait_created(ours: Ours, *, within: float) -> None:
    """Do as `wait_ready` does, where the template is made of a disk."""
    if ours.needs_disk:
        wait_ready(ours, within=within)


def wait_ready(ours: Ours, *, within: float) -> None:
    """Wait until our template is ready in each zone, if it is there, and show its status.

    `within` in seconds; raises JobTimeout, and CheckFailed when its download failed.
    """
    for place in ours.everywhere:
        _wait_ready(place, within)


def _wait_ready(ours: Ours, within: float) -> None:
    what = f"template {ours.template_name}"
    rows: list[dict | None] = []

    def is_settled() -> bool:
        row = ours.template()
        rows[:] = [row]
        waiting.show(f"{what}: {_status(row)}")
        return row is None or row["isready"] is True or failed(row)

    with Waiting() as waiting:
        settled = until(ours.cloud, is_settled, "", within)
    row = rows[0]
    if settled is None:
        raise JobTimeout(f"waiting for {what}", "ended", within, _status(row))
    if row and failed(row):
        raise CheckFailed(f"Download failed: {what}: {_status(row)}", next_step=DOWNLOAD_FAILED)


def _status(template: dict | None) -> str:
    return str((template or {}).get("status") or "not ready")


def tell_source(ours: Ours) -> None:
    """Show what the template is that others made, and note it in the record."""
    if ours.needs_disk:
        print('not needed: template_from is "disk", so 42-create-template makes the template')
    if ours.template_from == "existing":
        row = ours.template() or {}
        keys = ("name", "id", "ostypename", "format", "hypervisor", "account", "created")
        about = {k: str(row[k]) for k in keys if row.get(k)}
        facts.add(template=about)
        print(f"taken as it is: {', '.join(f'{k} {v}' for k, v in about.items())}")


def verify(ours: Ours, *, size: int, mode: str) -> None:
    """Check our template: ready in this zone, of `size` GB. In plan mode there may be none yet."""
    if ours.needs_disk:
        _verify_ready(ours, mode, size)


def verify_registered(ours: Ours, *, mode: str) -> None:
    """Check our template where no disk is needed: ready in this zone."""
    if not ours.needs_disk:
        _verify_ready(ours, mode)


def _verify_ready(ours: Ours, mode: str, size: int = 0) -> None:
    """Check that our template is ready in each zone, and of `size` GB where that is known."""
    for place in ours.everywhere:
        template = place.template()
        if mode == "plan" and not template:
            print(f"there is no template {ours.template_name} yet")
            continue
        found = template or {}
        check("template is ready", found.get("isready", False))
        zone = {"id": found.get("zoneid"), "name": found.get("zonename")}
        check("template is in the zone", bool(find.fitting([zone], place.zone)))
        if size:
            check("GB of the template", found.get("size", 0) / 2**30, float(size))


def plan_removal(ours: Ours) -> list[Step]:
    """Return the step that deletes our template, none if it is gone or not ours alone.

    It is forced, as CloudStack refuses it while a machine of the template is destroyed but not
    expunged, which may be a day or two (TemplateManagerImpl). So whoever applies it must look for
    other machines of the template before. 2.2 does not look for them and has no `forced`.
    """
    if ours.template_from == "existing":
        return []
    found = (place.template() for place in ours.everywhere)
    template = next((row for row in found if row), None)
    if not template or not ours.own([template]):
        return []
    why = "made by this runbook"
    return [Step("deleteTemplate", _removed(ours, template), why, ours.template_name)]


def _removed(ours: Ours, template: dict) -> dict[str, object]:
    params: dict[str, object] = {"id": Id.of(template)}  # without a zone all copies are deleted
    return params | ({"forced": True} if ours.cloud.has_tags else {})
