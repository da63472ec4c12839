"""Members: the etcds of the machines, as stand-ins that speak to the discovery service only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import NamedTuple

from .settings import Settings

Fetch = Callable[[str, str, dict | None], tuple[int, str | bytes]]
BAD_ENDPOINT = "discovery: bad discovery endpoint"
TTL = 604800  # seconds that a registration of etcd 0.4 lives


class Machine(NamedTuple):
    """A machine that boots.

    `fetch(method, url, form)` returns status and body; without an answer it raises OSError, or
    the status is 0. `run(settings)` starts a real etcd and returns a line of the journal; without
    it a stand-in is used. `put(path, text)` writes a file below the machine's /run.
    """

    id: str
    hostname: str
    address: str
    fetch: Fetch
    run: Callable[[Settings], str] | None = None
    put: Callable[[str, str], None] = lambda path, text: None


def start_etcd(given: Settings, machine: Machine) -> list[str]:
    """Act as etcd 0.4: register the name, then start the cluster or join the others."""
    addr = given.get("addr") or "127.0.0.1:4001"
    peer = given.get("peer-addr") or "127.0.0.1:7001"
    for value in (addr, peer):
        if value.startswith(":"):
            why = f"Advertised URL: parse {value}: missing protocol scheme"
            return [f"etcd: failed sanitizing configuration: {why}"]
    base, name = given.get("discovery"), given.get("name") or machine.id
    if not base:
        return ["etcd: started alone: no discovery"]
    others = _listed(base, machine).keys() - {name}
    form = {"value": f"http://{peer}", "ttl": str(TTL)}
    status, _ = _ask(machine, "PUT", f"{base}/{name}", form)
    if status not in (200, 201):
        return [f"etcd: discovery refused the registration (HTTP {status})"]
    state = {"value": "started", "prevExist": "false"}
    first = _ask(machine, "PUT", f"{base}/_state", state)[0] == 201
    if not first and not others:
        why = "Discovery found an initialized cluster but no reachable peers are registered."
        return [f"etcd: {why}"]
    return [f"etcd: {'leads a new cluster' if first else f'joined {len(others)} others'} as {name}"]


def start_member(given: Settings, machine: Machine) -> list[str]:
    """Run a real etcd, or act as etcd 2 or 3: create the member id, unless the cluster is full."""
    base, known = given.get("discovery"), given.get("initial-cluster")
    if f"//{machine.address}:" in (known or ""):
        # Programs are not run: ours notes ETCD_PROXY only where the address is no member's.
        given.variables.pop("ETCD_PROXY", None)
    if machine.run:
        return [f"etcd: {machine.run(given)}"]
    if given.get("proxy") == "on":
        return ["etcd: runs as a proxy of the members"]
    if not base:
        return _join_fixed(known, given) if known else ["etcd: started alone: no discovery"]
    status, body = _ask(machine, "GET", f"{base}/_config/size", None)
    if status != 200:
        return [f"etcd: {'discovery: size key not found' if status == 404 else BAD_ENDPOINT}"]
    size = int(_node(body)["value"])
    urls = given.get("initial-advertise-peer-urls") or "http://localhost:2380"
    member = hashlib.sha1(f"{urls}etcd-cluster".encode(), usedforsecurity=False).hexdigest()[:16]
    member = member.lstrip("0")
    before = _listed(base, machine)
    if member not in before:
        if len(before) >= size:
            return _full(given)
        form = {"value": f"{given.get('name') or machine.id}={urls}", "prevExist": "false"}
        _ask(machine, "PUT", f"{base}/{member}", form)
    listed = _listed(base, machine)
    if member not in sorted(listed, key=listed.__getitem__)[:size]:
        return _full(given)
    return [f"etcd: member {member}, {len(listed)} of {size} known"]


def _join_fixed(known: str, given: Settings) -> list[str]:
    """Act as a member of a static cluster; refuse a name that is not in its list."""
    others = dict(member.partition("=")[::2] for member in known.split(","))
    name, urls = given.get("name") or "default", given.get("initial-advertise-peer-urls")
    if name not in others:
        return [f'etcd: couldn\'t find local name "{name}" in the initial cluster configuration']
    if others[name] != urls:
        return [f"etcd: --initial-cluster has {others[name]} but missing from {urls}"]
    return [f"etcd: member {name} of {len(others)} that know each other"]


def _full(given: Settings) -> list[str]:
    """Return the line of a surplus member: it becomes a proxy, or exits if so configured."""
    if given.get("discovery-fallback") == "exit":
        return ["etcd: failed to join discovery cluster (discovery: cluster is full)"]
    return ["etcd: discovery: cluster is full", "etcd: falling back to proxy"]


def _ask(machine: Machine, method: str, url: str, form: dict | None) -> tuple[int, str | bytes]:
    """Return status and body of an answer; ConnectionError if there was none (status 0)."""
    status, body = machine.fetch(method, url, form)
    if status == 0:
        raise ConnectionError("no answer")
    return status, body


def _listed(base: str, machine: Machine) -> dict[str, int]:
    """Return the registered names with the index at which each was created."""
    status, body = _ask(machine, "GET", base, None)
    nodes = _node(body).get("nodes", []) if status == 200 else []
    return {n["key"].rpartition("/")[2]: n["createdIndex"] for n in nodes}


def _node(body: str | bytes) -> dict:
    answer = json.loads(body)
    node = answer.get("node") if isinstance(answer, dict) else None
    if not isinstance(node, dict):
        raise ValueError("not an answer of etcd's")
    return node
