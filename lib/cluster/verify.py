"""The cluster: whether the machines that were made are the members that formed."""

import ipaddress
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from lib import config, machines
from lib.checks import LATER, Tick, later, tick
from lib.cloud import Cloud
from lib.cluster import etcd, inside, login
from lib.config import Written, discovery
from lib.errors import CheckFailed, Refused, Unreachable
from lib.machines import address_of
from lib.waiting import Waiting
from lib.workstation.shell import Shell

AWAY = "on no network"
ON_NO_NETWORK = "not asked: those of the local cloud are stand-ins, unless with local?etcd=real"
NOWHERE = re.compile(r"(https?://)?(:\d+|127\.0\.0\.1)?/?")
NO_ADDRESS = (
    "An empty $private_ipv4: the image does not know it. Set oem as it is: 20-write-cloud-config "
    "writes what finds the address on an image that does not."
)
REUSED = (
    "A reused token: another cluster had it before. A template with a baked-in token makes one "
    "cluster only. Or it is what a machine has left that is gone: etcd 0.4 keeps that for a week."
)
BOOTSTRAP = (
    "The registry serves the bootstrap only: an etcd that has formed a cluster asks it no more. "
    "The rows of the etcds count."
)
DEPLOY = "Run 50-deploy-cluster."
NO_TEXT = "Is work_dir the folder of this cluster? Else its text was lost, or 20 has yet to run."
STATES = {
    "proxy": "It came too late for the token, and only passes requests on. `etcdctl member add` on "
    "a member, and --initial-cluster-state=existing, make it one.",
    "silent": "Nothing listens there. If it does not come up, look at etcd's log on the machine; "
    "startVirtualMachine or rebootVirtualMachine brings a dead one back.",
    "unhealthy": "It has no leader: more than half of the members must run and reach each other.",
    etcd.FOREIGN: "Another program answers at etcd's client port: see on the machine which one has "
    "it (ss -ltnp), and what its address is.",
}


def formed(
    cloud: Cloud, shell, *, zone: str, names: list[str], work_dir: str, mode: str, within: float,
    machine_user: str = "", workstation_ssh: str = "",
) -> list[Tick]:  # fmt: skip
    """Return rows with ticks: machines Running, registry exactly these, each etcd a healthy member.

    With a `machine_user` the machines are asked over SSH too. In apply mode machines that still
    boot are waited for, `within` seconds at most. A row has a ✗ where something is wrong, LATER
    where a machine has yet to be deployed, and a dash where nobody could be asked.
    """
    written = config.read(shell, work_dir)
    how = {"user": machine_user, "workstation_ssh": workstation_ssh}
    started, longest = cloud.clock(), min(within, 300 * max(cloud.profile.time_scale, 0.1))
    with Waiting() as waiting:
        while True:
            there = machines.found(cloud, zone, names)
            rows = _rows(cloud, there, names, written, how)
            late = cloud.clock() - started > longest or _is_final(rows)
            if mode == "plan" or late or not _bad(rows):
                rows += inside.rows(cloud, shell, _running(there), **how, work_dir=work_dir)
            if mode == "plan" or late or not _bad(rows):
                return rows + _beyond(cloud, zone, names, written)
            waiting.show("machines to boot and register")
            cloud.sleep(min(max((cloud.clock() - started) / 2, 0.1), 2))


def _bad(rows: list[Tick]) -> bool:
    return any(r.ok in ("✗", LATER) for r in rows)


def _is_final(rows: list[Tick]) -> bool:
    """Tell whether waiting is of no use: another program has etcd's port."""
    return any(r.found == etcd.FOREIGN for r in rows)


def _running(there: dict[str, dict]) -> dict[str, dict]:
    return {n: m for n, m in there.items() if m["state"] == "Running" and address_of(m)}


def _rows(cloud: Cloud, there: dict, names: list[str], written: Written, how: dict) -> list[Tick]:
    rows = [_machine(n, there.get(n)) for n in names]
    found = [a for a in map(address_of, there.values()) if a]
    distinct = len(set(found)) == len(found)
    rows.append(tick("addresses", "all distinct", "distinct" if distinct else found, distinct))
    found = {n: address_of(m) for n, m in there.items()}
    shells = {n: login.connect(cloud, m, **how) for n, m in _running(there).items() if how["user"]}
    etcds = _etcds(cloud, found, names, written.text, shells)
    if written.addresses:
        return rows + _fixed(found, dict(zip(names, written.addresses, strict=False))) + etcds
    formed = len(found) == len(names) and all(r.ok == "✓" for r in etcds)
    return rows + _registry(found, names, written, formed) + etcds


def _machine(name: str, machine: dict | None) -> Tick:
    if machine is None:
        return later(name, "Running", "absent", DEPLOY)
    ok = machine["state"] == "Running" and bool(address_of(machine))
    found = f"{machine['state']} at {address_of(machine) or 'no address'}"
    return tick(name, "Running with an address", found, ok, DEPLOY)


def _fixed(found: dict[str, str], wanted: dict[str, str]) -> list[Tick]:
    """Return a row on whether the machines have the addresses by which they know each other."""
    other = ", ".join(f"{n} has {a}" for n, a in found.items() if a != wanted.get(n))
    has = other or f"{len(found)} of {len(wanted)}"
    ok = not other and found.keys() == wanted.keys()
    step = "etcd knows its members by these addresses: give the machines theirs again."
    if not ok and not other:
        return [later("fixed addresses", f"{len(wanted)} of {len(wanted)}", has, DEPLOY)]
    return [tick("fixed addresses", f"{len(wanted)} of {len(wanted)}", has, ok, step)]


def _registry(
    found: dict[str, str], names: list[str], written: Written, formed: bool
) -> list[Tick]:
    """Return a row for the machines in the registry, and one for each stranger there.

    The registry serves the bootstrap only. So a source that is gone has a dash, as has whatever is
    amiss in it once the etcds have `formed` a healthy cluster of exactly these machines.
    """
    what, wanted = "the discovery registry", f"{len(names)} of {len(names)}"
    try:
        members = discovery.members(written.url) if written.url else {}
    except (CheckFailed, Refused, Unreachable) as error:
        return [tick(what, wanted, f"not asked: {_cause(error)}", None, BOOTSTRAP)]
    if members is None:
        return [tick(what, wanted, "the service no longer knows the token", None, BOOTSTRAP)]
    seen = {n: a for n, a in found.items() if a in members.values()}
    strangers = sorted(set(members.values()) - set(found.values()))
    missing = ", ".join(n for n in found if n not in seen)
    advice = (f"Not registered: {missing}. Look at etcd's log there: an empty $private_ipv4, or a "
              "token used before, keeps a machine out.")  # fmt: skip
    row = tick(what, wanted, f"{len(seen)} of {len(names)}", len(seen) == len(names), advice)
    if not missing and len(found) < len(names):
        row = later(what, wanted, f"{len(seen)} of {len(names)}", DEPLOY)
    if not written.url:
        row = later(what, wanted, f"no token in {written.where}", NO_TEXT)
        row = replace(row, ok="✗") if found else row
    rows = [row, *map(_stranger, strangers)]
    return [_past(r) for r in rows] if formed else rows


def _cause(error: CheckFailed | Refused | Unreachable) -> str:
    """Say in few words why a source could not be asked."""
    return getattr(error, "cause", "") or getattr(error, "text", "") or f"{error.what}: {error.got}"


def _past(row: Tick) -> Tick:
    """Return a row on the registry as it counts for a cluster that has formed: not at all."""
    return row if row.ok == "✓" else replace(row, ok="-", next=BOOTSTRAP)


def _stranger(address: str) -> Tick:
    if NOWHERE.fullmatch(address):
        return tick("an address in the registry", "a machine's own", address, False, NO_ADDRESS)
    return tick("a stranger in the registry", "none", address, False, REUSED)


def _etcds(
    cloud: Cloud, found: dict[str, str], names: list[str], text: str, shells: dict[str, Shell]
) -> list[Tick]:
    """Return a row for each machine's etcd as it answers itself."""
    there = {n: found[n] for n in names if found.get(n)}
    answers = ask(cloud, there, text, shells)
    if any(a.state == AWAY for a in answers.values()):
        return [tick("etcd of the machines", "healthy", ON_NO_NETWORK, None)]
    rows = [_etcd(n, answers[n], set(there.values()), len(names)) for n in there]
    strangers = set().union(*(a.members for a in answers.values())) - set(there.values())
    return rows + [
        tick("a stranger in the cluster", "none", a, False, "Remove it with etcdctl member remove, "
             "unless it was put there on purpose.")
        for a in sorted(strangers)
    ]  # fmt: skip


def ask(
    cloud: Cloud, found: dict[str, str], text: str, shells: dict[str, Shell] | None = None
) -> dict[str, etcd.Answer]:
    """Ask the etcd of each machine (name -> address), all at once: from here, else on its shell.

    One that cannot be reached although others can is silent. Without the text that configures
    them nobody knows their version, so both ports are asked.
    """

    kinds = [etcd.is_old(text)] if text else [False, True]

    def one(name: str) -> etcd.Answer:
        if cloud.profile.shell and not ipaddress.ip_address(found[name]).is_loopback:
            return etcd.Answer(AWAY)
        answers = [_one(found[name], old, (shells or {}).get(name)) for old in kinds]
        return next((a for a in answers if a.state not in ("silent", "unreachable")), answers[0])

    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(found, pool.map(one, found), strict=True))
    heard = any(a.state not in ("unreachable", AWAY) for a in answers.values())
    silent = etcd.Answer("silent")
    return {n: silent if heard and a.state == "unreachable" else a for n, a in answers.items()}


def _one(address: str, old: bool, shell: Shell | None) -> etcd.Answer:
    answer = etcd.ask(address, old)
    return etcd.ask_on(shell, address, old) if shell and answer.state == "unreachable" else answer


def _etcd(name: str, answer: etcd.Answer, ours: set[str], size: int) -> Tick:
    what, wanted = f"etcd of {name}", f"healthy, with {size} members"
    if answer.state not in ("healthy", *STATES):
        return tick(what, wanted, f"not asked: {answer.state} from here", None)
    known = f", with {len(answer.members & ours)} members" if answer.members else ""
    ok = answer.state == "healthy" and ours <= answer.members and len(ours) == size
    if len(ours) < size and answer.state in ("healthy", "unhealthy", "silent"):
        return later(what, wanted, f"{answer.state}{known}", DEPLOY)
    return tick(what, wanted, f"{answer.state}{known}", ok, STATES.get(answer.state, "Wait, or "
                "reboot the one that is missing."))  # fmt: skip


def _beyond(cloud: Cloud, zone: str, names: list[str], written: Written) -> list[Tick]:
    """Return a row for each machine that is not of the cluster, but was made as if it were.

    That is one with a further number, or of the same template while the token is baked in.
    """
    rows = cloud.list("listVirtualMachines", zoneid=cloud.zone_id(zone))
    alive = [r for r in rows if r["state"] not in machines.BAD]
    stem = re.compile(re.escape(names[0].rpartition("-")[0]) + r"-\d+")
    baked = not (written.text and written.where.endswith(f"/{config.USER_DATA}"))
    templates = {r.get("templateid") for r in alive if r["name"] in names and baked}
    found = [r for r in alive if r["name"] not in names
             and (stem.fullmatch(r["name"]) or r.get("templateid") in templates)]  # fmt: skip
    answers = ask(cloud, {r["name"]: address_of(r) for r in found if address_of(r)}, written.text)
    return [
        tick("a machine too many", f"{len(names)} machines", f"{r['name']}, {r['state']} at "
             f"{address_of(r)}, etcd {getattr(answers.get(r['name']), 'state', 'not asked')}",
             False,
             f"The cluster is of {len(names)}, and this is no member: see who made it, and what it "
             "is for. `etcdctl member add` on a member takes it in.")
        for r in found
    ]  # fmt: skip
