"""Reconfiguring: another configuration for machines that run, the old one kept.

What is wanted is written on the workstation first, then given to each machine: into the file that
it reads at every boot, or as its user data at the cloud.
"""

import shlex
from pathlib import PurePosixPath

from lib import addresses, cloudconfig, delivery, discovery, nodes, notes, registered, rolling
from lib import userdata as data
from lib.discovery import TokenUrl
from lib.errors import CheckFailed, ParamsError
from lib.etcd import Answer
from lib.nodes import Node
from lib.plan import Step, check_mode
from lib.progress import tell
from lib.shell import Shell, find_text, read_text, run
from lib.sshkeys import ssh_keys
from lib.tokens import difference as differing
from lib.tokens import known, url_in
from lib.writes import noted, settle_files, sha256, workstation

NAMES = ("now", "wanted")
OLD_SERVER = 'one that tells a machine\'s user data (4.18 or newer), or config_delivery "disk"'


def demand_possible(
    cloud, *, config_format: str, config_delivery: str, machine_user: str, move_discovery: str,
    discovery: str,
) -> None:  # fmt: skip
    """Raise CheckFailed or ParamsError for a cluster that cannot be reconfigured in place."""
    if config_format == "ignition":
        raise CheckFailed("config_format", "cloud-config", "ignition", nodes.FIRST_BOOT)
    if config_delivery == "disk" and not machine_user:
        raise ParamsError("machine_user", 'who logs in to the machines, such as "core"', "")
    if config_delivery == "userdata" and not cloud.can_keep_user_data:
        raise CheckFailed("this server", OLD_SERVER, ".".join(map(str, cloud.version)))
    if move_discovery and discovery == "static":
        raise ParamsError(
            "move_discovery", '"" with discovery "static", which has none', move_discovery
        )


def wanted(cloud, shell: Shell, *, work_dir: str, ssh_key_file: str, **more: object) -> dict:
    """Return what is wanted, as `cloudconfig.plan_write` takes it; fixed addresses stay.

    `more` are cluster, size, discovery, installer, oem, config_format and config_delivery.
    """
    fixed = addresses.fixed_in(cloudconfig.cluster_text(shell, work_dir))
    keys, local = ssh_keys(ssh_key_file), cloud.profile.discovery
    return more | {"work_dir": work_dir, "ssh_keys": keys, "local": local, "fixed": fixed}


def plan_text(shell: Shell, wanted: dict, *, move_discovery: str) -> list[Step]:
    """Return the step that writes what is wanted on the workstation, none if it is there.

    `wanted` is for `cloudconfig.plan_write`. `move_discovery` asks for a new token, once a word;
    a move that was cut off goes on in any case. Raises CheckFailed when the cluster was made with
    another `config_format` or `config_delivery`.
    """
    form = wanted["config_format"], wanted["config_delivery"]
    where, noted = _path(wanted), notes.read(shell, wanted["work_dir"])
    cloudconfig.demand_places(noted, delivery.disk_file(*form), delivery.token_file(*form))
    text = known(find_text(shell, where))
    begun = (noted.get("moving") or {}).get("word")
    if word := begun or (move_discovery if noted.get("moved") != move_discovery else ""):
        why = "it was begun, and is to be ended" if begun else "the cluster has another"
        return [Step("move to a new token", {"word": word}, why, where)]
    cloudconfig.demand_present(text or "", where)
    if text == cloudconfig.text_for(wanted, url_in(text)):
        return []
    return [Step("write", {}, "the parameters say other lines", where)]


def _path(wanted: dict) -> str:
    name = delivery.token_file(wanted["config_format"], wanted["config_delivery"])
    return cloudconfig.path(wanted["work_dir"], name)


def _url(shell: Shell, where: str) -> TokenUrl:
    return url_in(find_text(shell, where) or "")


def text(shell: Shell, wanted: dict, first: list[Step]) -> str:
    """Return what the machines are to be configured with, once the plan of `plan_text` is done.

    A token that is yet to be made has noughts in it.
    """
    url = _url(shell, _path(wanted))
    if first and first[0].command.startswith("move"):
        base = discovery.service(wanted["discovery"], wanted["local"])
        url = f"{base}/{'0' * 32}"
    return cloudconfig.text_for(wanted, url)


def plan(
    cloud, shell: Shell, seen: list[Node], meant: str, *, work_dir: str, cluster: str, each: bool
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
    cloud, nodes: list[Node], texts: dict[str, str], cluster: str, each: bool
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
        steps, ids = registered.plan_register(cloud, new, anew=True)
        params = {name: {"userdataid": ids[of]} for name, of in names.items()}
    for n in told:
        changed = {"id": n.machine["id"]} | params[n.name]
        given[n.name] = Step("updateVirtualMachine", changed, why, n.name)
    return steps, given


def _write(node: Node, meant: str, why: str) -> Step:
    return Step("write", {"file": node.file, "text": data.exactly(meant)}, why, node.name)


def difference(seen: list[Node], meant: str, *, each: bool) -> str:
    """Return the lines that differ on each machine, tokens masked."""
    shown = []
    for node in seen:
        own_text = _own_text(node, meant, each)
        if _differs(node, own_text):
            lines = [t.rstrip("\n") for t in (node.text, own_text)]
            shown.append(f"{node.name}\n{differing(*lines, NAMES)}")
    return "\n\n".join(shown) or "no machine is configured with other lines"


def apply_text(
    cloud, shell: Shell, first: list[Step], mode: str, *, wanted: dict, seen: list[Node]
) -> None:
    """Write what is wanted on the workstation, the old text kept beside it with its date.

    With a new token, an etcd that has formed does not look at it any more, so its members are put
    into the registry for it. May be called again after it was cut off.
    """
    check_mode(mode)
    if mode == "apply":
        settle_files(shell, workstation(shell))
    if mode == "plan" or not first:
        return print("Plan mode: nothing was written." if first else "Nothing to do.")
    (step,) = first
    cloudconfig.demand_valid(text(shell, wanted, first))
    if step.command == "write":
        old = read_text(shell, step.what)
        kept = f"{step.what}.{nodes.now()}"
        run(shell, f"cp -p -- {shlex.quote(step.what)} {shlex.quote(kept)}")
        meant = cloudconfig.text_for(wanted, url_in(old))
        cloudconfig.write(shell, step.what, meant, old, kept)
        return tell("done", step.command, step.what, step.why)
    _move(cloud, shell, step, wanted, seen)
    tell("done", step.command, step.what, step.why)


def _move(cloud, shell: Shell, step: Step, wanted: dict, seen: list[Node]) -> None:
    work_dir, word = wanted["work_dir"], step.params["word"]
    etcds = rolling.answers(cloud, seen)
    rolling.demand_known(etcds)
    moving = notes.read(shell, work_dir).get("moving") or {}
    if moving.get("word") != word:
        moving = {"word": word, "old": f"{step.what}.{nodes.now()}"}
        file = PurePosixPath(step.what).name
        notes.update(shell, work_dir, moving=moving, config={"file": file})
    _set_aside(shell, step.what, moving["old"])
    asked = (notes.read(shell, work_dir).get("config") or {}).get("asked")
    if asked or find_text(shell, step.what) is None:
        command = "register" if asked else "write"
        new = Step(command, cloudconfig.described(**wanted), step.why, step.what)
        cloudconfig.apply_write(shell, [new], "apply", work_dir=work_dir)
    _enrol(_url(shell, step.what), step.what, etcds)
    notes.update(shell, work_dir, moving=None, moved=word)


def _set_aside(shell: Shell, where: str, old: str) -> None:
    """Move a file to another name, unless that has been done."""
    text = find_text(shell, where)
    if text is None or find_text(shell, old) is not None:
        return
    told = {"file": where, "before": sha256(text), "after": "", "kept": old}
    with noted(workstation(shell), "move", f"{where} on {shell.name}", told) as ended:
        run(shell, f"mv -- {shlex.quote(where)} {shlex.quote(old)}")
        ended["text"] = f"it is kept as {old}"


def _enrol(url: str, where: str, etcds: dict[str, Answer]) -> None:
    """Put the members that an etcd tells into the registry of the token in a file."""
    members = next((a.registrations for a in etcds.values() if a.registrations), {})
    if not members:
        return
    told = {"file": where, "members": len(members)}
    base = url.rpartition("/")[0]
    with noted(base, "enrol", "the members of the cluster that has formed", told) as ended:
        for n, (key, value) in enumerate(members.items(), 1):
            discovery.enrol(url, key, value)
            ended["so_far"] = f"{n} of {len(members)} were put before."
