"""Guests: capacity, disks and boot of machines."""

import base64
import re
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from ..state import jobs
from ..state.cloud import GIB, Cloud, fitting, owner_of
from ..state.refusals import invalid
from ..state.rows import Row
from ..state.views import default_nic
from ..workstation import images
from ..workstation.plugs import free_device, plug
from . import etcd, login, members

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOKEN = re.compile(r"\b[0-9a-f]{32}\b")
RUNS = ("Running", "Stopping")


def set_state(cloud: Cloud, row: Row, state: str) -> Row:
    """Set the state of a machine; unless it runs, end its processes and its shell."""
    if state not in RUNS:
        etcd.end(cloud, row)
        login.close_shell(cloud.folder, row["id"])
        row["stopped"] = True
    if state == "Error":
        row |= {"affinitygroupids": [], "securitygroupids": []}
    row |= {"state": state, "changed": cloud.clock()}
    return cloud.state.save("virtualmachine", row)


def add_root(cloud: Cloud, machine: Row, template: Row, size: int) -> None:
    """Make the row of a machine's root volume."""
    cloud.state.add(
        "volume",
        name=f"ROOT-{machine['n']}",
        type="ROOT",
        state="Creating" if machine["state"] == "Starting" else "Allocated",
        size=size,
        zoneid=machine["zoneid"],
        virtualmachineid=machine["id"],
        **owner_of(machine),
        deviceid=0,
        serviceofferingid=machine["serviceofferingid"],
        at=cloud.clock(),
    )


def root_of(cloud: Cloud, machine: Row) -> Row | None:
    """Return a machine's root volume."""
    found = fitting(cloud, "volume", virtualmachineid=machine["id"], type="ROOT")
    return found[0] if found else None


def fill_root(cloud: Cloud, machine: Row) -> None:
    """Copy the template's data, if any, to a new root volume."""
    root = root_of(cloud, machine)
    if root is None:
        raise invalid(f"The VM {machine['name']} has no root volume")
    if root["state"] == "Ready":
        return
    template = cloud.find("template", machine["templateid"])
    if cloud.disk(template).exists():
        images.copy_sparse(cloud.disk(template), cloud.disk(root))
    cloud.state.change("volume", root, state="Ready", attached=cloud.clock())


def add_data(cloud: Cloud, machine: Row, offering: Any, size: int | None) -> None:
    """Create and attach the data volume requested with the machine."""
    chosen = cloud.find("diskoffering", offering)
    volume = cloud.state.add(
        "volume",
        name=f"DATA-{machine['n']}",
        type="DATADISK",
        state="Allocated",
        size=(chosen["disksize"] or size or 1) * GIB,
        zoneid=machine["zoneid"],
        diskofferingid=chosen["id"],
        **owner_of(machine),
        at=cloud.clock(),
    )
    images.create_blank(cloud.disk(volume), volume["size"])
    plug(cloud, volume, machine, free_device(cloud, machine, None))


def boot(cloud: Cloud, machine: Row, job: Row | None) -> None:
    """Run the machine and boot it from its disk and user data.

    Its console output becomes an event, without discovery tokens.
    """
    from . import boot as firmware  # it is large, and not needed for a cloud that only answers

    etcd.end(cloud, machine)
    cloud.state.change("virtualmachine", machine, state="Running", changed=cloud.clock(), ran=True)
    root = root_of(cloud, machine)
    disk = cloud.disk(root) if root and cloud.disk(root).exists() else None
    login.open_shell(cloud.folder, machine["id"], disk)
    data, address = machine.get("data"), default_nic(machine)["address"]
    here = members.Machine(
        id=str(machine["id"]),
        hostname=machine["name"],
        address=address,
        fetch=lambda method, url, form=None: fetch(cloud, method, url, form),
        run=partial(etcd.run, cloud, machine, address) if cloud.runs_etcd else None,
        put=partial(login.put, cloud.folder, machine["id"]),
    )
    lines = firmware.boot(disk, here, base64.b64decode(data) if data else None)
    if lines:
        cloud.note("VM.BOOT", TOKEN.sub("...", "\n".join(lines)), parent=job and job["id"])


def revive(cloud: Cloud) -> None:
    """Boot the machines that ran when the server ended, if they have real processes."""
    for machine in cloud.rows("virtualmachine") if cloud.runs_etcd else []:
        if machine["state"] in RUNS and not machine.get("workstation"):
            boot(cloud, machine, None)


def fetch(cloud: Cloud, method: str, url: str, form: dict | None) -> tuple[int, str]:
    """Make a machine's HTTP request: to this cloud's discovery, or to another one on loopback.

    Machines here have no internet access: any other request gets status 0.
    """
    if url.startswith(cloud.base_url + "/"):
        return discover(cloud, method, url[len(cloud.base_url) :], form)
    if urlsplit(url).hostname not in LOOPBACK:
        return 0, f"no route to {urlsplit(url).hostname}"
    return _over_loopback(method, url, form)


def _over_loopback(method: str, url: str, form: dict | None) -> tuple[int, str]:
    from urllib.error import HTTPError, URLError
    from urllib.parse import urlencode
    from urllib.request import Request, urlopen

    data = urlencode(form).encode() if form is not None else None
    try:
        with urlopen(Request(url, data, method=method), timeout=3) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except (URLError, TimeoutError) as error:
        return 0, str(error)


def discover(cloud: Cloud, method: str, target: str, form: dict | None) -> tuple[int, str]:
    """Ask this cloud's own discovery service."""
    status, _, body = ask_discovery(cloud, method, target, form)
    return status, body


def registry(cloud: Cloud) -> dict:
    """Return the state of this cloud's discovery service."""
    return cloud.state.setting("discovery", {"rows": {}})["rows"]


def ask_discovery(
    cloud: Cloud, method: str, target: str, form: dict | None
) -> tuple[int, str, str]:
    """Answer one request to the discovery service: status, content type, body."""
    from urllib.parse import parse_qsl

    from . import discovery

    path, _, query = target.partition("?")
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    answer = discovery.handle(registry(cloud), method, path, pairs, form or {}, cloud.base_url)
    if method != "GET" or path.startswith("/new"):
        cloud.state.save("setting", cloud.state.table("setting")["discovery"])
        cloud.changed.notify_all()
    return answer


def expunge_later(cloud: Cloud, machine: Row) -> None:
    """Schedule the removal of a destroyed machine after `expunge.delay`, in scaled time.

    With scale 0 the delay is that of a real cloud.
    """
    scale = cloud.setting("time")["scale"] or 1
    at = cloud.clock() + cloud.setting("expunge")["delay"] * scale
    cloud.state.change("virtualmachine", machine, expunge_at=at)
    jobs.schedule(cloud, at, "expunge", machine["id"])
