"""Leaving: machines are taken out of etcd, then destroyed, one after the other.

These are the ones beyond the cluster's size, the highest number first, and one that is to be
replaced. Where the cloud would hold a machine's name it is renamed before, so that the name is free
for the next machine: `core-2` becomes `core-2-` and the beginning of its id.
"""

from dataclasses import dataclass, replace

from lib.cluster import etcd, left
from lib.cluster.etcd import AWAY, Member
from lib.cluster.membership import UNASKED, Etcds, Seen
from lib.config import Written
from lib.errors import CheckFailed, ParamsError
from lib.machines import plan_destroy, stem_of
from lib.ours import Ours
from lib.plan import apply as send
from lib.plan import check_mode
from lib.steps import Id, Step
from lib.workstation import notes
from lib.workstation.shell import Shell

LEADERLESS = (
    "Without a leader etcd lets no member go: bring back the machines of more than half of the "
    "members first (60-verify-cluster). Nothing was sent."
)
WELL = "{} runs, and its etcd is {}: it is not replaced. Stop the machine first to have it replaced"
STAND_INS = "! these machines are stand-ins: no etcd is asked or told, as it would be (etcd=real)"
SURPLUS, BROKEN = "beyond cluster_size", "to be replaced"


@dataclass(frozen=True)
class Leaving:
    """Which machines leave: those beyond the cluster's size, and the one to `replace`, "" for none.

    `shell` and `work_dir` are the workstation's with the text that configures the etcds.
    """

    etcds: Etcds
    shell: Shell
    work_dir: str
    replace: str = ""

    @property
    def ours(self) -> Ours:
        """The cluster."""
        return self.etcds.ours


def plan(how: Leaving, written: Written) -> list[Step]:
    """Return the steps, in their order; raise CheckFailed where nobody knows whether they may be.

    Raises ParamsError for a machine to replace that is none of the cluster's.
    """
    ours = how.ours
    if how.replace and how.replace not in ours.names:
        raise ParamsError("replace", f"one of {', '.join(ours.names)}", how.replace)
    seen = replace(how.etcds, text=written.text).look()
    mine = seen.machines
    leaving = sorted((n for n in mine if _is_surplus(ours, n)), key=_number, reverse=True)
    half_done = [r for r in ours.own(left.leavers(ours)) if r["state"] != "Destroyed"]
    steps = [plan_destroy(ours.cloud, r, "it was renamed to be removed") for r in half_done]
    if how.replace:
        may_be_none = etcd.is_old(written.text) or how.replace not in ours.members
        broken = _is_broken(seen, how.replace, may_be_none)
        leaving = [how.replace, *leaving] if broken else leaving
    if leaving:
        _demand_known(seen)
    for name in leaving:
        why = BROKEN if name == how.replace else SURPLUS
        steps += _plan_one(how, seen, name, mine.get(name), written, why)
    return steps


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


def _is_surplus(ours: Ours, name: str) -> bool:
    """Tell whether a machine has a higher number than the last one of its role is to have.

    Of a role that is not known any more none is: that may be a parameter left out by mistake.
    """
    numbers = [_number(n) for n in ours.names if stem_of(n) == stem_of(name)]
    known = [r.stem(ours.cluster_name) for r in ours.roles] or [ours.cluster_name]
    return stem_of(name) in known and _number(name) > max(numbers, default=0)


def _is_broken(seen: Seen, name: str, may_be_none: bool) -> bool:
    """Tell whether a machine may be replaced: it does not run, or its etcd is not as it should.

    Of 2014, and beyond `etcd_members`, it `may_be_none` of the members.
    """
    machine, answer = seen.machines.get(name), seen.answers.get(name)
    if not machine or machine["state"] != "Running" or not answer:
        return True
    if name in seen.unknown:
        raise CheckFailed(f"the etcd of {name}", "an answer", answer.state, UNASKED)
    if answer.state in ("healthy", AWAY, *(etcd.OTHERS if may_be_none else ())):
        print(f"✓ {WELL.format(name, answer.state)}")
        return False
    return True


def _demand_known(seen: Seen) -> None:
    """Raise CheckFailed where no etcd can be asked that could let a member go."""
    if seen.on_no_network:
        return print(STAND_INS)
    if seen.unknown:
        name = seen.unknown[0]
        raise CheckFailed(f"the etcd of {name}", "an answer", seen.answers[name].state, UNASKED)
    if not seen.listed:
        raise CheckFailed("healthy members of etcd", "more than half", "none", LEADERLESS)


def _plan_one(
    how: Leaving, seen: Seen, name: str, machine: dict | None, written: Written, why: str
) -> list[Step]:
    """Return the steps for one machine, or for the member that is left of one."""
    member = seen.member_of(name) if machine else _left_of(how.ours, seen, name, written)
    takes_out = []
    if member:
        params = {"member": f"{member.address}, id {member.id}".removesuffix(", id ")}
        takes_out = [Step("member remove", params, f"its machine is {why}", name)]
    if not machine:
        return takes_out
    removes = _plan_removal(how.ours, machine, f"it is {why}")
    return removes + takes_out if etcd.is_old(written.text) else takes_out + removes


def _left_of(ours: Ours, seen: Seen, name: str, written: Written) -> Member | None:
    """Return the member whose machine is gone: at its fixed address, else the only one gone."""
    gone = seen.gone()
    fixed = dict(zip(ours.members, written.addresses, strict=False)).get(name)
    if at := [m for m in gone if m.address == fixed]:
        return at[0]
    if len(gone) > 1:
        found = ", ".join(m.address for m in gone)
        next_step = "Take out the others yourself (`etcdctl member remove`), then run this again."
        raise CheckFailed(f"the member that was {name}", "one without a machine", found, next_step)
    return gone[0] if gone else None


def _plan_removal(ours: Ours, machine: dict, why: str) -> list[Step]:
    """Return the steps that rename a machine where the cloud would hold its name, and destroy it.

    Whether a name is free again goes by `what` of the last step.
    """
    new = left.leaving_name(machine)
    if ours.cloud.may_expunge or not ours.cloud.can_rename or not new:
        return [plan_destroy(ours.cloud, machine, why)]
    params = {"id": Id.of(machine), "name": new, "displayname": new}
    frees = "the cloud holds the name of a destroyed machine for a day or two"
    rename = Step("updateVirtualMachine", params, frees, machine["name"])
    return [rename, replace(plan_destroy(ours.cloud, machine, why), what=new)]


def apply(how: Leaving, steps: list[Step], written: Written, mode: str, *, within: float) -> None:
    """Carry out the steps one after the other; in plan mode none.

    Before each member that leaves the others must keep the quorum: else CheckFailed, and nothing
    more is done.
    """
    check_mode(mode)
    if mode == "plan" or not steps:
        return send(how.ours.cloud, steps, mode)
    etcds = replace(how.etcds, text=written.text)
    old = etcd.is_old(written.text)
    for step in steps:
        if step.command == "member remove":
            _take_out(how, etcds, step, within)
            continue
        if old and step.command == "destroyVirtualMachine":
            _demand_spare(etcds, step, within)
        send(how.ours.cloud, [step], mode, within=within)


def _take_out(how: Leaving, etcds: Etcds, step: Step, within: float) -> None:
    address = step.params["member"].partition(",")[0]
    seen = etcds.look()
    _demand_known(seen)
    member = next((m for m in seen.listed if m.address == address), None)
    if member:
        notes.update(how.shell, how.work_dir, changed=True)
        etcds.remove(member, step.what, within)


def _demand_spare(etcds: Etcds, step: Step, within: float) -> None:
    """Demand a quorum without a machine: an etcd 0.4 that is taken out first would come back."""
    seen = etcds.look()
    _demand_known(seen)
    names = [n for n, m in seen.machines.items() if str(m["id"]) == str(step.params["id"])]
    if member := seen.member_of(names[0]) if names else None:
        etcds.spare(member, names[0], within)
