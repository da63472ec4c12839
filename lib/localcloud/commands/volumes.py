"""Commands for volumes."""

import os
import uuid
from typing import Any

from ..state.cloud import GIB, Cloud, Listing, check_quota, fitting
from ..state.jobs import Work
from ..state.refusals import ApiError, invalid
from ..state.registry import command, phase
from ..state.rows import Row
from ..workstation import images
from ..workstation.plugs import free_device, plug, unplug


@command("listVolumes")
def list_volumes(cloud: Cloud, **filters: Any) -> Listing:
    """Answer with the account's volumes that match."""
    rows = [
        v
        for v in fitting(cloud, "volume", **filters)
        if v["state"] != "Destroy" or v["type"] == "DATADISK"  # roots of destroyed machines
    ]
    return Listing("volume", rows)


@command("createVolume")
def create_volume(
    cloud: Cloud,
    name: str = "",
    snapshotid: Any = None,
    size: int | None = None,
    zoneid: Any = None,
    **more: Any,
) -> Work:
    """Create the volume's row; without a snapshot it has no data until it is attached."""
    diskofferingid = more.get("diskofferingid")
    if diskofferingid is None and snapshotid is None:
        raise invalid(
            "At least one of disk Offering ID or snapshot ID must be passed whilst creating volume"
        )
    if cloud.dialect.one_volume_source and None not in (diskofferingid, snapshotid):
        raise invalid("Either disk Offering ID or snapshot ID must be passed, not both")
    if zoneid is None and (snapshotid is None or cloud.dialect.zone_always):
        raise invalid(cloud.dialect.no_zone)
    if zoneid is None:
        zoneid = cloud.find("snapshot", snapshotid)["zoneid"]
    zone = cloud.find("zone", zoneid)
    if snapshotid is not None:
        source = _from_snapshot(cloud, snapshotid, diskofferingid, size)
    else:
        source = _from_offering(cloud, diskofferingid, size)
    target = _target(cloud, more.get("virtualmachineid") if snapshotid is not None else None)
    check_quota(cloud, "volume")
    check_quota(cloud, "primarystorage", source["size"] / GIB)
    row = cloud.state.add(
        "volume",
        name=name,
        type="DATADISK",
        zoneid=zone["id"],
        at=cloud.clock(),
        **source,
        **cloud.ownership(),
    )
    row["name"] = name or str(uuid.uuid4())
    return Work(row, target)


def _target(cloud: Cloud, id: Any) -> Row | None:
    """Return the machine for a new volume; refuse one that cannot take it."""
    if id is None:
        return None
    machine = cloud.find("virtualmachine", id)
    if machine["state"] not in ("Running", "Stopped"):
        raise invalid("Please specify a VM that is either running or stopped.")
    free_device(cloud, machine, None)
    return machine


def _from_offering(cloud: Cloud, id: Any, size: int | None) -> dict:
    offering = cloud.state.get("diskoffering", id)
    if offering is None:
        raise invalid("Please specify a valid disk offering.")
    if offering["disksize"] == 0:
        size = _custom_size(cloud, size)
    elif size is not None:
        raise invalid("This disk offering does not allow custom size")
    size = size or offering["disksize"]
    return {"diskofferingid": offering["id"], "size": size * GIB, "state": "Allocated"}


def _custom_size(cloud: Cloud, size: int | None) -> int:
    if size is None:
        raise invalid("This disk offering requires a custom size specified")
    if size <= 0:
        raise invalid("Disk size must be larger than 0")
    if not in_range(cloud, size):
        ends = cloud.setting("disks")
        allowed = f"Min: {ends['smallest']}. Max: {ends['largest']}"
        raise invalid(f"Volume size: {size} GB is out of allowed range. {allowed}")
    return size


def in_range(cloud: Cloud, size: int) -> bool:
    """Return whether a disk of custom size may have so many GB."""
    ends = cloud.setting("disks")
    return ends["smallest"] <= size <= ends["largest"]


def _from_snapshot(cloud: Cloud, id: Any, offering: Any, size: int | None) -> dict:
    snapshot = cloud.find("snapshot", id)
    if snapshot["state"] != "BackedUp":
        raise invalid(
            f"Snapshot id={id} is not in BackedUp state yet and can't be used for volume creation"
        )
    offering = offering or snapshot.get("diskofferingid") or cloud.one("diskoffering")["id"]
    row = {"snapshotid": id, "diskofferingid": offering, "state": "Creating"}
    if size is not None and size * GIB < snapshot["size"]:
        raise invalid(
            f"Invalid size for volume creation: {size}GB, snapshot size is: "
            f"{snapshot['size'] // GIB}GB"
        )
    return row | {"size": snapshot["size"] if size is None else size * GIB}


@phase("createVolume", "finish")
def created(cloud: Cloud, job: Row, virtualmachineid: Any = None, **_: Any) -> dict:
    """Copy a snapshot's data to the new volume and attach it; an empty one stays Allocated."""
    row = cloud.find("volume", job["instance"])
    if row["state"] == "Creating":
        images.copy_sparse(cloud.disk(cloud.find("snapshot", row["snapshotid"])), cloud.disk(row))
        if cloud.disk(row).exists():
            os.truncate(cloud.disk(row), row["size"])
        cloud.state.change("volume", row, state="Ready")
        if machine := _target(cloud, virtualmachineid):
            plug(cloud, row, machine, free_device(cloud, machine, None))
    return row


@phase("createVolume", "failed")
def not_created(cloud: Cloud, job: Row) -> None:
    """Remove the row of a volume that could not be created."""
    row = cloud.state.get("volume", job["instance"])
    if row:
        cloud.state.remove("volume", row)


@command("attachVolume")
def attach_volume(
    cloud: Cloud, id: Any, virtualmachineid: Any, deviceid: int | None = None
) -> Work:
    """Queue the attach; the job checks most of the rules."""
    return Work(cloud.find("volume", id), cloud.find("virtualmachine", virtualmachineid))


@phase("attachVolume", "finish")
def attached(
    cloud: Cloud, job: Row, id: Any, virtualmachineid: Any, deviceid: int | None = None
) -> dict:
    """Attach the volume; create its data at the first attach."""
    volume, machine = cloud.find("volume", id), cloud.find("virtualmachine", virtualmachineid)
    if volume.get("virtualmachineid") is not None:
        raise invalid("Please specify a volume that is not attached to any VM.")
    if volume["state"] not in ("Allocated", "Ready"):
        raise invalid("Volume state must be in Allocated, Ready or in Uploaded state")
    if machine["state"] not in ("Running", "Stopped"):
        raise invalid("Please specify a VM that is either running or stopped.")
    if volume.get("projectid") != machine.get("projectid"):
        names = f"Entity {volume['name']} and entity {machine['name']}"
        raise ApiError(530, f"{names} belong to different accounts")  # AccountManagerImpl
    if machine["zoneid"] != volume["zoneid"]:
        raise invalid("Please specify a VM that is in the same zone as the volume.")
    place = free_device(cloud, machine, deviceid)
    if volume["state"] == "Allocated":
        images.create_blank(cloud.disk(volume), volume["size"])
    plug(cloud, volume, machine, place)
    return volume


@command("detachVolume")
def detach_volume(
    cloud: Cloud, id: Any = None, deviceid: int | None = None, virtualmachineid: Any = None
) -> Work:
    """Queue the detach."""
    volume = _to_detach(cloud, id, deviceid, virtualmachineid)
    return Work(volume, cloud.state.get("virtualmachine", volume.get("virtualmachineid")))


def _to_detach(cloud: Cloud, id: Any, deviceid: int | None, machine: Any) -> Row:
    pair = deviceid is not None and machine is not None
    if (id is not None) == pair or (id is not None and (deviceid, machine) != (None, None)):
        raise invalid("Please provide either a volume id, or a tuple(device id, instance id)")
    if id is not None:
        return cloud.find("volume", id)
    found = fitting(cloud, "volume", deviceid=deviceid, virtualmachineid=machine)
    if not found:
        raise invalid("Unable to find volume with that device id at that instance")
    return found[0]


@phase("detachVolume", "finish")
def detached(cloud: Cloud, job: Row, **_: Any) -> dict:
    """Detach the volume; a root volume only from a machine that is stopped."""
    volume = cloud.find("volume", job["instance"])
    machine = cloud.state.get("virtualmachine", volume.get("virtualmachineid"))
    if machine is None:
        raise invalid("The specified volume is not attached to a VM.")
    stays = machine["state"] != "Stopped" or not cloud.dialect.roots_detach
    if volume["type"] == "ROOT" and stays:
        raise invalid("Please specify a data volume, or a root volume of a stopped VM.")
    if machine["state"] not in ("Running", "Stopped", "Destroyed"):
        raise invalid("Please specify a VM that is either running or stopped.")
    unplug(cloud, volume)
    return volume


@command("deleteVolume")
def delete_volume(cloud: Cloud, id: Any) -> bool:
    """Drop the volume and its data."""
    volume = cloud.state.get("volume", id)
    if volume is None:
        was = cloud.state.trace_of("volume", id).get("was", id)
        raise invalid(f"Unable to find volume with ID: {was}")
    check_deletable(volume)
    busy = any(
        s["state"] in ("Creating", "BackingUp") and s["volumeid"] == volume["id"]
        for s in cloud.rows("snapshot")
    )
    if busy:
        raise invalid(
            "There are snapshot operations in progress on the volume, unable to delete it"
        )
    drop(cloud, volume)
    return True


def check_deletable(volume: Row) -> None:
    """Refuse to delete a volume that is attached or protected."""
    if volume.get("virtualmachineid") is not None:
        raise invalid("Please specify a volume that is not attached to any VM.")
    if volume.get("deleteprotection"):
        raise invalid(
            f"Volume [id = {volume['id']}, name = {volume['name']}] has delete protection enabled "
            "and cannot be deleted."
        )


def drop(cloud: Cloud, volume: Row) -> None:
    """Remove a volume's row and file."""
    cloud.disk(volume).unlink(missing_ok=True)
    cloud.state.remove("volume", volume)
