"""Plugs: attaches volumes to device numbers of machines, and updates the workstation."""

from ..state.cloud import Cloud, fitting
from ..state.refusals import broken, invalid
from ..state.rows import Row
from . import shell

ROOT, CDROM = 0, 3


def free_device(cloud: Cloud, machine: Row, wanted: int | None) -> int:
    """Return the device number for a new volume: the requested or the lowest free one."""
    taken = {v["deviceid"] for v in fitting(cloud, "volume", virtualmachineid=machine["id"])}
    most = cloud.dialect.max_data_disks
    if len(taken - {ROOT}) >= most:
        raise invalid(
            f"The specified VM already has the maximum number of data disks ({most}) attached. "
            "Please specify another VM."
        )
    places = [n for n in range(1, most + 2) if n != CDROM]
    if wanted is None:
        return next(n for n in places if n not in taken)
    if wanted not in places and wanted != ROOT:
        raise broken(f"deviceId should be 0,1,2,4-{most + 1}")
    if wanted in taken:
        raise broken(f"deviceId {wanted} is used by vm {machine['id']}")
    return wanted


def plug(cloud: Cloud, volume: Row, machine: Row, place: int) -> None:
    """Attach a volume with a device number."""
    cloud.state.change(
        "volume",
        volume,
        state="Ready",
        virtualmachineid=machine["id"],
        deviceid=place,
        attached=cloud.clock(),
    )
    update_workstation(cloud, machine)


def unplug(cloud: Cloud, volume: Row) -> None:
    """Detach a volume from its machine."""
    machine = cloud.find("virtualmachine", volume["virtualmachineid"])
    for key in ("virtualmachineid", "deviceid", "attached"):
        volume.pop(key, None)
    cloud.state.save("volume", volume)
    update_workstation(cloud, machine)


def update_workstation(cloud: Cloud, machine: Row) -> None:
    """Update the workstation's disks; other machines have no shell."""
    if not machine.get("workstation"):
        return
    rows = fitting(cloud, "volume", virtualmachineid=machine["id"])
    disks = [_disk(cloud, v) for v in rows if "mountpoint" in v or cloud.disk(v).exists()]
    shell.set_identity(cloud.folder, cloud.dialect, str(machine["id"]))
    shell.write_devices(cloud.folder, cloud.dialect, disks)


def _disk(cloud: Cloud, volume: Row) -> dict:
    own = {"id": str(volume["id"])} | {k: volume.get(k) for k in ("deviceid", "size", "mountpoint")}
    return own | {"file": None if "mountpoint" in volume else str(cloud.disk(volume))}
