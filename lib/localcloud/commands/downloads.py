"""Templates from elsewhere: registered by a URL, or copied from another zone.

Rules and texts are those of `RegisterTemplateCmd`, `TemplateAdapterBase`, `UriUtils`,
`DigestHelper`, `DownloadManagerImpl` and `TemplateManagerImpl`. The download is simulated: the
servers of CoreOS and Flatcar have their releases, other hosts cannot be resolved.
"""

import hashlib
import re
from typing import Any
from urllib.parse import urlsplit

from ..state import jobs
from ..state.cloud import GIB, Cloud, Listing, check_quota, find_copy
from ..state.jobs import Work
from ..state.refusals import ApiError, broken, invalid, refuse
from ..state.registry import command, phase
from ..state.rows import Row
from ..workstation import images, installers, releases

FORMATS = "QCOW2 RAW VHD ISO OVA VHDX BAREMETAL VMDK VDI TAR DIR".split()  # noqa: SIM905
SUFFIXES = {"raw": ("img", "raw")}  # the others have the format's name
PACKED = ("", ".zip", ".bz2", ".gz")
HYPERVISORS = "XenServer KVM VMware Hyperv VirtualBox Parralels BareMetal Simulator Ovm Ovm3 LXC"
DIGITS = {"MD5": 32, "SHA-1": 40, "SHA-224": 56, "SHA-256": 64, "SHA-384": 96, "SHA-512": 128}
ALL_ZONES = -1


@command("registerTemplate")
def register_template(cloud: Cloud, url: str, **given: Any) -> Listing:
    """Create the template's row, and start its download unless hosts do that themselves."""
    zones, direct = _zones(cloud, **given), given.get("directdownload", False)
    refuse(
        (direct and given["hypervisor"].upper() != "KVM",
         "Parameter directdownload is only allowed for KVM or Custom templates"),
        (given.get("ostypeid") is None, "Please provide a guest OS type"),
    )  # fmt: skip
    hypervisor = _hypervisor(given["hypervisor"])
    if "file://" in url.lower():
        raise invalid("File:// type urls are currently unsupported")
    known = f"Supported formats are [{', '.join(FORMATS)}]"
    kind = given["format"].upper()
    refuse((kind not in FORMATS, f"Image format: {given['format']} is incorrect. {known}"))
    check_quota(cloud, "template")
    _check_url(url, given["format"].lower())
    found = releases.released(url)
    if direct:
        _check_direct(url, given.get("checksum", ""), found)
    size = _size(found)
    check_quota(cloud, "secondarystorage", size / GIB)
    flags = ("passwordenabled", "sshkeyenabled", "ispublic", "isdynamicallyscalable")
    row = cloud.state.add(
        "template",
        name=given["name"],
        displaytext=given.get("displaytext") or given["name"],
        url=url,
        format=given["format"].upper(),
        hypervisor=hypervisor,
        checksum=given.get("checksum"),
        ostypeid=given["ostypeid"],
        zoneid=zones[0],
        copies=[{"zoneid": zone} for zone in zones[1:]],
        size=size,
        directdownload=direct,
        isready=direct,
        isfeatured=False,
        own=True,
        details=(given.get("details") or [None])[0],
        at=cloud.clock(),
        **{flag: given.get(flag, False) for flag in flags},
        **cloud.ownership(),
    )
    if direct:
        _write(cloud, row)
    else:
        row["until"] = cloud.clock() + installers.DOWNLOAD * cloud.setting("time")["scale"]
        jobs.schedule(cloud, row["until"], "download", row["id"])
    return Listing("template", [row | {"zoneid": zone} for zone in zones], lambda row: {})


def _zones(cloud: Cloud, zoneid: Any = None, zoneids: list | None = None, **_: Any) -> list[Any]:
    zones = zoneids or [zoneid]
    refuse(
        (zoneid is not None and zoneids, "Both zoneid and zoneids cannot be specified at the same "
         "time"),
        (zones == [None], "Either zoneid or zoneids is required. Both cannot be null."),
        (ALL_ZONES in zones and len(zones) > 1, "Parameter zoneids cannot combine all zones (-1) "
         "option with other zones"),
    )  # fmt: skip
    if zones == [ALL_ZONES]:
        raise invalid(
            "Template registered for 'All zones' can only be owned a Root Admin account. Please "
            "select specific zone(s)."
        )
    return [cloud.find("zone", zone)["id"] for zone in dict.fromkeys(zones)]


def _hypervisor(given: str) -> str:
    known = {name.lower(): name for name in HYPERVISORS.split()}
    if given.lower() not in known:
        names = ", ".join(known.values())
        raise invalid(
            f"Hypervisor Type: {given} is invalid. Supported Hypervisor types are: {names}"
        )
    return known[given.lower()]


def _check_url(url: str, kind: str) -> None:
    """Refuse what `UriUtils.validateUrl` refuses, in its order."""
    parts = urlsplit(url)
    endings = [e + packed for e in SUFFIXES.get(kind, (kind,)) for packed in PACKED]
    known = [f.lower() for f in FORMATS if f.lower() != "raw"] + [*SUFFIXES["raw"]]
    path, host = parts.path.lower(), parts.hostname or ""
    refuse(
        (parts.scheme.lower() not in ("http", "https"), f"Unsupported scheme for url: {url}"),
        (parts.port not in (80, 8080, 443, None), "Only ports 80, 8080 and 443 are allowed"),
        (host == "localhost" or re.match(r"(127|169\.254|0)\.", host),
         "Illegal host specified in url"),
        (not re.fullmatch(r"\w+\.release\.(core-os|flatcar-linux)\.net", host),
         f"Unable to resolve {host}"),
        (not path.endswith(tuple(k + packed for k in known for packed in PACKED)),
         f"Please specify a valid {kind}"),
        (not path.endswith(tuple(endings)),
         f"Please specify a valid URL. URL:{parts.path} is an invalid for the format {kind}"),
    )  # fmt: skip


def _checksum(text: str) -> tuple[str, str]:
    """Return algorithm and digits of a checksum; MD5 where none is named."""
    found = re.fullmatch(r"\{(.*?)\}(.*)", text)
    return (found[1] or "MD5", found[2]) if found else ("MD5", text)


def _check_direct(url: str, checksum: str, found: tuple | None) -> None:
    algorithm, digits = _checksum(checksum)
    wanted = DIGITS.get(algorithm, 0)
    refuse(
        (checksum and not wanted, f"Algorithm {algorithm} was provided but it is not one of the "
         "supported algorithms"),
        (checksum and len(digits) != wanted, f"Checksum digest length should be {wanted} instead "
         f"of {len(digits)}"),
    )  # fmt: skip
    if not found:
        raise broken(f"URL: {url} validation failed on host id 1")


def _size(found: tuple | None) -> int:
    """Return the size of an image's disk in bytes, in whole GiB."""
    layout = found[0].layout if found else releases.FLATCAR.layout
    return -(-images.plan_layout(layout)[1] // GIB) * GIB


@phase("registerTemplate", "download")
def downloaded(cloud: Cloud, id: Any) -> None:
    """End the download: the template is ready, or its status is the error."""
    row = cloud.state.get("template", id)
    if row is None:
        return
    row.pop("until")
    row["error"] = _error(cloud, row)
    if not row["error"]:
        _write(cloud, row)
        row["isready"] = True
    cloud.state.save("template", row)


def _error(cloud: Cloud, row: Row) -> str:
    """Return why the download fails; what nobody can know is whether the image is the one meant."""
    planned = cloud.setting("downloads")["error"]
    if planned or not releases.released(row["url"]):
        return planned or " HTTP Server returned 404 (expected 200 OK) "
    algorithm, digits = _checksum(row["checksum"] or "")
    failed = "Failed post download script: checksum"
    if row["checksum"] and algorithm not in DIGITS:
        return f"{failed} algorithm not recognised: {algorithm}"
    if row["checksum"] and len(digits) != DIGITS[algorithm]:
        own = hashlib.sha512(row["url"].encode()).hexdigest()[: DIGITS[algorithm]]
        given = f'"{{{algorithm}}}{digits}"'
        return f'{failed} "{{{algorithm}}}{own}" didn\'t match the given value, {given}'
    return ""


def _write(cloud: Cloud, row: Row) -> None:
    """Write the image as its download would."""
    kind, version, oem = releases.released(row["url"])
    images.create_blank(cloud.disk(row), row["size"])
    images.write_image(cloud.disk(row), kind.layout)
    releases.write_files(cloud.disk(row), kind, version, oem)


@command("copyTemplate")
def copy_template(cloud: Cloud, id: Any, **_: Any) -> Work:
    """Queue the copying."""
    row = cloud.state.get("template", id)
    return Work(row, gib=row["size"] / GIB if row else 0)


@phase("copyTemplate", "finish")
def copied(
    cloud: Cloud,
    job: Row,
    id: Any,
    sourcezoneid: Any = None,
    destzoneid: Any = None,
    destzoneids: list | None = None,
) -> dict:
    """Add the zones; one that has the template already is passed over."""
    row = cloud.state.get("template", id)
    refuse(
        (destzoneid is None and not destzoneids, "Either destzoneid or destzoneids parameters have "
         "to be specified."),
        (destzoneid is not None and destzoneids, "Both destzoneid and destzoneids cannot be "
         "specified at the same time."),
    )  # fmt: skip
    if row is None:
        raise invalid("Unable to find template with id")
    wanted = destzoneids or [destzoneid]
    if sourcezoneid in wanted:
        raise invalid("Please specify different source and destination zones.")
    check_own(cloud, row)
    source = find_copy(row, sourcezoneid or row["zoneid"])
    if source is None or not source["isready"] or row.get("directdownload"):
        raise invalid(f"There is no template {row['n']} ready on image store.")
    new = [{"zoneid": zone} for zone in wanted if find_copy(row, zone) is None]
    for _ in new:
        check_quota(cloud, "template")
        check_quota(cloud, "secondarystorage", row["size"] / GIB)
    cloud.state.change("template", row, copies=row.get("copies", []) + new)
    return row


def check_own(cloud: Cloud, row: Row) -> None:
    """Refuse a template that is not the account's own (531)."""
    if not row["own"]:
        name = cloud.account()["name"]
        text = f"Acct {name} does not have permission to operate with resource {row['id']}"
        raise ApiError(531, text, 4365)


@command("updateTemplate")
def update_template(
    cloud: Cloud, id: Any, details: list | None = None, cleanupdetails: bool = False, **new: Any
) -> dict:
    """Change the template's row, if it is the account's own."""
    row = cloud.find("template", id)
    check_own(cloud, row)
    if cleanupdetails:
        row.pop("details", None)
    elif details:
        new["details"] = details[0]
    return cloud.state.change("template", row, **new)
