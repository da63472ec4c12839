"""Commands for templates."""

import json
from typing import Any

from ..state.cloud import GIB, Cloud, Listing, check_quota, copies_of, fitting
from ..state.jobs import Work
from ..state.refusals import ApiError, broken, invalid
from ..state.registry import command, phase
from ..state.rows import Row
from ..workstation import images


@command("listTemplates")
def list_templates(
    cloud: Cloud,
    templatefilter: str,
    showunique: bool = False,
    zoneid: Any = None,
    **filters: Any,
) -> Listing:
    """Answer with the matching templates, once for each zone."""
    passes = _filter(templatefilter)
    rows = [
        copy
        for row in fitting(cloud, "template", **filters)
        for copy in copies_of(row)[: 1 if showunique else None]
        if zoneid in (None, copy["zoneid"]) and passes(copy)
    ]
    return Listing("template", rows, lambda row: {})  # an id may stand for several rows


def _filter(name: str) -> Any:
    filters = {
        "featured": lambda r: r["isfeatured"] and r["ispublic"],
        "self": lambda r: r["own"],
        "selfexecutable": lambda r: r["own"] and r["isready"],
        "self-executable": lambda r: r["own"] and r["isready"],
        "sharedexecutable": lambda r: False,
        "executable": lambda r: (r["own"] or r["ispublic"]) and r["isready"],
        "community": lambda r: r["ispublic"] and not r["isfeatured"],
    }
    if name.lower() == "all":
        raise invalid("Filter all can be specified by admin only")
    if name.lower() not in filters:
        kind = "com.cloud.template.VirtualMachineTemplate.TemplateFilter"
        raise ApiError(431, f"No enum constant {kind}.{name}", 9999)
    return filters[name.lower()]


@command("createTemplate")
def create_template(
    cloud: Cloud,
    name: str,
    ostypeid: Any,
    snapshotid: Any = None,
    volumeid: Any = None,
    **more: Any,
) -> Work:
    """Create the template's row; it is ready when the job has ended."""
    if snapshotid is None and volumeid is None:
        raise invalid("Unable to find snapshot by id=null")
    if snapshotid is not None and volumeid is not None:
        raise invalid(
            "Failed to create private template record, please specify only one of volume ID "
            f"({cloud.find('volume', volumeid)['n']}) and snapshot ID "
            f"({cloud.find('snapshot', snapshotid)['n']})"
        )
    _check_name(cloud, name)
    source = _snapshot(cloud, snapshotid) if volumeid is None else _volume(cloud, volumeid)
    check_quota(cloud, "template")
    check_quota(cloud, "secondarystorage", source["size"] / GIB)
    row = cloud.state.add(
        "template",
        name=name,
        displaytext=more.get("displaytext") or name,
        size=source["size"],
        ostypeid=cloud.find("ostype", ostypeid)["id"],
        zoneid=source["zoneid"],
        isready=False,
        isfeatured=False,
        ispublic=more.get("ispublic", False),
        passwordenabled=more.get("passwordenabled", False),
        sshkeyenabled=more.get("sshkeyenabled", False),
        isdynamicallyscalable=more.get("isdynamicallyscalable", False),
        own=True,
        **cloud.ownership(),
        details=(more.get("details") or [None])[0],
        at=cloud.clock(),
    )
    return Work(row, gib=source["size"] / GIB)


def _check_name(cloud: Cloud, name: str) -> None:
    most = cloud.dialect.template_name_length
    if len(name) > most:
        raise invalid(f"Template name cannot be longer than {most} characters")
    taken = {r["name"] for r in cloud.rows("template") if r["own"]}
    if cloud.dialect.template_names_unique and name in taken:
        why = "a template with that name already exists."
        raise invalid(f"Failed to create private template {name}, {why}")


def _snapshot(cloud: Cloud, id: Any) -> Row:
    row = cloud.find("snapshot", id)
    if row["state"] != "BackedUp":
        why = "is not in BackedUp state yet and can't be used for template creation"
        raise invalid(f"Snapshot id={id} {why}")
    return row


def _volume(cloud: Cloud, id: Any) -> Row:
    row = cloud.find("volume", id)
    machine = cloud.state.get("virtualmachine", row.get("virtualmachineid"))
    if machine and machine["state"] not in ("Stopped", "Destroyed"):
        raise broken(
            f"Unable to create private template for volume: {row['name']}; volume is attached to a "
            "non-stopped VM, please stop the VM first"
        )
    if row["state"] != "Ready":
        raise invalid(f"VolumeId: {id} is not in Ready state but {row['state']}.")
    return row


@phase("createTemplate", "finish")
def created(cloud: Cloud, job: Row, **params: Any) -> dict:
    """Copy the data; the template is ready then."""
    row = cloud.find("template", job["instance"])
    kind = "snapshot" if "snapshotid" in params else "volume"
    source = cloud.disk(cloud.find(kind, params[f"{kind}id"]))
    if source.exists():
        images.copy_sparse(source, cloud.disk(row))
    cloud.state.change("template", row, isready=True)
    return row


@phase("createTemplate", "failed")
def not_created(cloud: Cloud, job: Row) -> None:
    """Remove the row without trace: its id is unknown afterwards, as on a real cloud."""
    row = cloud.state.get("template", job["instance"])
    if row:
        cloud.state.remove("template", row, trace=False)


@command("deleteTemplate")
def delete_template(cloud: Cloud, id: Any, forced: bool = False, **_: Any) -> Work:
    """Queue the deleting."""
    row = cloud.state.get("template", id)
    if row is None or not row["own"]:
        was = cloud.state.trace_of("template", id).get("was", id)
        raise invalid(f"unable to find template with id {was}")
    return Work(row)


def _check_unused(cloud: Cloud, row: Row, zone: Any) -> None:
    """Refuse to delete a template that machines use, Destroyed ones included."""
    users = [m for m in cloud.rows("virtualmachine") if m["templateid"] == row["id"]
             and zone in (None, m["zoneid"])]  # fmt: skip
    if users:
        texts = ",".join(map(cloud.dialect.machine_text, users))
        raise invalid(
            f"Unable to delete template: {_text(row)} because VM instances: [{texts}] are using it."
        )


def _text(row: Row) -> str:
    """Return a template as CloudStack's messages name it (VMTemplateVO.toString)."""
    facts = {"format": "QCOW2", "id": row["n"], "name": row["name"]}
    facts |= {"uniqueName": f"{row['n']}-2-{row['id']}", "uuid": row["id"]}
    return f"Template {json.dumps(facts, separators=(',', ':'))}"


@phase("deleteTemplate", "finish")
def deleted(cloud: Cloud, job: Row, id: Any, forced: bool = False, zoneid: Any = None) -> None:
    """Delete the template and its data, or only a zone's copy; its machines keep running."""
    row = cloud.find("template", id)
    if cloud.dialect.template_guarded and not forced:
        _check_unused(cloud, row, zoneid)
    left = [copy["zoneid"] for copy in copies_of(row) if copy["zoneid"] != zoneid]
    if zoneid is not None and left:
        others = [{"zoneid": zone} for zone in left[1:]]
        cloud.state.change("template", row, zoneid=left[0], copies=others)
    else:
        cloud.disk(row).unlink(missing_ok=True)
        cloud.state.remove("template", row)
