"""Volumes: how ours should look, and the steps that get them there."""

from lib import find, own
from lib.cloud import Cloud
from lib.errors import CheckFailed
from lib.steps import Pending, Step

GIB = 2**30


def plan_create(
    cloud: Cloud, *, zone: str, name: str, size: int, offering: str, template: str, owner: dict
) -> list[Step]:
    """Return the step that makes the volume, none if it or something made from it is there.

    `size` in GB. Raises CheckFailed when a volume of that name differs in size or offering.
    """
    _demand_positive(size)
    volume = own.volume(cloud, zone, name, owner)
    if volume:
        _demand_same(volume, size, offering)
        return own.plan_marks(cloud, volume, "Volume", owner)
    if own.template(cloud, zone, template, owner) or own.snapshot(cloud, name, None, owner):
        return []
    offer = cloud.one("listDiskOfferings", offering)
    _demand_offered(offer, size)
    params = {"name": name, "zoneid": cloud.zone_id(zone), "diskofferingid": offer["id"]}
    params |= {"size": size} if offer.get("iscustomized") else {}
    return [
        Step("createVolume", params, f"no {name} of {size} GB in {zone}", name, owner, "Volume")
    ]


def _demand_positive(size: int) -> None:
    if size < 1:
        raise CheckFailed("volume_size", "1 GB or more", f"{size} GB", "Nothing was sent.")


def _demand_offered(offer: dict, size: int) -> None:
    if not offer.get("iscustomized") and offer.get("disksize") != size:
        raise CheckFailed(
            f"the size that {offer['name']} gives",
            f"{size} GB",
            f"{offer.get('disksize')} GB, not to be chosen",
            "Set volume_size to it, or take an offering of custom size.",
        )


def _demand_same(volume: dict, size: int, offering: str) -> None:
    """Raise CheckFailed when the volume is not as wanted: that cannot be changed in place."""
    seen = (volume["size"], volume.get("diskofferingname", offering))
    row = {"id": volume.get("diskofferingid"), "name": seen[1]}
    if seen[0] != size * GIB or not find.fitting([row], offering):
        raise CheckFailed(
            f"the volume {volume['name']} (id {volume['id']})",
            f"{size} GB of {offering}",
            f"{seen[0] / GIB:g} GB of {seen[1]}",
            "Set the parameters to what is there, choose another volume_name, "
            "or run 90-remove-cluster.",
        )


def plan_attach(
    cloud: Cloud,
    *,
    zone: str,
    name: str,
    workstation: str,
    template: str,
    owner: dict,
    installed: str,
) -> list[Step]:
    """Return the step that attaches the volume to the workstation.

    None if it is attached there, if it is the `installed` one (the id of the volume that carries
    an installation, "" for none), or if a snapshot or template was made from it. Raises CheckFailed
    when another machine has it.
    """
    if own.template(cloud, zone, template, owner):
        return []
    volume = own.volume(cloud, zone, name, owner)
    machine = cloud.one("listVirtualMachines", workstation, by="displayname")
    attached = bool(volume) and _on(volume, machine)
    if attached or (volume and str(volume["id"]) == installed):
        return []
    if own.snapshot(cloud, name, volume, owner):
        return []
    what = volume["id"] if volume else Pending(f"volume {name}", "10-create-volume")
    params = {"id": what, "virtualmachineid": machine["id"]}
    return [Step("attachVolume", params, f"{name} is not attached to {workstation}", name)]


def _on(volume: dict, machine: dict) -> bool:
    """Tell whether the machine has the volume; raise CheckFailed if another one has it."""
    where = volume.get("virtualmachineid")
    if where and str(where) != str(machine["id"]):
        raise CheckFailed(
            f"the machine that has {volume['name']}",
            machine["displayname"],
            volume.get("vmdisplayname", where),
            "Detach it there first.",
        )
    return bool(where)


def plan_detach(cloud: Cloud, *, zone: str, name: str, owner: dict, installed: str) -> list[Step]:
    """Return the step that detaches the installed volume, none if it is not attached.

    Where nothing is installed on it yet, the step names the stage that must come first.
    """
    volume = own.volume(cloud, zone, name, owner)
    if not (volume and volume.get("virtualmachineid")):
        return []
    ready = str(volume["id"]) == installed
    what = volume["id"] if ready else Pending(f"CoreOS on {name}", "30-install-coreos")
    return [Step("detachVolume", {"id": what}, f"{name} is attached to the workstation", name)]


def plan_release(cloud: Cloud, *, zone: str, name: str, owner: dict) -> list[Step]:
    """Return the step that detaches our volume, so that it can be deleted."""
    volume = own.volume(cloud, zone, name, owner)
    if not (volume and volume.get("virtualmachineid")):
        return []
    return [Step("detachVolume", {"id": volume["id"]}, "it must be detached to be deleted", name)]


def plan_removal(cloud: Cloud, *, zone: str, name: str, owner: dict) -> list[Step]:
    """Return the step that deletes our volume, none if it is gone."""
    volume = own.volume(cloud, zone, name, owner)
    if not volume:
        return []
    return [Step("deleteVolume", {"id": volume["id"]}, "made by this runbook", name)]


def ours(cloud: Cloud, *, zone: str, name: str, owner: dict) -> dict | None:
    """Return our volume, None if there is none.

    Of an attached one also its machine's `hypervisor`, and `others`: the ids of its other volumes.
    """
    volume = own.volume(cloud, zone, name, owner)
    machine = volume and volume.get("virtualmachineid")
    if not machine:
        return volume
    rows = [v for v in cloud.list("listVolumes") if v.get("virtualmachineid") == machine]
    others = [str(v["id"]) for v in rows if v["id"] != volume["id"]]
    holders = [m for m in cloud.list("listVirtualMachines") if m["id"] == machine]
    kinds = [row["hypervisor"] for row in (volume, *holders) if row.get("hypervisor")]
    return volume | {"others": others, "hypervisor": kinds[0] if kinds else ""}


def attached(cloud: Cloud, *, zone: str, name: str, owner: dict) -> dict | None:
    """Return our volume, as `ours` does, while it is attached to a machine; None otherwise."""
    volume = ours(cloud, zone=zone, name=name, owner=owner)
    return volume if volume and volume.get("virtualmachineid") else None


def used(cloud: Cloud, *, zone: str, name: str, template: str, owner: dict) -> bool:
    """Tell whether a snapshot or template was made of our volume: the disk has served then."""
    if own.template(cloud, zone, template, owner):
        return True
    volume = own.volume(cloud, zone, name, owner)
    return own.snapshot(cloud, name, volume, owner) is not None
