"""Exports: the resources of a run's cluster as other programs read them.

All comes from the record alone: neither the cloud nor a machine is asked.
"""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import yaml

from lib.record.faults import BadInput
from lib.report import cover, resources
from lib.report.past import Past
from lib.report.resources import Resource

USER = "core"  # whom images of CoreOS and Flatcar let log in
PUBLIC = "public_address"
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What the provider cloudstack/cloudstack can import; it has no importer for templates and
# snapshots (its resource_cloudstack_template.go, and no resource for a snapshot).
IMPORTED = {"machine": "cloudstack_instance", "volume": "cloudstack_disk"}


def text(past: Past, form: str) -> str:
    """Return the export of a run in one of FORMS.

    Raises BadInput where the run shows no resource of its cluster, or a machine whose name or
    address cannot stand in such a file.
    """
    found = resources.read(past)
    own = resources.of_cluster(past, found)
    if not own:
        fault = f"{past.folder}: its tables show no resource of the cluster"
        raise BadInput([f"{fault}; `runbook export` needs a run that created or saw it"])
    return FORMS[form](past, [_with_public(past, one) for one in own])


def _with_public(past: Past, one: Resource) -> Resource:
    """Return a resource, if it is the machine that is reached from outside with that address."""
    outside = cover.outside(past)
    if one.kind != "machine" or one.name != outside.get("name"):
        return one
    address = str(outside.get("address"))
    return replace(one, fields=one.fields | {PUBLIC: address}) if _address(address) else one


def _ansible(past: Past, own: list[Resource]) -> str:
    """Return an inventory in YAML, for `ansible-inventory -i FILE.yaml`."""
    hosts = {
        one.name: {
            "ansible_host": one.address,
            "ansible_user": _user(past),
            "cloudstack_id": one.id,
        }
        | {k: v for k, v in one.fields.items() if k == PUBLIC}
        for one in _machines(past, own)
    }
    group = re.sub(r"\W", "_", str(past.params.get("cluster_name") or "cluster"), flags=re.A)
    tree = {"all": {"children": {re.sub(r"^(?=\d)", "_", group): {"hosts": hosts}}}}
    return _from(past) + yaml.safe_dump(tree, sort_keys=False)


def _ssh_config(past: Past, own: list[Resource]) -> str:
    """Return an ssh_config(5), for `Include` or `ssh -F`."""
    blocks = [
        f"Host {name}\n    HostName {address}\n    User {_user(past)}\n"
        for name, address in _named(_machines(past, own))
    ]
    return "\n".join([_from(past), *blocks])


def _hosts(past: Past, own: list[Resource]) -> str:
    """Return lines of hosts(5)."""
    named = _named(_machines(past, own))
    return _from(past) + "".join(f"{address}\t{name}\n" for name, address in named)


def _named(machines: list[Resource]) -> list[tuple[str, str]]:
    """Return names with addresses; that of a public one is the machine's with `-public`."""
    public = [one for one in machines if PUBLIC in one.fields]
    return [(one.name, one.address) for one in machines] + [
        (f"{one.name}-public", one.fields[PUBLIC]) for one in public
    ]


def _terraform(past: Past, own: list[Resource]) -> str:
    """Return import blocks of Terraform 1.5 or OpenTofu 1.5 and newer."""
    parts = [
        f"{_from(past)}# `terraform plan -generate-config-out=cluster.tf` writes the resources."
    ]
    project = str(past.params.get("project") or "")
    taken: list[str] = []
    for one in own:
        if one.kind not in IMPORTED:
            parts.append(f"# {one.kind} {one.name} ({one.id}): the provider cannot import it")
            continue
        label = re.sub(r"[^A-Za-z0-9_-]", "_", re.sub(r"^(?![A-Za-z_])", "_", one.name))
        label += f"_{taken.count(label) + 1}" if label in taken else ""
        taken.append(label)
        identity = _quoted(f"{project}/{one.id}" if project else one.id)
        parts.append(f"import {{\n  to = {IMPORTED[one.kind]}.{label}\n  id = {identity}\n}}")
    return "\n\n".join(parts) + "\n"


def table(found: list[Resource]) -> str:
    """Return a table (CSV) of resources, with the columns of their own tables."""
    fields = list(dict.fromkeys(name for one in found for name in one.fields))
    file = io.StringIO()
    rows = csv.DictWriter(file, ["kind", "name", "id", "address", "run", *fields])
    rows.writeheader()
    for one in found:
        whole = {"kind": one.kind, "name": one.name, "id": one.id, "address": one.address}
        rows.writerow(whole | {"run": one.change} | one.fields)
    return file.getvalue()


def _machines(past: Past, own: list[Resource]) -> list[Resource]:
    """Return the machines, each with an address; raise BadInput for what is none."""
    machines = [one for one in own if one.kind == "machine"]
    bad = [one for one in machines if not (_HOST.fullmatch(one.name) and _address(one.address))]
    if bad or not machines:
        first = f"{bad[0].name!r} has the address {bad[0].address!r}" if bad else "there is none"
        which = f"{len(bad)} of {len(machines)} machines lack a name or address to write down"
        better = "name a run of 50 or 60: `runbook list` shows them"
        raise BadInput([f"{past.folder}: {which}: {first}: {better}"])
    return machines


def _address(given: str) -> bool:
    try:
        return bool(ip_address(given))
    except ValueError:
        return False


def _user(past: Past) -> str:
    return str(past.params.get("machine_user") or USER)


def _quoted(given: str) -> str:
    """Return a string of HCL, in which `${` and `%{` begin a template."""
    return re.sub(r"[$%](?=\{)", r"\g<0>\g<0>", json.dumps(given))


def _from(past: Past) -> str:
    return f"# From the record of the run {' '.join(past.folder.name.split())}.\n"


FORMS: dict[str, Callable[[Past, list[Resource]], str]] = {
    "ansible": _ansible,
    "ssh-config": _ssh_config,
    "hosts": _hosts,
    "terraform-import": _terraform,
    "csv": lambda past, own: table(own),
}
