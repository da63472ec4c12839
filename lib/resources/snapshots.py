"""Snapshots: ours is the one of our volume; it is usable once it is `BackedUp`."""

from collections.abc import Iterable
from functools import partial

from lib import jobs
from lib.cloud import Cloud
from lib.ours import Ours
from lib.steps import Id, Pending, Step

SECONDS_PER_GIB = 14.25  # 40 GB took 9m30s on the cloud of 2014


def plan_create(ours: Ours, *, installed: str) -> list[Step]:
    """Return the steps to a snapshot, none if it or the template exists.

    The volume must be detached and carry an installation (`installed` is that volume's id). What
    a failed attempt left is deleted, where the server allows that.
    """
    if not ours.needs_disk or ours.template():
        return []
    volume, name = ours.volume(), ours.volume_name
    if snapshot := ours.snapshot(volume):
        return ours.plan_tags(ours.with_tags(snapshot), "Snapshot")
    params = {"volumeid": _source(volume, name, installed)}
    why, expect = f"there is no snapshot of {name}", _expect(volume)
    new = Step("createSnapshot", params, why, name, ours.tags, "Snapshot", expect)
    rows = ours.snapshots(volume) if volume else []
    return [*_deletions(r for r in rows if _is_rubbish(ours.cloud, r)), new]


def _is_rubbish(cloud: Cloud, row: dict) -> bool:
    """Tell whether a snapshot failed and can be deleted: 2.2 deletes only what is BackedUp."""
    return row["state"] == "Error" and cloud.has_tags


def _deletions(rows: Iterable[dict]) -> list[Step]:
    return [
        Step("deleteSnapshot", {"id": Id.of(r)}, f"it is {r['state']}", r["name"]) for r in rows
    ]


def _source(volume: dict | None, name: str, installed: str) -> object:
    """Return the volume's id, or what must come first."""
    if not volume:
        return Pending(f"volume {name}", "10-create-volume")
    if str(volume["id"]) != installed:
        return Pending(f"CoreOS on {name}", "30-install-coreos")
    if volume.get("virtualmachineid"):
        return Pending(f"{name} detached", "40-detach-volume")
    return Id.of(volume)


def wait_backed_up(ours: Ours, *, within: float) -> str:
    """Wait until our snapshot is `BackedUp` and return that state, "" where there is none.

    The job of createSnapshot may end at `CreatedOnPrimary`, from which no template can be created.
    `within` in seconds; raises JobTimeout.
    """
    if not ours.needs_disk:
        return ""
    volume, what = ours.volume(), f"snapshot of {ours.volume_name}"
    read, after = partial(ours.snapshot, volume), _expect(volume)
    after *= ours.cloud.profile.time_scale
    row = jobs.ready(ours.cloud, read, lambda row: row["state"] == "BackedUp", what, within, after)
    return row["state"] if row else ""


def _expect(volume: dict | None) -> float:
    return volume["size"] / 2**30 * SECONDS_PER_GIB if volume else 0


def plan_removal(ours: Ours) -> list[Step]:
    """Return the steps that delete our snapshots of the volume, also the failed ones.

    On 2.2 a failed one stays: that server deletes none, and with its volume it will be gone.
    """
    volume = ours.volume()
    rows = ours.snapshots(volume)
    good = [r for r in rows if "Destroy" not in r["state"] and r["state"] != "Error"]
    failed = [r for r in rows if volume and _is_rubbish(ours.cloud, r)]
    return _deletions(ours.own([ours.with_tags(r) for r in good]) + failed)
