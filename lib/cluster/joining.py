"""Joining: members that come to an etcd cluster that runs, one after the other.

A later etcd takes no further member by itself: one that runs is told of it first (`member add`),
and the new one is started with the list of all members. An etcd 0.4 joins by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lib.checks import Tick, asked
from lib.cluster import etcd
from lib.cluster.booting import Boot, boot
from lib.cluster.membership import PEER_PORT, UNASKED, Etcds, Seen
from lib.config import Written, addresses, read, userdata
from lib.errors import CheckFailed, CloudError
from lib.machines import address_of
from lib.ours import Ours
from lib.steps import Step
from lib.workstation import notes
from lib.workstation.shell import Shell

Networks = Mapping[str, str]  # the default one of each zone, "" where it is the only one
REPLACE = (
    "A member that is gone counts for the quorum all the same: take it out first, by "
    "`--stages 80 -p replace=NAME` with the name of its machine."
)
LEADERLESS = (
    "Bring its machines back first (60-verify-cluster): members that come now would begin a "
    "cluster of their own. Nothing was sent."
)
NOT_JOINED = (
    "No other member was added. Look at etcd's log there. Run this stage again once it is healthy, "
    "or take it out by `--stages 80 -p replace=NAME`."
)
STAND_INS = "! these machines are stand-ins: no etcd is told of {}, as it would be (etcd=real)"


@dataclass(frozen=True)
class Joins:
    """Who joins: `new` are addresses by name in their order, `known` those of the members now."""

    etcds: Etcds
    known: tuple[str, ...] = ()
    new: dict[str, str] = field(default_factory=dict)
    asked: bool = True  # False for stand-ins

    @property
    def lists(self) -> dict[str, tuple[str, ...]]:
        """The addresses of all members once a machine has joined, its own last, by its name."""
        found, members = {}, list(self.known)
        for name, address in self.new.items():
            members = [a for a in members if a != address] + [address]
            found[name] = tuple(members)
        return found


def look(etcds: Etcds, shell: Shell, work_dir: str, written: Written, networks: Networks) -> Joins:
    """Return which of the members that do not run are to join a cluster that runs; none at first.

    Raises CheckFailed where etcd lists a member whose machine is gone, where the members elect no
    leader although they could, and where more members are wanted than the cluster began with, but
    none can be asked, or none is healthy.
    """
    etcds = replace(etcds, text=written.text)
    ours, there = etcds.ours, etcds.ours.machines()
    idle = [n for n in ours.members if there.get(n, {}).get("state") != "Running"]
    if etcd.is_old(written.text) or not idle or not any(n in there for n in ours.members):
        return Joins(etcds)
    noted = notes.read(shell, work_dir)
    begun = (noted.get("config") or {}).get("size", len(ours.members))
    begun = 0 if noted.get("changed") else begun
    beyond, seen = ours.members[begun:], etcds.look()
    if seen.listed:
        return _joins(etcds, seen, idle, written, networks)
    if seen.can_elect and not all(n in there for n in idle):
        raise CheckFailed("a leader of the etcd members that run", "one", "none", LEADERLESS)
    wanted = [n for n in idle if n in beyond]
    if seen.on_no_network and wanted:
        known = tuple(address_of(there[n]) for n in ours.members if n in there)
        print(STAND_INS.format(", ".join(wanted)))
        own = dict(zip(ours.members, written.addresses, strict=False))
        has = {n: address_of(there.get(n, {})) or own.get(n, "") for n in wanted}
        return Joins(etcds, known, _addresses(ours, has, networks), asked=False)
    if wanted and seen.unknown:
        raise CheckFailed(f"the etcd of {seen.unknown[0]}", "an answer", "none from here", UNASKED)
    if wanted:
        what = f"healthy members, which {', '.join(wanted)} could join"
        raise CheckFailed(what, "more than half", "none", LEADERLESS)
    return Joins(etcds)


def _joins(
    etcds: Etcds, seen: Seen, idle: list[str], written: Written, networks: Networks
) -> Joins:
    known = tuple(m.address for m in seen.listed)
    unstarted = {m.address for m in seen.listed if not m.started}
    own = dict(zip(etcds.ours.members, written.addresses, strict=False))
    if set(known) == set(own.values()) and all(own.get(n) in unstarted or n in seen.machines
                                               for n in idle):  # fmt: skip
        return Joins(etcds)  # the cluster began with these, and waits for the others
    started = {m.address for m in seen.listed if m.started}
    late = [n for n in idle if address_of(seen.machines.get(n, {})) not in started]
    has = {n: address_of(seen.machines.get(n, {})) or own.get(n, "") for n in late}
    without = [m.address for m in seen.gone() if m.address not in unstarted & {*has.values()}]
    # One that was added for a machine that never came is there for the next one.
    for name in [n for n in late if not has[n]]:
        if adopted := [a for a in without if a in unstarted]:
            has[name] = adopted[0]
            without.remove(adopted[0])
    if without:
        what, found = "members of etcd that are no machine", ", ".join(without)
        raise CheckFailed(what, "none", found, REPLACE)
    return Joins(etcds, known, _addresses(etcds.ours, has, networks))


def rows(
    etcds: Etcds, shell: Shell, work_dir: str, networks: Networks, config_delivery: str
) -> list[Tick]:
    """Return a row on the members that join a cluster that runs, none where none does."""
    what = "members that join"
    return asked(what, _row, etcds, shell, work_dir, networks, config_delivery)


def _row(
    etcds: Etcds, shell: Shell, work_dir: str, networks: Networks, config_delivery: str
) -> str | list:
    written = read(shell, work_dir)
    joins = look(etcds, shell, work_dir, written, networks)
    userdata.demand_given(config_delivery, joins.lists)
    return ", ".join(f"{n} at {a}" for n, a in joins.new.items()) or []


def _addresses(ours: Ours, has: dict[str, str], networks: Networks) -> dict[str, str]:
    """Return the address of each: the one that it `has`, else a free one."""
    found, lacking = dict(has), [n for n, a in has.items() if not a]
    for zone in dict.fromkeys(map(ours.zone_of, lacking)):
        here = [n for n in lacking if ours.zone_of(n) == zone]
        place = addresses.network_of(ours.cloud, zone, networks.get(zone, ""))
        found |= zip(here, addresses.free_addresses(ours.cloud, place, len(here)), strict=True)
    return found


def plan(joins: Joins) -> list[Step]:
    """Return the steps that tell etcd of its new members."""
    if not joins.asked:
        return []
    why = "the cluster runs: it is told before its new member starts"
    return [
        Step("member add", {"peer": f"http://{a}:{PEER_PORT}"}, why, n)
        for n, a in joins.new.items()
        if a not in joins.known
    ]


def apply(joins: Joins, how: Boot, boots: list[Step]) -> None:
    """Add each member and start it; the next one follows when it is a healthy member.

    One that cannot be started is taken out again. Raises CheckFailed when one does not become a
    member in time, or etcd takes none.
    """
    for step in boots:
        name, address = step.what, joins.new[step.what]
        if joins.asked:
            joins.etcds.add(name, address, how.within)
        try:
            boot(how, [step])
        except CloudError:
            _take_back(joins, name, address, how.within)
            raise
        if joins.asked and not joins.etcds.settled(
            lambda seen, at=address: at in seen.healthy(), f"{name} to join", how.within
        ):
            raise CheckFailed(f"the etcd of {name}", "a healthy member", "not in time", NOT_JOINED)


def _take_back(joins: Joins, name: str, address: str, within: float) -> None:
    if not joins.asked or address in joins.known:
        return
    member = next((m for m in joins.etcds.look().listed if m.address == address), None)
    if member and not member.started:
        joins.etcds.remove(member, name, within)
