"""Commands that change existing volumes."""

import os
from typing import Any

from ..state.cloud import GIB, Cloud, check_quota
from ..state.refusals import ApiError, invalid
from ..state.registry import command, phase
from ..state.rows import Row
from ..state.views import show
from ..workstation.plugs import unplug, update_workstation
from .volumes import check_deletable, drop, in_range


@phase("resizeVolume", "finish")
def resized(
    cloud: Cloud,
    job: Row,
    id: Any,
    size: int | None = None,
    diskofferingid: Any = None,
    shrinkok: bool = False,
) -> dict:
    """Change row and data; an invalid value fails the job with 432.

    `ResizeVolumeCmd.execute` turns the 431 of `VolumeApiServiceImpl.resizeVolume` into that.
    """
    volume = cloud.find("volume", id)
    try:
        new = _new_size(cloud, volume, size, diskofferingid)
        if new < volume["size"] and not shrinkok:
            raise invalid(
                f"Going from existing size of {volume['size']} to size of {new} would shrink the "
                "volume.Need to sign off by supplying the shrinkok parameter with value of true."
            )
    except ApiError as error:
        raise ApiError(432, error.text) from None
    _resize(cloud, volume, new, diskofferingid)
    return volume


def _new_size(cloud: Cloud, volume: Row, size: int | None, offering: Any) -> int:
    if volume["state"] not in ("Allocated", "Ready"):
        raise invalid(
            "Volume should be in ready or allocated state before attempting a resize. Volume "
            f"{volume['id']} is in state {volume['state']}."
        )
    wanted = cloud.find("diskoffering", offering or volume.get("diskofferingid") or _any(cloud))
    custom = wanted["disksize"] == 0 or (volume["type"] == "ROOT" and offering is None)
    if not custom and size is not None:
        raise invalid(
            "You cannot pass in a custom disk size to a non-custom disk offering."
            if offering is not None
            else "To change a volume's size without providing a new disk offering, its current disk"
            " offering must be customizable or it must be a root volume (if providing a disk "
            "offering, make sure it is different from the current disk offering)."
        )
    if custom and size is None:
        raise invalid("The new disk offering requires that a size be specified.")
    size = wanted["disksize"] if size is None else size
    if not in_range(cloud, size):
        raise invalid("Requested size out of range")
    return size * GIB


def _any(cloud: Cloud) -> Any:
    return cloud.one("diskoffering")["id"]


def _resize(cloud: Cloud, volume: Row, size: int, offering: Any) -> None:
    more = {} if offering is None else {"diskofferingid": offering}
    cloud.state.change("volume", volume, size=size, **more)
    if cloud.disk(volume).exists():
        os.truncate(cloud.disk(volume), size)
    machine = cloud.state.get("virtualmachine", volume.get("virtualmachineid"))
    if machine:
        update_workstation(cloud, machine)


@phase("updateVolume", "finish")
def updated(cloud: Cloud, job: Row, id: Any, **new: Any) -> dict:
    """Change the volume's row."""
    volume = cloud.state.change("volume", cloud.find("volume", id), **new)
    return volume


@phase("destroyVolume", "finish")
def destroyed(cloud: Cloud, job: Row, id: Any, expunge: bool = False) -> dict:
    """Mark the volume, or drop it with its data."""
    volume = cloud.find("volume", id)
    check_deletable(volume)
    if volume["state"] != "Destroy":
        before = volume["state"]
        cloud.state.change("volume", volume, state="Destroy", before=before, destroyed=True)
    view = show(cloud, "volume", volume)
    if expunge:
        drop(cloud, volume)
    return {"volume": view}


@command("recoverVolume")
def recover_volume(cloud: Cloud, id: Any) -> dict:
    """Restore the state of the volume."""
    volume = cloud.find("volume", id)
    if volume["state"] != "Destroy":
        raise invalid(f"Please specify a volume in Destroy state: {volume['id']}.")
    check_quota(cloud, "volume")
    if volume.get("virtualmachineid"):  # the root volume of a destroyed machine
        unplug(cloud, volume)
    volume.pop("destroyed", None)
    return cloud.state.change("volume", volume, state=volume.pop("before", "Ready"))
