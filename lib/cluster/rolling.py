"""Rolling: machines reboot one at a time, the next one when the last is back in the cluster."""

import base64
from functools import partial

from lib import config
from lib.cloud import Cloud
from lib.cluster import etcd, login, verify
from lib.cluster.login import Node
from lib.config import discovery, registered
from lib.errors import CheckFailed
from lib.jobs import awaited
from lib.plan import apply, check_mode
from lib.steps import Step
from lib.waiting import tell
from lib.workstation import notes
from lib.workstation.shell import Shell

ALONE = "No other machine was rebooted. Look at etcd's log on it, then run this stage again."
ELECTION = 30  # seconds that members are given to agree on a leader
KNOWN = ("healthy", *verify.STATES, etcd.AWAY)


def answers(cloud: Cloud, seen: list[Node]) -> dict[str, etcd.Answer]:
    """Ask the etcd of each machine, from here or on the machine itself."""
    meant = {n.name: n.address for n in seen}
    shells = {n.name: n.shell for n in seen if n.shell}
    return etcd.ask_all(cloud, meant, seen[0].text, shells)


def apply_plan(
    cloud: Cloud, shell: Shell, seen: list[Node], then: list[Step], mode: str, *, work_dir: str,
    within: float,
) -> None:  # fmt: skip
    """Give each machine its text and reboot it, the next one when it is back in the cluster.

    User data are registered before, and those that no machine has any more deleted at the end.
    Raises CheckFailed when the others could not keep the quorum meanwhile, or one does not come
    back within `within` seconds; then nothing more is rebooted.
    """
    check_mode(mode)
    if mode == "plan" or not then:
        return print("Plan mode: nothing was sent." if then else "Nothing to do.")
    before = answers(cloud, seen)
    demand_known(before)
    if registers := [s for s in then if s.command == "registerUserData"]:
        apply(cloud, registers, "apply", within=within)
        then = registered.settled(cloud, then)
    forms = any(a.state in ("healthy", "unhealthy") for a in before.values())
    for node in seen:
        mine = [s for s in then if s.what == node.name]
        if not mine:
            continue
        now = _with_quorum(cloud, seen, node, within) if forms else before
        _give_all(cloud, shell, node, mine, work_dir, within)
        back = partial(_is_registered, shell, node, work_dir)
        if forms:
            back = partial(_is_member, cloud, seen, node, now[node.name].started)
        if not awaited(cloud, back, f"{node.name} to be back in the cluster", within):
            raise CheckFailed(node.name, "back in the cluster", "not in time", ALONE)
        _note_booted(shell, work_dir, node.name)
    apply(cloud, [s for s in then if s.command == "deleteUserData"], "apply", within=within)


def _give_all(
    cloud: Cloud, shell, node: Node, steps: list[Step], work_dir: str, within: float
) -> None:
    unbooted = notes.read(shell, work_dir).get("unbooted") or []
    notes.update(shell, work_dir, unbooted=[*unbooted, node.name])
    login.settle(node)
    for step in steps:
        if step.command == "rewrite":
            _write(shell, node, step, work_dir)
            tell("done", step.command, f"{step.params['file']} on {node.name}", step.why)
        else:
            apply(cloud, [step], "apply", within=within)


def _write(shell: Shell, node: Node, step: Step, work_dir: str) -> None:
    try:
        login.write(node, base64.b64decode(step.params["text"]))
    except CheckFailed:
        _note_booted(shell, work_dir, node.name)  # it is as it was, and need not boot
        raise


def demand_known(before: dict[str, etcd.Answer]) -> None:
    """Raise CheckFailed unless the etcd of every machine could be asked, be it alive or not."""
    unknown = [n for n, a in before.items() if a.state not in KNOWN]
    if unknown:
        raise CheckFailed(
            f"the etcd of {', '.join(unknown)}", "one that can be asked", before[unknown[0]].state,
            "Without it nobody knows whether the quorum holds: set machine_user. Nothing was sent.",
        )  # fmt: skip


def _with_quorum(
    cloud: Cloud, seen: list[Node], node: Node, within: float
) -> dict[str, etcd.Answer]:
    """Return what the etcds say once the cluster can spare a machine; they may be electing."""

    def holds() -> bool:
        now = answers(cloud, seen)
        others = sum(a.state == "healthy" for n, a in now.items() if n != node.name)
        return others >= least

    least = min(len(seen) // 2 + 1, len(seen) - 1)
    if not awaited(cloud, holds, f"a quorum without {node.name}", min(within, ELECTION)):
        raise CheckFailed(
            f"healthy members while {node.name} reboots", f"{least} or more", "fewer",
            "Run 60-verify-cluster, bring the others back, then run this stage again.",
        )  # fmt: skip
    return answers(cloud, seen)


def _is_member(cloud: Cloud, seen: list[Node], node: Node, before: str) -> bool:
    """Tell whether a machine's etcd is another process than before, and a healthy member."""
    answer = answers(cloud, seen)[node.name]
    new = not before or answer.started != before
    return new and answer.state == "healthy" and {n.address for n in seen} <= answer.members


def _is_registered(shell: Shell, node: Node, work_dir: str) -> bool:
    """Tell whether a machine of a cluster that had not formed yet waits for the others."""
    written = config.read(shell, work_dir)
    if written.addresses:
        return True
    return node.address in (discovery.members(written.url) or {}).values()


def _note_booted(shell: Shell, work_dir: str, name: str) -> None:
    left = [n for n in notes.read(shell, work_dir).get("unbooted") or [] if n != name]
    notes.update(shell, work_dir, unbooted=left or None)
