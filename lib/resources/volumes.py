"""Volumes: how ours should look, and the steps that get it there."""

from lib.api import find
from lib.errors import CheckFailed
from lib.ours import Ours
from lib.steps import Id, Pending, Step

GIB = 2**30


def plan_create(ours: Ours, *, size: int, offering: str) -> list[Step]:
    """Return the step that creates the volume, none if it or something created from it exists.

    `size` in GB. Raises CheckFailed when a volume of that name differs in size or offering.
    """
    if not ours.needs_disk:
        return []
    _demand_positive(size)
    if volume := ours.volume():
        _demand_same(volume, size, offering)
        return ours.plan_tags(volume, "Volume")
    if ours.template() or ours.snapshot(None):
        return []
    offer = ours.cloud.one("listDiskOfferings", offering)
    _demand_offered(offer, size)
    params: dict = {
        "name": ours.volume_name,
        "zoneid": ours.zone_id,
        "diskofferingid": Id.of(offer),
    }
    params |= {"size": size} if offer.get("iscustomized") else {}
    why = f"no {ours.volume_name} of {size} GB in {ours.zone}"
    return [Step("createVolume", params, why, ours.volume_name, ours.tags, "Volume")]


def _demand_positive(size: int) -> None:
    if size < 1:
        raise CheckFailed("volume_size", "1 GB or more", f"{size} GB", "Nothing was sent.")


def _demand_offered(offer: dict, size: int) -> None:
    if not offer.get("iscustomized") and offer.get("disksize") != size:
        raise CheckFailed(
            f"the size that {offer['name']} gives",
            f"{size} GB",
            f"{offer.get('disksize')} GB, which is fixed",
            "Set volume_size to it, or take an offering of custom size.",
        )


def _demand_same(volume: dict, size: int, offering: str) -> None:
    """Raise CheckFailed when the volume differs: it cannot be changed in place."""
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


def plan_attach(ours: Ours, *, workstation: str, installed: str) -> list[Step]:
    """Return the step that attaches the volume to the workstation.

    None if it is attached there, if it is the `installed` one (the id of the volume that carries
    an installation, "" for none), or if a snapshot or template was made from it. Raises CheckFailed
    when another machine has it.
    """
    if not ours.needs_disk or ours.template():
        return []
    volume, name = ours.volume(), ours.volume_name
    machine = ours.cloud.one("listVirtualMachines", workstation, by="displayname")
    if volume and (_on(volume, machine) or str(volume["id"]) == installed):
        return []
    if ours.snapshot(volume):
        return []
    what = Id.of(volume) if volume else Pending(f"volume {name}", "10-create-volume")
    params = {"id": what, "virtualmachineid": Id.of(machine, "displayname")}
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


def plan_detach(ours: Ours, *, installed: str) -> list[Step]:
    """Return the step that detaches the volume once it is the `installed` one.

    None if that is detached, or if a snapshot or template was made from it. Where nothing is
    installed on it yet, the step names the stage that must come first.
    """
    if not ours.needs_disk:
        return []
    volume, name = ours.volume(), ours.volume_name
    attached = bool(volume and volume.get("virtualmachineid"))
    ready = bool(volume) and str((volume or {})["id"]) == installed
    if not attached and (ready or ours.template() or ours.snapshot(volume)):
        return []
    what = Id.of(volume) if volume and ready else Pending(f"CoreOS on {name}", "30-install-coreos")
    why = f"{name} is attached to the workstation" if attached else "11 will have attached it"
    return [Step("detachVolume", {"id": what}, why, name)]


def plan_release(ours: Ours) -> list[Step]:
    """Return the step that detaches our volume, so that it can be deleted."""
    volume = ours.volume()
    if not (volume and volume.get("virtualmachineid")):
        return []
    why = "it must be detached to be deleted"
    return [Step("detachVolume", {"id": Id.of(volume)}, why, ours.volume_name)]


def plan_removal(ours: Ours) -> list[Step]:
    """Return the step that deletes our volume, none if it is gone."""
    volume = ours.volume()
    if not volume:
        return []
    return [Step("deleteVolume", {"id": Id.of(volume)}, "made by this runbook", ours.volume_name)]


def found(ours: Ours) -> dict | None:
    """Return our volume, None if there is none.

    Of an attached one also its machine's `hypervisor`, and `others`: the ids of its other volumes.
    """
    volume = ours.volume()
    if not volume or not volume.get("virtualmachineid"):
        return volume
    machine = volume["virtualmachineid"]
    rows = [v for v in ours.cloud.list("listVolumes") if v.get("virtualmachineid") == machine]
    others = [str(v["id"]) for v in rows if v["id"] != volume["id"]]
    holders = [m for m in ours.cloud.list("listVirtualMachines") if m["id"] == machine]
    kinds = [row["hypervisor"] for row in (volume, *holders) if row.get("hypervisor")]
    return volume | {"others": others, "hypervisor": kinds[0] if kinds else ""}


def attached(ours: Ours) -> dict | None:
    """Return our volume, as `found` does, while it is attached to a machine; None otherwise."""
    volume = found(ours) if ours.needs_disk else None
    return volume if volume and volume.get("virtualmachineid") else None


def used(ours: Ours) -> bool:
    """Tell whether a snapshot or template was made of our volume, or no volume is needed."""
    if not ours.needs_disk:
        return True
    return ours.template() is not None or ours.snapshot(ours.volume()) is not None
