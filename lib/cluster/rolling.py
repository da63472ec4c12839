"""Rolling: machines reboot one at a time, the next one when the last is back in the cluster."""

import base64
from dataclasses import dataclass, field
from functools import partial

from lib import config
from lib.cloud import Cloud
from lib.cluster import etcd, login, turns, verify
from lib.cluster.login import Node
from lib.cluster.turns import Turn
from lib.config import discovery, registered
from lib.errors import CheckFailed
from lib.jobs import awaited
from lib.ours import Ours
from lib.plan import apply as send
from lib.steps import Step
from lib.waiting import tell
from lib.workstation import notes
from lib.workstation.shell import Shell

ALONE = "No other machine was rebooted. Look at etcd's log on it, then run this stage again."
ELECTION = 30  # seconds that members are given to agree on a leader
KNOWN = ("healthy", *verify.STATES, etcd.AWAY)


@dataclass(frozen=True)
class Rolling:
    """How the machines `seen` are rolled: notes go into `work_dir` on the workstation (`shell`).

    `within` is how many seconds one machine may take; `turns` are those that machines had.
    """

    ours: Ours
    shell: Shell
    work_dir: str
    seen: list[Node]
    within: float
    turns: list[Turn] = field(default_factory=list)

    @property
    def cloud(self) -> Cloud:
        """The cloud of the machines."""
        return self.ours.cloud

    @property
    def members(self) -> list[Node]:
        """The machines whose etcds are members."""
        return [n for n in self.seen if n.name in self.ours.members]

    def in_order(self, forms: bool) -> list[Node]:
        """Return the machines in the order in which they reboot: those first that are no members.

        Where no cluster has formed yet they come last: they would take the members' places.
        """
        return sorted(self.seen, key=lambda n: (n.name in self.ours.members) == forms)


def answers(how: Rolling) -> dict[str, etcd.Answer]:
    """Ask the etcd of each machine, from here or on the machine itself."""
    found = {n.name: n.address for n in how.seen}
    shells = {n.name: n.shell for n in how.seen if n.shell}
    return etcd.ask_all(how.cloud, found, how.seen[0].text, shells)


def apply(how: Rolling, then: list[Step]) -> None:
    """Give each machine its text and reboot it, the next one when it is back in the cluster.

    User data are registered before, and those that no machine has any more deleted at the end.
    Raises CheckFailed when the others could not keep the quorum meanwhile, or one does not come
    back in time; then nothing more is rebooted.
    """
    if not then:
        return
    before = answers(how)
    demand_known(before)
    if registers := [s for s in then if s.command == "registerUserData"]:
        send(how.cloud, registers, "apply", within=how.within)
        then = registered.settled(how.cloud, then)
    forms = any(a.state in ("healthy", "unhealthy") for a in before.values())
    for node in how.in_order(forms):
        if mine := [s for s in then if s.what == node.name]:
            with turns.turn(how.turns, node.name, how.cloud.clock) as reached:
                now = _with_quorum(how, node) if forms else before
                reached("quorum")
                _give_all(how, node, mine)
                reached("given")
                _await(how, node, now[node.name].started if forms else None)
                reached("back")
    gone = [s for s in then if s.command == "deleteUserData"]
    if gone:
        send(how.cloud, gone, "apply", within=how.within)


def _await(how: Rolling, node: Node, started: str | None) -> None:
    """Wait until a machine is back; `started` is when its etcd did, None before there is one."""
    back = partial(_is_registered, how, node)
    if started is not None:
        back = partial(_is_member, how, node, started)
    if not awaited(how.cloud, back, f"{node.name} to be back in the cluster", how.within):
        raise CheckFailed(node.name, "back in the cluster", "not in time", ALONE)
    _note_booted(how, node.name)


def _give_all(how: Rolling, node: Node, steps: list[Step]) -> None:
    unbooted = notes.read(how.shell, how.work_dir).get("unbooted") or []
    notes.update(how.shell, how.work_dir, unbooted=[*unbooted, node.name])
    login.settle(node)
    for step in steps:
        if step.command == "rewrite":
            _write(how, node, step)
            tell("done", step.command, f"{step.params['file']} on {node.name}", step.why)
        else:
            send(how.cloud, [step], "apply", within=how.within)


def _write(how: Rolling, node: Node, step: Step) -> None:
    try:
        login.write(node, base64.b64decode(step.params["text"]))
    except CheckFailed:
        _note_booted(how, node.name)  # it is as it was, and need not boot
        raise


def demand_known(before: dict[str, etcd.Answer]) -> None:
    """Raise CheckFailed unless the etcd of every machine could be asked, be it alive or not."""
    unknown = [n for n, a in before.items() if a.state not in KNOWN]
    if unknown:
        raise CheckFailed(
            f"the etcd of {', '.join(unknown)}", "one that can be asked", before[unknown[0]].state,
            "Without it nobody knows whether the quorum holds: set machine_user. Nothing was sent.",
        )  # fmt: skip


def _with_quorum(how: Rolling, node: Node) -> dict[str, etcd.Answer]:
    """Return what the etcds say once the cluster can spare a machine; they may be electing."""
    voters = {n.name for n in how.members}

    def holds() -> bool:
        now = answers(how)
        others = sum(now[n].state == "healthy" for n in voters - {node.name})
        return others >= least

    least = min(len(voters) // 2 + 1, len(voters - {node.name}))
    what = f"a quorum without {node.name}"
    if not awaited(how.cloud, holds, what, min(how.within, ELECTION)):
        raise CheckFailed(
            f"healthy members while {node.name} reboots", f"{least} or more", "fewer",
            "Run 60-verify-cluster, bring the others back, then run this stage again.",
        )  # fmt: skip
    return answers(how)


def _is_member(how: Rolling, node: Node, before: str) -> bool:
    """Tell whether a machine's etcd is another process than before, and in its place again."""
    answer = answers(how)[node.name]
    if node not in how.members and answer.state in etcd.OTHERS:
        return True
    new = not before or answer.started != before
    return new and answer.state == "healthy" and {n.address for n in how.members} <= answer.members


def _is_registered(how: Rolling, node: Node) -> bool:
    """Tell whether a machine of a cluster that had not formed yet waits for the others."""
    written = config.read(how.shell, how.work_dir)
    if written.addresses or node not in how.members:
        return True
    return node.address in (discovery.members(written.url) or {}).values()


def _note_booted(how: Rolling, name: str) -> None:
    unbooted = notes.read(how.shell, how.work_dir).get("unbooted") or []
    left = [n for n in unbooted if n != name]
    notes.update(how.shell, how.work_dir, unbooted=left or None)
