"""Commands for snapshots."""

import json
import random
import time
from functools import partial
from typing import Any

from ..state.cloud import GIB, Cloud, Listing, check_quota, fitting, owner_of
from ..state.jobs import Work
from ..state.refusals import broken, invalid
from ..state.registry import command, phase
from ..state.rows import Row
from ..state.views import show, tag_owner
from ..workstation import images

UNFINISHED = ("Creating", "CreatedOnPrimary", "BackingUp")


@command("listSnapshots")
def list_snapshots(
    cloud: Cloud,
    showunique: bool = True,
    **filters: Any,
) -> Listing:
    """Answer with the account's snapshots that match."""
    rows = fitting(cloud, "snapshot", **filters)
    if not showunique:
        copies = [row | {"datastoretype": kind} for row in rows for kind in _stores(row)]
        return Listing("snapshot", copies, lambda copy: {"datastorestate": "Ready"})
    return Listing("snapshot", rows, partial(_one_tag, cloud))


def _one_tag(cloud: Cloud, row: Row) -> dict:
    """Return the only tag that is shown of several, the first one that the database finds.

    `SnapshotJoinDaoImpl` groups the rows of its view, one for each tag, by id.
    """
    tags = row.get("tags", [])
    owner = tag_owner(cloud.owner(row.get("projectid")))
    return {"tags": [random.Random(str(row["id"])).choice(tags) | owner] if tags else []}


def _stores(row: Row) -> tuple[str, ...]:
    """Return the kinds of storage that hold a copy of a snapshot: primary, and secondary."""
    return ("Primary", "Image") if row["state"] == "BackedUp" else ("Primary",)


@command("createSnapshot")
def create_snapshot(
    cloud: Cloud,
    volumeid: Any,
    name: str = "",
    tags: list[dict] | None = None,
    locationtype: str | None = None,
    asyncbackup: bool = False,
) -> Work:
    """Create the snapshot's row and lock the volume."""
    volume = cloud.find("volume", volumeid)
    _check_ready(cloud, volume)
    machine = cloud.state.get("virtualmachine", volume.get("virtualmachineid"))
    _check_machine(cloud, machine)
    check_quota(cloud, "snapshot")
    check_quota(cloud, "secondarystorage", volume["size"] / GIB)
    row = cloud.state.add(
        "snapshot",
        name=name or default_name(cloud, volume, machine),
        **owner_of(volume),
        volumeid=volume["id"],
        volumename=volume["name"],
        volumetype=volume["type"],
        diskofferingid=volume.get("diskofferingid"),
        zoneid=volume["zoneid"],
        size=volume["size"],
        state="Creating",
        tags=own_tags(cloud, "Snapshot", tags),
        locationtype=locationtype,
        at=cloud.clock(),
    )
    if cloud.dialect.snapshot_state_of_volume:
        cloud.state.change("volume", volume, state=cloud.dialect.snapshot_state_of_volume)
    return Work(row, machine, volume["size"] / GIB)


def _check_ready(cloud: Cloud, volume: Row) -> None:
    if volume["state"] != "Ready":
        machine = cloud.state.get("virtualmachine", volume.get("virtualmachineid")) or {}
        which = cloud.dialect.volume_text(volume, machine)
        raise invalid(f"{which} is not in Ready state but {volume['state']}. Cannot take snapshot.")


def _check_machine(cloud: Cloud, machine: Row | None) -> None:
    if machine and any(_unfinished(cloud, s, machine) for s in cloud.rows("snapshot")):
        raise invalid(
            "There is other active snapshot tasks on the instance to which the volume is attached, "
            "please try again later"
        )


def _unfinished(cloud: Cloud, snapshot: Row, machine: Row) -> bool:
    volume = cloud.state.get("volume", snapshot["volumeid"])
    return (
        snapshot["state"] in UNFINISHED
        and volume is not None
        and volume.get("virtualmachineid") == machine["id"]
    )


def default_name(cloud: Cloud, volume: Row, machine: Row | None) -> str:
    """Return the name a snapshot gets by itself: machine, volume and the time in GMT."""
    holder = machine["name"] if machine else "detached"
    at = time.strftime("%Y%m%d%H%M%S", time.gmtime(cloud.clock()))
    return f"{holder}_{volume['name']}_{at}"


def own_tags(cloud: Cloud, kind: str, tags: list[dict] | None) -> list[dict]:
    """Return the tags given at creation as a row keeps them."""
    return [
        {"key": t.get("key", ""), "value": t.get("value", ""), "resourcetype": kind}
        for t in tags or []
    ]


@phase("createSnapshot", "begin")
def begun(cloud: Cloud, job: Row) -> None:
    """Copy the volume; later writes are not in the snapshot."""
    snapshot = cloud.state.get("snapshot", job["instance"])
    volume = cloud.state.get("volume", job["params"]["volumeid"])
    if snapshot and volume and cloud.disk(volume).exists():
        images.copy_sparse(cloud.disk(volume), cloud.disk(snapshot))


@phase("createSnapshot", "finish")
def taken(cloud: Cloud, job: Row, **_: Any) -> dict:
    """Unlock the volume; the answer still shows an unfinished backup."""
    row = cloud.find("snapshot", job["instance"])
    cloud.state.change("snapshot", row, state="CreatedOnPrimary")
    _release(cloud, row)
    state = cloud.dialect.snapshot_state_in_job or row["state"]
    return {"snapshot": show(cloud, "snapshot", row, snapshottype="MANUAL", state=state)}


@phase("createSnapshot", "after")
def backed_up(cloud: Cloud, job: Row) -> None:
    """Set the snapshot to BackedUp."""
    row = cloud.state.get("snapshot", job["instance"])
    if row and row["state"] == "CreatedOnPrimary":
        cloud.state.change("snapshot", row, state="BackedUp")


@phase("createSnapshot", "failed")
def not_taken(cloud: Cloud, job: Row) -> None:
    """Leave a snapshot in Error, as a real cloud does."""
    row = cloud.state.get("snapshot", job["instance"])
    if row:
        cloud.disk(row).unlink(missing_ok=True)
        cloud.state.change("snapshot", row, state="Error")
        _release(cloud, row)


def _release(cloud: Cloud, snapshot: Row) -> None:
    volume = cloud.state.get("volume", snapshot["volumeid"])
    if volume and volume["state"] == "Snapshotting":
        cloud.state.change("volume", volume, state="Ready")


@command("deleteSnapshot")
def delete_snapshot(cloud: Cloud, id: Any) -> Work:
    """Queue the deletion; refuse a snapshot in another state than those that can be deleted."""
    row = cloud.state.get("snapshot", id)
    if row is None and (trace := cloud.state.trace_of("snapshot", id)):
        facts = {"id": trace["was"], "name": trace["name"], "uuid": id}
        text = f"Snapshot {json.dumps(facts, separators=(',', ':'))}"
        raise invalid(f"Snapshot [{text}] is already destroyed")
    if row is None:
        raise invalid(f"Unable to find snapshot with id {id}")
    if row["state"] not in cloud.dialect.deletable_snapshots:
        raise invalid(cloud.dialect.undeletable.format(**row))
    row["with_volume"] = cloud.state.get("volume", row["volumeid"]) is not None
    return Work(row)


@phase("deleteSnapshot", "finish")
def deleted(cloud: Cloud, job: Row, id: Any) -> None:
    """Drop the snapshot and its data."""
    row = cloud.find("snapshot", id)
    if row["with_volume"] and cloud.state.get("volume", row["volumeid"]) is None:
        # deleteVolume may have removed the row meanwhile; a retry then succeeds.
        raise broken("Failed to delete snapshot chain.")
    cloud.disk(row).unlink(missing_ok=True)
    cloud.state.remove("snapshot", row)
