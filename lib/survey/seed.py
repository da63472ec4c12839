"""A seed of the local cloud from what a real one answers, to rehearse on a copy of it.

Only list commands are asked. What belongs to the cluster that is to be rehearsed is left out, and
what a seed cannot hold, such as snapshots and firewall rules.
"""

from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import ip_network
from typing import Any

from lib.cloud import Cloud
from lib.machines import nic_of

GIB = 2**30
Row = dict[str, Any]
STATES = ("Running", "Stopped")
# The limits of an account, by the part of the field's name before "available" in listAccounts.
LIMITS = (
    *("vm", "ip", "volume", "snapshot", "template", "project", "network", "vpc"),
    *("cpu", "memory", "primarystorage", "secondarystorage"),
)


def of(cloud: Cloud, workstation: str, is_own: Callable[[Row], bool] = lambda row: False) -> Row:
    """Return the seed: zones, networks, offerings, OS types, templates, machines, volumes, limits.

    `workstation` is a display name. `is_own` tells which machines and volumes to leave out. Raises
    NotOne where there is not one machine of that name.
    """
    machine = cloud.one("listVirtualMachines", workstation, by="displayname")
    networks = _networks(cloud)
    categories = {str(c["id"]): c["name"] for c in cloud.list("listOsCategories")}
    types = _os_types(cloud, categories)
    templates = _templates(cloud, {t["name"] for t in types})
    disks = _disks(cloud.list("listVolumes", virtualmachineid=machine["id"]))
    offerings = _unique(map(_service_offering, cloud.list("listServiceOfferings")))
    listed = [m for m in cloud.list("listVirtualMachines") if m["id"] != machine["id"]]
    at = {str(n["id"]): n["name"] for n in cloud.list("listNetworks")}
    known = {n["name"] for n in networks}
    there = {m["id"]: m for m in listed if not is_own(m)}
    others = [m for m in map(partial(_other, at, offerings, templates), there.values())
              if m["network"] in known and m["address"] and m["state"] in STATES]  # fmt: skip
    others = _unique(others)
    own = {m["id"]: m for m in listed if is_own(m)}
    rows = [v for v in cloud.list("listVolumes") if v.get("virtualmachineid") != machine["id"]]
    ours = [v for v in rows if v.get("virtualmachineid") in own or is_own(v)]
    theirs = [v for v in rows if v not in ours]
    volumes = _volumes(theirs, there, {m["name"] for m in others})
    used = _taken(others, volumes, offerings), _freed([*own.values()], ours)
    seed = {
        "dialect": "4.22" if cloud.has_tags else "2.2",
        "zones": _zones(cloud, {n["zone"] for n in networks}),
        "networks": networks,
        "service_offerings": offerings,
        "disk_offerings": _unique(map(_disk_offering, cloud.list("listDiskOfferings"))),
        "os_categories": [{"name": name} for name in sorted(set(categories.values()))],
        "os_types": types,
        "templates": templates,
        "workstation": _workstation(machine, disks, offerings, templates)
        | {"network": at[str(nic_of(machine)["networkid"])], "zone": machine["zonename"]},
        "machines": others,
        "volumes": volumes,
        "security_groups": _security_groups(cloud),
        "limits": _limits(cloud, machine, disks, used),
        "configuration": _configuration(cloud.capabilities),
    }
    return {name: held for name, held in seed.items() if held}


def _unique(rows: Iterable[Row]) -> list[Row]:
    """Return the rows without those whose name has been before: a seed names each once."""
    return list({row["name"]: row for row in rows}.values())


def _zones(cloud: Cloud, with_network: set[str]) -> list[Row]:
    zones = [z for z in cloud.zones if z["name"] in with_network]
    kinds = [{"type": z["networktype"]} if "networktype" in z else {} for z in zones]
    return [{"name": z["name"], **kind} for z, kind in zip(zones, kinds, strict=True)]


def _networks(cloud: Cloud) -> list[Row]:
    names = {str(z["id"]): z["name"] for z in cloud.zones}
    rows = [(n, _cidr(n), names.get(str(n.get("zoneid")))) for n in cloud.list("listNetworks")]
    whole = ({"name": n["name"], "zone": z, "cidr": c} for n, c, z in rows if c and z)
    return list({(row["name"], row["zone"]): row for row in whole}.values())


def _security_groups(cloud: Cloud) -> list[Row]:
    """Return the security groups with what they let in, where a zone has such."""
    if not any(z.get("securitygroupsenabled") for z in cloud.zones):
        return []
    found = cloud.list_if_allowed("listSecurityGroups") or []
    return _unique({"name": g["name"], "rules": _rules(g)} for g in found)


def _rules(group: Row) -> list[str]:
    """Return what a group lets in, but from groups of other accounts, which a seed has none of."""
    rules = group.get("ingressrule") or []
    return [_rule(r) for r in rules if r.get("cidr") or r.get("account") == group.get("account")]


def _rule(row: Row) -> str:
    """Return a rule as a seed has it: protocol, ports, source."""
    names = ("icmptype", "icmpcode") if "icmptype" in row else ("startport", "endport")
    ports = "-".join(str(row.get(name, 0)) for name in names)
    return f"{row['protocol']} {ports} {row.get('cidr') or row.get('securitygroupname')}"


def _cidr(row: Row) -> str:
    """Return the addresses of a network, "" where it does not tell; 2.2 tells its netmask."""
    if "netmask" not in row or "gateway" not in row:
        return str(row.get("cidr", ""))
    return str(ip_network(f"{row['gateway']}/{row['netmask']}", strict=False))


def _service_offering(row: Row) -> Row:
    size = {"cpus": row.get("cpunumber"), "memory": row.get("memory")}
    known = size if all(size.values()) else {}
    tags = {"tags": row["hosttags"]} if row.get("hosttags") else {}
    return {"name": row["name"], **known, **tags}


def _disk_offering(row: Row) -> Row:
    size = row.get("disksize")
    return {"name": row["name"], **({"size": size} if size and not row.get("iscustomized") else {})}


def _os_types(cloud: Cloud, categories: dict[str, str]) -> list[Row]:
    rows = cloud.list("listOsTypes")
    named = ((r["description"], categories.get(str(r["oscategoryid"]))) for r in rows)
    return _unique({"name": name, "category": category} for name, category in named if category)


def _templates(cloud: Cloud, types: set[str]) -> list[Row]:
    rows = cloud.list("listTemplates", templatefilter="executable")
    whole = [r for r in rows if r.get("size") and r.get("ostypename") in types]
    return _unique(
        {"name": r["name"], "size": -(-r["size"] // GIB), "os_type": r["ostypename"]} for r in whole
    )


def _disks(volumes: list[Row]) -> list[Row]:
    """Return the disks of the workstation; all are in use, as nobody knows what is on them."""
    rows = sorted(volumes, key=lambda v: v["type"] != "ROOT")
    mounts = ["/", *(f"/mnt/{n}" for n in range(1, len(rows)))]
    return [
        {"name": v["name"], "size": -(-v["size"] // GIB), "mount": mount}
        for v, mount in zip(rows, mounts, strict=True)
    ]


def _workstation(machine: Row, disks: list[Row], offerings: list[Row], own: list[Row]) -> Row:
    known = {
        "name": machine["displayname"],
        "address": nic_of(machine).get("ipaddress"),
        "offering": _of(machine.get("serviceofferingname"), offerings),
        "template": _of(machine.get("templatename"), own),
        "disks": disks,
    }
    return {key: value for key, value in known.items() if value}


def _of(name: object, rows: list[Row]) -> str | None:
    """Return the name if a row has it, else the first row's."""
    names = [row["name"] for row in rows]
    return name if isinstance(name, str) and name in names else next(iter(names), None)


def _other(at: Row, offerings: list[Row], templates: list[Row], machine: Row) -> Row:
    """Return a machine of the account as a seed has it; `at` are the names of networks by id."""
    return {
        "name": machine["name"],
        "state": machine["state"],
        "network": at.get(str(nic_of(machine).get("networkid")), ""),
        "zone": machine["zonename"],
        "address": nic_of(machine).get("ipaddress"),
        "offering": _of(machine.get("serviceofferingname"), offerings),
        "template": _of(machine.get("templatename"), templates),
    }


def _volumes(rows: list[Row], machines: dict[str, Row], planted: set[str]) -> list[Row]:
    """Return volumes as a seed has them; one of a machine that it has not counts as detached."""
    found = []
    for row in rows:
        owner = machines.get(row.get("virtualmachineid") or "", {}).get("name")
        if owner not in planted and row["type"] == "ROOT":
            continue
        place = {"machine": owner} if owner in planted else {}
        place |= {"root": True} if row["type"] == "ROOT" else {}
        size = -(-row["size"] // GIB)
        found.append({"name": row["name"], "size": size, "zone": row["zonename"], **place})
    return _unique(found)


def _taken(machines: list[Row], volumes: list[Row], offerings: list[Row]) -> Row:
    """Return what the machines and volumes of a seed use of the limits."""
    sizes = {o["name"]: o for o in offerings}
    used = [sizes.get(m["offering"], {}) for m in machines]
    return {
        "vm": len(machines),
        "volume": len(volumes),
        "primarystorage": sum(v["size"] for v in volumes),
        "cpu": sum(o.get("cpus", 0) for o in used),
        "memory": sum(o.get("memory", 0) for o in used),
    }


def _freed(machines: list[Row], volumes: list[Row]) -> Row:
    """Return what the machines and volumes that are left out use of the limits."""
    return {
        "vm": len(machines),
        "volume": len(volumes),
        "primarystorage": sum(-(-v["size"] // GIB) for v in volumes),
        "cpu": sum(m.get("cpunumber") or 0 for m in machines),
        "memory": sum(m.get("memory") or 0 for m in machines),
    }


def _limits(cloud: Cloud, machine: Row, disks: list[Row], used: Iterable[Row]) -> dict[str, int]:
    """Return the limits in which the account has as much left as it had, with what is `used`.

    {} where they are hidden.
    """
    account = next(iter(cloud.list_if_allowed("listAccounts") or []), {})
    taken = {"vm": 1, "volume": len(disks), "primarystorage": sum(d["size"] for d in disks)}
    taken |= {"cpu": machine.get("cpunumber") or 0, "memory": machine.get("memory") or 0}
    taken = {name: value + sum(u[name] for u in used) for name, value in taken.items()}
    left = {name: account.get(f"{name}available") for name in LIMITS}
    return {
        name: -1 if str(value) in ("Unlimited", "-1") else int(float(value)) + taken.get(name, 0)
        for name, value in left.items()
        if value is not None
    }


def _configuration(capabilities: Row) -> Row:
    names = {
        "customdiskofferingminsize": "custom.diskoffering.size.min",
        "customdiskofferingmaxsize": "custom.diskoffering.size.max",
        "allowuserexpungerecovervm": "allow.user.expunge.recover.vm",
    }
    return {of: capabilities[name] for name, of in names.items() if name in capabilities}
