"""Reconfiguring: another configuration for machines that run, the old one kept.

What is wanted is written on the workstation first, then given to each machine: into the file that
it reads at every boot, or as its user data at the cloud.
"""

import shlex
from dataclasses import replace
from pathlib import PurePosixPath

from lib import config
from lib.cloud import Cloud
from lib.cluster import login
from lib.cluster.login import Node
from lib.config import Config, Written, difference, registered
from lib.config import userdata as data
from lib.errors import CheckFailed, ParamsError
from lib.plan import check_mode
from lib.steps import Step
from lib.waiting import tell
from lib.workstation import notes
from lib.workstation.files import journalled, settle_files, sha256, workstation
from lib.workstation.shell import Shell, find_text, read_text, run

NAMES = ("now", "wanted")
MOVE = "move to a new token"
OLD_SERVER = 'one that tells a machine\'s user data (4.18 or newer), or config_delivery "disk"'


def demand_possible(
    cloud: Cloud, *, config_format: str, config_delivery: str, machine_user: str,
    move_discovery: str, discovery: str,
) -> None:  # fmt: skip
    """Raise CheckFailed or ParamsError for a cluster that cannot be reconfigured in place."""
    if config_format == "ignition":
        raise CheckFailed("config_format", "cloud-config", "ignition", login.FIRST_BOOT)
    if config_delivery == "disk" and not machine_user:
        raise ParamsError("machine_user", 'who logs in to the machines, such as "core"', "")
    if config_delivery == "userdata" and not cloud.can_keep_user_data:
        raise CheckFailed("this server", OLD_SERVER, ".".join(map(str, cloud.version)))
    if move_discovery and discovery == "static":
        raise ParamsError(
            "move_discovery", '"" with discovery "static", which has none', move_discovery
        )


def plan_text(shell: Shell, work_dir: str, wanted: Config, move_discovery: str) -> list[Step]:
    """Return the step that writes what is wanted on the workstation, none if it is there.

    `move_discovery` asks for a new token, once a word; a move that was cut off goes on in any case.
    Raises CheckFailed when the cluster was made with another `config_format` or `config_delivery`.
    """
    noted, name = notes.read(shell, work_dir), wanted.form.cluster_file
    wanted.form.demand_places(noted)
    there = config.read(shell, work_dir, name)
    begun = (noted.get("moving") or {}).get("word")
    if word := begun or (move_discovery if noted.get("moved") != move_discovery else ""):
        why = "it was begun, and is to be ended" if begun else "the parameters ask for a new token"
        step = wanted.step(name, there.where, why)
        return [replace(step, command=MOVE, params=step.params | {"word": word})]
    config.demand_present(there)
    text = wanted.texts(there.url)[name]
    if there.text == text:
        return []
    params = {"text": config.Text(text)}
    return [Step("rewrite", params, "the parameters say other lines", there.where)]


def text(first: list[Step], there: Written) -> str:
    """Return what the machines are to be configured with, once the plan of `plan_text` is done."""
    return first[0].params["text"] if first else there.text


def plan(
    cloud: Cloud,
    shell: Shell,
    seen: list[Node],
    meant: str,
    *,
    work_dir: str,
    cluster: str,
    each: bool,
) -> list[Step]:
    """Return the steps for the machines, in their order: the new text, and a reboot after it.

    With `each` a machine's user data also set its host name. They are registered first where the
    cloud can do that, and what was registered for none but these machines goes at the end. A
    machine that was given its text, but was not seen to boot, is rebooted.
    """
    unbooted = notes.read(shell, work_dir).get("unbooted") or []
    texts = {n.name: _own_text(n, meant, each) for n in seen}
    others = [n for n in seen if _differs(n, texts[n.name])]
    steps, given = _plan_given(cloud, others, texts, cluster, each)
    for node in seen:
        if node in others:
            steps.append(given[node.name])
        if node in others or node.name in unbooted:
            why = "it reads its configuration when it boots"
            steps.append(Step("rebootVirtualMachine", {"id": node.machine["id"]}, why, node.name))
    if all(node.file for node in seen):
        return steps
    wanted = {data.encoded(t) for t in texts.values()}
    return steps + registered.plan_stale(cloud, cluster, wanted)


def _own_text(node: Node, meant: str, each: bool) -> str:
    return data.with_host_name(meant, node.name) if each and not node.file else meant


def _differs(node: Node, own_text: str) -> bool:
    return node.text.rstrip("\n") != own_text.rstrip("\n")


def _plan_given(
    cloud: Cloud, nodes: list[Node], texts: dict[str, str], cluster: str, each: bool
) -> tuple[list[Step], dict[str, Step]]:
    """Return the steps that register user data, and the step that gives each machine its text.

    A machine keeps the id of registered user data when it is given others as text, so that those
    can never be deleted: it is given the id of the new ones.
    """
    why = "it is configured with other lines"
    files = [n for n in nodes if n.file]
    given = {n.name: _write(n, texts[n.name], why) for n in files}
    told = [n for n in nodes if not n.file]
    names = {n.name: n.name if each else cluster for n in told}
    new = {names[n.name]: data.encoded(texts[n.name]) for n in told}
    steps, params = [], {name: {"userdata": new[of]} for name, of in names.items()}
    if told and cloud.may_register:
        steps, ids = registered.plan_register(cloud, cluster, new, anew=True)
        params = {name: {"userdataid": ids[of]} for name, of in names.items()}
    for n in told:
        changed = {"id": n.machine["id"]} | params[n.name]
        given[n.name] = Step("updateVirtualMachine", changed, why, n.name)
    return steps, given


def _write(node: Node, meant: str, why: str) -> Step:
    return Step("rewrite", {"file": node.file, "text": data.exactly(meant)}, why, node.name)


def changed_lines(seen: list[Node], meant: str, *, each: bool) -> str:
    """Return the lines that differ on each machine, tokens masked."""
    shown = []
    for node in seen:
        own_text = _own_text(node, meant, each)
        if _differs(node, own_text):
            lines = [t.rstrip("\n") for t in (node.text, own_text)]
            shown.append(f"{node.name}\n{difference(*lines, NAMES)}")
    return "\n\n".join(shown) or "no machine is configured with other lines"


def apply_text(shell: Shell, work_dir: str, first: list[Step], mode: str) -> None:
    """Write what is wanted on the workstation, the old text kept beside it with its date.

    A new token is asked for. An etcd that has formed a cluster does not look at it: it is for those
    that have yet to form one. May be called again after it was cut off.
    """
    check_mode(mode)
    if mode == "apply":
        settle_files(shell, workstation(shell))
    if mode == "plan" or not first:
        return print("Plan mode: nothing was written." if first else "Nothing to do.")
    (step,) = first
    config.demand_valid(step.params["text"])
    if step.command == MOVE:
        _move(shell, step, work_dir)
    else:
        old, kept = read_text(shell, step.what), f"{step.what}.{login.now()}"
        run(shell, f"cp -p -- {shlex.quote(step.what)} {shlex.quote(kept)}")
        config.write(shell, step.what, step.params["text"], old, kept)
    tell("done", step.command, step.what, step.why)


def _move(shell: Shell, step: Step, work_dir: str) -> None:
    moving = notes.read(shell, work_dir).get("moving") or {}
    if moving.get("word") != step.params["word"]:
        moving = {"word": step.params["word"], "old": f"{step.what}.{login.now()}"}
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
    told = {"file": where, "before": sha256(text), "after": "", "kept": old}
    with journalled(workstation(shell), "move", f"{where} on {shell.name}", told) as ended:
        run(shell, f"mv -- {shlex.quote(where)} {shlex.quote(old)}")
        ended["text"] = f"it is kept as {old}"
