"""Reconfiguring: another configuration for machines that run, the old one kept.

The text is written on the workstation first, then given to each machine: into the file that it
reads at every boot, or as its user data at the cloud.
"""

import shlex
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from lib import config
from lib.cloud import Cloud
from lib.cluster import login, rolling, turns
from lib.cluster.login import Access, Node
from lib.config import Config, Text, difference, discovery, registered, role_file
from lib.config import userdata as data
from lib.errors import CheckFailed, ParamsError
from lib.machines import stem_of
from lib.ours import Ours
from lib.plan import check_mode
from lib.steps import Step
from lib.waiting import present, tell
from lib.workstation import notes
from lib.workstation.files import journalled, settle_files, sha256, workstation
from lib.workstation.shell import Shell, find_text, run

MOVE = "move to a new token"
OLD_SERVER = 'one that shows a machine\'s user data (4.18 or newer), or config_delivery "disk"'
AGAIN = "Nothing was changed. Run this stage again from Plan, and read what it shows."


@dataclass(frozen=True)
class Target:
    """What the machines of a cluster are to be configured with.

    With `each` their user data also set their host names; with a `role` only its machines are
    changed. A new `move` is a word that asks for a
    new token, once a word; a move that was cut off goes on in any case.
    """

    ours: Ours
    access: Access
    shell: Shell  # of the workstation
    work_dir: str
    config: Config
    each: bool = False
    move: str = ""
    role: str = ""

    @property
    def files(self) -> dict[str, str]:
        """The files with the texts of the machines, by what these names begin with."""
        kinds = [r for r in self.ours.roles if not self.role or r.name == self.role]
        name, file = self.ours.cluster_name, self.config.form.cluster_file
        return {r.stem(name): role_file(r.name) for r in kinds} or {name: file}


@dataclass(frozen=True)
class Plan:
    """What is done: `first` on the workstation, `then` to the machines, in their order.

    `texts` are what the machines (`seen`) are to be configured with, by name. Where there is a new
    token to be asked for, `<token>` stands for it.
    """

    first: list[Step]
    then: list[Step]
    seen: list[Node]
    texts: dict[str, str]

    @property
    def steps(self) -> list[Step]:
        """All steps in their order."""
        return self.first + self.then


def demand_possible(target: Target) -> None:
    """Raise CheckFailed or ParamsError for a cluster that cannot be reconfigured in place."""
    form, cloud = target.config.form, target.ours.cloud
    if form.format == "ignition":
        raise CheckFailed("config_format", "cloud-config", "ignition", login.FIRST_BOOT)
    if form.delivery == "disk" and not target.access.user:
        raise ParamsError("machine_user", 'who logs in to the machines, such as "core"', "")
    if form.delivery == "userdata" and not cloud.can_keep_user_data:
        raise CheckFailed("this server", OLD_SERVER, ".".join(map(str, cloud.version)))
    if target.move and target.role:
        wanted = '"" with move_discovery, as a token is for all machines'
        raise ParamsError("role", wanted, target.role)
    if target.move and target.config.bootstrap.service == discovery.STATIC:
        wanted = '"" with discovery "static", which has none'
        raise ParamsError("move_discovery", wanted, target.move)


def plan(target: Target) -> Plan:
    """Look at the workstation and the machines, and return what is left to be done.

    Raises CheckFailed when the cluster was made with another `config_format` or `config_delivery`,
    and when a machine does not run or cannot be asked.
    """
    wanted = target.ours.names_of(target.role)
    seen = login.look(target.ours, target.access, target.config.form.delivery)
    first = _plan_text(target)
    new = {s.what: s.params["text"] for s in first}
    written = {s: config.read(target.shell, target.work_dir, f) for s, f in target.files.items()}
    intended = {stem: new.get(there.where, there.text) for stem, there in written.items()}
    mine = [n for n in seen if n.name in wanted]
    texts = {n.name: _own_text(n, intended[stem_of(n.name)], target.each) for n in mine}
    apart = target.each or any(map(data.differs, intended.values()))
    return Plan(first, _plan_machines(target, mine, texts, apart), seen, texts)


def _plan_text(target: Target) -> list[Step]:
    """Return the steps that write the texts on the workstation, none where they are there."""
    shell, work_dir, wanted = target.shell, target.work_dir, target.config
    noted, name = notes.read(shell, work_dir), wanted.form.cluster_file
    notes.demand_of(wanted.bootstrap.cluster, noted, work_dir)
    texts = wanted.texts()
    names = [n for n in texts if n != wanted.form.disk_file or n == name]
    if target.role:
        names = list(target.files.values())
    wanted.form.demand_places(noted)
    there = config.read(shell, work_dir, name)
    begun = (noted.get("moving") or {}).get("word")
    if word := begun or (target.move if noted.get("moved") != target.move else ""):
        why = "it was begun, and is to be ended" if begun else "the parameters ask for a new token"
        step = wanted.step(name, there.where, why)
        move = replace(step, command=MOVE, params=step.params | {"word": word})
        return [move, *(_rewrite(target, n, texts[n]) for n in names if n != name)]
    steps, texts = [], wanted.texts(there.url)
    for one in names:
        found = config.read(shell, work_dir, one)
        config.demand_present(found)
        if found.text != texts[one]:
            steps.append(_rewrite(target, one, texts[one]))
    return steps


def _rewrite(target: Target, name: str, text: Text) -> Step:
    why = "the parameters say other lines"
    return Step("rewrite", {"text": text}, why, f"{target.work_dir}/{name}")


def _plan_machines(
    target: Target, seen: list[Node], texts: dict[str, str], apart: bool
) -> list[Step]:
    """Return the steps for the machines, in their order: the new text, and a reboot after it.

    User data are registered first where the cloud can do that, and what was registered for none
    but these machines goes at the end. A machine that was given its text, but was not seen to
    boot, is rebooted. With `apart` each machine has user data of its own.
    """
    cloud, cluster = target.ours.cloud, target.ours.cluster_name
    unbooted = notes.read(target.shell, target.work_dir).get("unbooted") or []
    others = [n for n in seen if _differs(n, texts[n.name])]
    steps, given = _plan_given(cloud, others, texts, cluster, apart)
    for node in seen:
        if node in others:
            steps.append(given[node.name])
        if node in others or node.name in unbooted:
            why = "it reads its configuration when it boots"
            steps.append(Step("rebootVirtualMachine", {"id": node.machine["id"]}, why, node.name))
    if target.role or all(node.file for node in seen):
        return steps
    wanted = {data.encoded(t) for t in texts.values()}
    return steps + registered.plan_stale(cloud, cluster, wanted)


def _own_text(node: Node, intended: str, each: bool) -> str:
    if node.file:
        return intended
    return data.text_for(
        config.as_first_started(intended, node.text), node.name, node.address, each
    )


def _differs(node: Node, own_text: str) -> bool:
    return node.text.rstrip("\n") != own_text.rstrip("\n")


def _plan_given(
    cloud: Cloud, nodes: list[Node], texts: dict[str, str], cluster: str, apart: bool
) -> tuple[list[Step], dict[str, Step]]:
    """Return the steps that register user data, and the step that gives each machine its text.

    A machine keeps the id of registered user data when it is given others as text, so that those
    can never be deleted: it is given the id of the new ones.
    """
    why = "it is configured with other lines"
    files = [n for n in nodes if n.file]
    given = {n.name: _write(n, texts[n.name], why) for n in files}
    by_userdata = [n for n in nodes if not n.file]
    names = {n.name: n.name if apart else stem_of(n.name) for n in by_userdata}
    new = {names[n.name]: data.encoded(texts[n.name]) for n in by_userdata}
    steps, params = [], {name: {"userdata": new[of]} for name, of in names.items()}
    if by_userdata and cloud.may_register:
        steps, ids = registered.plan_register(cloud, cluster, new, anew=True)
        params = {name: {"userdataid": ids[of]} for name, of in names.items()}
    for n in by_userdata:
        changed = {"id": n.machine["id"]} | params[n.name]
        given[n.name] = Step("updateVirtualMachine", changed, why, n.name)
    return steps, given


def _write(node: Node, intended: str, why: str) -> Step:
    return Step("rewrite", {"file": node.file, "text": data.exactly(intended)}, why, node.name)


def changed_lines(plan: Plan) -> str:
    """Return the lines that differ on each machine, tokens masked."""
    shown = []
    for node in (n for n in plan.seen if n.name in plan.texts):
        if _differs(node, plan.texts[node.name]):
            lines = [t.rstrip("\n") for t in (node.text, plan.texts[node.name])]
            shown.append(f"{node.name}\n{difference(*lines, ('now', 'wanted'))}")
    return "\n\n".join(shown) or "no machine is configured with other lines"


def apply(target: Target, plan: Plan, mode: str, *, within: float) -> None:
    """Carry out a plan as it was shown: write the text, then roll it out to the machines.

    A new token is asked for, and filled in. `within` is how many seconds one machine may take.
    Raises CheckFailed with the difference when the plan would be another one by now.
    """
    check_mode(mode)
    if not plan.steps:
        return print("Nothing to do.")
    if mode == "plan":
        return print(f"Plan mode: {len(plan.steps)} steps, none applied.")
    settle_files(target.shell, workstation(target.shell))
    _demand_unchanged(target, plan)
    _apply_text(target.shell, target.work_dir, plan.first)
    how = rolling.Rolling(target.ours, target.shell, target.work_dir, plan.seen, within)
    try:
        rolling.apply(how, _filled(target, plan))
    finally:
        present(*turns.picture(how.turns))


def _demand_unchanged(target: Target, shown: Plan) -> None:
    now = plan(target).steps
    if now == shown.steps:
        return
    texts = ["\n".join(f"{s.command} {s.what} {s.params}" for s in p) for p in (shown.steps, now)]
    lines = difference(*texts, ("shown", "now"))
    raise CheckFailed(f"The plan is no longer the one shown:\n{lines}\n", next_step=AGAIN)


def _filled(target: Target, plan: Plan) -> list[Step]:
    """Return the steps for the machines with the token that the workstation holds now."""
    if not any(s.command == MOVE for s in plan.first):
        return plan.then
    url = config.read(target.shell, target.work_dir).url
    return registered.filled(plan.then, lambda text: text.replace(target.config.url, url))


def _apply_text(shell: Shell, work_dir: str, first: list[Step]) -> None:
    """Write the text on the workstation, the old one kept beside it with its date.

    An etcd that has formed a cluster does not look at a new token: it is for those that have yet
    to form one. May be called again after it was cut off.
    """
    for step in first:
        config.demand_valid(step.params["text"])
        if step.command == MOVE:
            _move(shell, step, work_dir)
        else:
            text = config.filled(shell, work_dir, step.params["text"])
            config.replace_text(shell, step.what, text)
        tell("done", step.command, step.what, step.why)


def _move(shell: Shell, step: Step, work_dir: str) -> None:
    moving = notes.read(shell, work_dir).get("moving") or {}
    if moving.get("word") != step.params["word"]:
        moving = {"word": step.params["word"], "old": config.dated(shell, step.what)}
        file = PurePosixPath(step.what).name
        notes.update(shell, work_dir, moving=moving, config={"file": file})
    _set_aside(shell, step.what, moving["old"])
    if find_text(shell, step.what) is None:
        config.apply_write(shell, [replace(step, command="write")], "apply", work_dir)
    notes.update(shell, work_dir, moving=None, moved=step.params["word"])


def _set_aside(shell: Shell, where: str, old: str) -> None:
    """Move a file to another name, unless that has been done."""
    text = find_text(shell, where)
    if text is None or find_text(shell, old) is not None:
        return
    details = {"file": where, "before": sha256(text), "after": "", "kept": old}
    with journalled(workstation(shell), "move", f"{where} on {shell.name}", details) as ended:
        run(shell, f"mv -- {shlex.quote(where)} {shlex.quote(old)}")
        ended["text"] = f"it is kept as {old}"
