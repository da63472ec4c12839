"""Verification: whether the machines are the cluster that was asked for.

Each answer is a `Tick` of one machine or stranger; `matrix` shows them as a table.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from lib import config, machines
from lib.checks import LATER, NOT_ASKED, Tick, later, tick
from lib.cluster import etcd, inside, left, placement, registry
from lib.cluster.login import Access, connect, note
from lib.cluster.placement import Placement
from lib.cluster.registry import DEPLOY
from lib.config import Written
from lib.machines import address_of
from lib.ours import Ours
from lib.waiting import until
from lib.workstation.shell import Shell

LONGEST = 300  # seconds that machines are given to boot and register
ON_NO_NETWORK = "Machines of the local cloud are stand-ins, unless with local?etcd=real."
FIXED = "etcd knows its members by these addresses: give the machines theirs again."
REMOVE = "Remove it with `etcdctl member remove`, unless it was put there on purpose."
TOO_MANY = (
    "If cluster_size, or its role's count, was lowered, 80-remove-machines takes it out. If "
    "another made it, see what it is for; a higher count takes it in."
)
LATE = (
    "It came too late for the token, and only passes requests on. 80-remove-machines with "
    "`-p replace=NAME`, then 50-deploy-cluster, make it a member."
)
RETAG = "Give it the tag `role` (createTags) if the machine is of that role."
NO_MEMBER = "a proxy or standby"
A_MEMBER = (
    "It took a member's place, as the first etcd_members machines did not come first. It does no "
    "harm; the one that lacks the place can only be a proxy."
)
STATES = {
    "proxy": LATE,
    "standby": LATE,
    "silent": "Nothing listens there. If it does not come up, look at etcd's log on the machine; "
    "startVirtualMachine or rebootVirtualMachine brings a dead one back.",
    "unhealthy": "It has no leader: more than half of the members must run and reach each other.",
    etcd.FOREIGN: "Another program answers at etcd's client port: see on the machine which one has "
    "it (ss -ltnp), and what its address is.",
}


@dataclass(frozen=True)
class Expected:
    """The cluster as it should be: our machines, configured with what `work_dir` holds.

    Each has one of the `offerings`, by name, and is in its place.
    """

    ours: Ours
    shell: Shell  # of the workstation
    work_dir: str
    offerings: Sequence[str]
    place: Placement = field(default_factory=Placement)

    @cached_property
    def written(self) -> Written:
        """The text that makes the machines a cluster."""
        return config.read(self.shell, self.work_dir)


def answers(expected: Expected, access: Access, mode: str, *, within: float) -> list[Tick]:
    """Ask the cloud, the registry and the machines, and return an answer to each question.

    In apply mode machines that still boot are waited for, `within` seconds and LONGEST at most. A
    machine that has yet to be deployed is LATER; what nobody could be asked has a dash.
    """
    cloud = expected.ours.cloud
    limit = min(within, LONGEST * max(cloud.profile.time_scale, 0.1))
    ask = partial(_ask, expected, access)
    if mode == "plan":
        return ask()
    what = "machines to boot and register"
    return until(cloud, partial(ask, patient=True), what, limit) or ask()


def _ask(expected: Expected, access: Access, *, patient: bool = False) -> list[Tick] | None:
    """Return all answers; if `patient`, None where something is amiss that time may mend."""
    there, further = expected.ours.machines(), _further(expected)
    found = _from_outside(expected, access, there, further)
    if patient and _may_mend(found):
        return None
    read = partial(config.read, expected.shell, expected.work_dir)
    intended = read(*config.ON_DISK.values()).sha256
    stems = config.userdata.of_stems(expected.ours, expected.shell, expected.work_dir)
    given = {stem: written.text for stem, written in stems.items()}
    found += inside.ticks(access, _running(there), intended, given)
    if patient and _may_mend(found):
        return None
    note(access, _running(there))
    return found + _too_many(expected, further)


def _may_mend(found: list[Tick]) -> bool:
    """Tell whether something is amiss, and no other program has etcd's port."""
    is_final = any(t.found == etcd.FOREIGN for t in found)
    return not is_final and any(t.ok in ("✗", LATER) for t in found)


def _running(there: dict[str, dict]) -> dict[str, dict]:
    return {n: m for n, m in there.items() if m["state"] == "Running" and address_of(m)}


def _from_outside(
    expected: Expected, access: Access, there: dict[str, dict], further: list[dict]
) -> list[Tick]:
    """Return what the cloud, the registry and the etcds answer; `further` are no strangers."""
    names, written = expected.ours.names, expected.written
    found = {n: address_of(m) for n, m in there.items()}
    rows = [_state(n, there.get(n)) for n in names]
    rows += placement.ticks(expected.ours, expected.place, expected.offerings, there)
    rows += _addresses(names, found, written)
    rows += [_role(expected.ours, n, there[n]) for n in names if n in there and expected.ours.roles]
    known = {address_of(r) for r in further} - {""}
    shells = {n: connect(access, m) for n, m in _running(there).items() if access.user}
    etcds = _etcds(expected, found, shells, known)
    if written.addresses:
        return rows + etcds
    formed = len(found) == len(names) and all(t.ok == "✓" for t in etcds)
    members = expected.ours.members
    return rows + registry.ticks(members, found, written, formed, known) + etcds


def _state(name: str, machine: dict | None) -> Tick:
    if machine is None:
        return later("state", "Running", "absent", DEPLOY, name)
    state = machine["state"]
    if state == "Stopped":  # which 50 starts: a plan of both stages is whole
        return later("state", "Running", state, DEPLOY, name)
    return tick("state", "Running", state, state == "Running", DEPLOY, name)


def _role(ours: Ours, name: str, machine: dict) -> Tick:
    """Return whether a machine carries its role as a tag, where there are tags."""
    wanted = ours.tags_of(name).get("role", "none")
    if not ours.cloud.has_tags:
        return tick("role", wanted, NOT_ASKED, None, "This server has no tags.", name)
    found = {t["key"]: t["value"] for t in machine.get("tags") or []}.get("role", "none")
    return tick("role", wanted, found, found == wanted, RETAG, name)


def _addresses(names: list[str], found: dict[str, str], written: Written) -> list[Tick]:
    """Return whether each machine has an address of its own: the fixed one, where there is one."""
    count, fixed = Counter(found.values()), dict(zip(names, written.addresses, strict=False))
    rows = []
    for name in names:
        wanted, has = fixed.get(name, "its own"), found.get(name)
        if has is None:
            rows.append(later("address", wanted, "not deployed", DEPLOY, name))
            continue
        ok = bool(has) and count[has] == 1 and has == fixed.get(name, has)
        shown = f"{has or 'none'}{', which others have, too' if has and count[has] > 1 else ''}"
        rows.append(tick("address", wanted, shown, ok, FIXED if fixed else DEPLOY, name))
    return rows


def _etcds(
    expected: Expected, found: dict[str, str], shells: dict[str, Shell], further: set[str]
) -> list[Tick]:
    """Return what each machine's etcd answers itself, and the members that are no machines."""
    names, written = expected.ours.names, expected.written
    there = {n: found[n] for n in names if found.get(n)}
    known = etcd.ask_all(expected.ours.cloud, there, written.text, shells)
    members = _members(expected, known)
    voters = {there[n] for n in members if n in there}
    rows = [_etcd(n, known.get(n), voters, len(members)) if n in members else
            _other(n, known.get(n)) for n in names]  # fmt: skip
    strangers = set().union(*(a.members for a in known.values())) - set(there.values()) - further
    return rows + [
        tick("etcd", "these machines only", "a stranger, a member", False, REMOVE, a)
        for a in sorted(strangers)
    ]


def _members(expected: Expected, known: dict[str, etcd.Answer]) -> list[str]:
    """Return the machines whose etcds must be members: the first ones.

    Of etcds 0.4 they may be others: once one is gone for half an hour, a standby takes its place.
    """
    ours = expected.ours
    active = [n for n, a in known.items() if a.state == "healthy"]
    old = etcd.is_old(expected.written.text)
    return active if old and len(active) == len(ours.members) else ours.members


def _other(name: str, answer: etcd.Answer | None) -> Tick:
    """Return what the etcd of a machine answers that is to be no member."""
    if answer is None:
        return later("etcd", NO_MEMBER, "not deployed", DEPLOY, name)
    if answer.state not in ("healthy", *STATES):
        return _not_asked(name, answer, NO_MEMBER)
    advice = A_MEMBER if answer.state == "healthy" else STATES.get(answer.state, "")
    return tick("etcd", NO_MEMBER, answer.state, answer.state in etcd.OTHERS, advice, name)


def _not_asked(name: str, answer: etcd.Answer, wanted: str) -> Tick:
    why = ON_NO_NETWORK if answer.state == etcd.AWAY else f"It is {answer.state} from here."
    return tick("etcd", wanted, NOT_ASKED, None, why, name)


def _etcd(name: str, answer: etcd.Answer | None, ours: set[str], size: int) -> Tick:
    wanted = f"healthy, with {size} members"
    if answer is None:
        return later("etcd", wanted, "not deployed", DEPLOY, name)
    if answer.state not in ("healthy", *STATES):
        return _not_asked(name, answer, wanted)
    known = f", with {len(answer.members & ours)} members" if answer.members else ""
    ok = answer.state == "healthy" and ours <= answer.members and len(ours) == size
    if len(ours) < size and answer.state in ("healthy", "unhealthy", "silent"):
        return later("etcd", wanted, f"{answer.state}{known}", DEPLOY, name)
    advice = STATES.get(answer.state, "Wait, or reboot the one that is missing.")
    return tick("etcd", wanted, f"{answer.state}{known}", ok, advice, name)


def _further(expected: Expected) -> list[dict]:
    """Return the rows of machines that are not of the cluster, but were made as if they were.

    They have a further number, or are of the same template while the token is baked in.
    """
    ours, written = expected.ours, expected.written
    alive = [r for r in left.wherever(ours) if r["state"] not in machines.BAD]
    baked = not (written.text and written.where.endswith(f"/{config.USER_DATA}"))
    own = set(ours.names)
    templates = {r.get("templateid") for r in alive if r["name"] in own and baked}
    named = {r["id"] for r in ours.of_ours(alive)}
    return [r for r in alive if (r["name"] not in own or left.is_left(ours, r))
            and (r["id"] in named or r.get("templateid") in templates)]  # fmt: skip


def _too_many(expected: Expected, further: list[dict]) -> list[Tick]:
    """Return a tick for each machine that is too many."""
    ours, written = expected.ours, expected.written
    at = machines.addresses({r["name"]: r for r in further})
    known = etcd.ask_all(ours.cloud, at, written.text)
    return [
        tick("state", f"{len(ours.names)} machines", f"{r['state']} at {at.get(r['name'])}, etcd "
             f"{getattr(known.get(r['name']), 'state', 'not asked')}", False,
             placement.LEFT if left.is_left(ours, r) else TOO_MANY, r["name"])
        for r in further
    ]  # fmt: skip
