"""What is configured: rendered from parameters, validated, and kept on the workstation.

It carries the discovery token, which is a secret: what is shown of it goes through `masked`.
"""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath

from lib import addresses, delivery, facts, ignition, notes, tokens, units, userdata, writes
from lib.cloudlint import validate
from lib.cloudtext import neutral, render
from lib.discovery import (
    KEYS,
    PUBLIC,
    STATIC,
    TokenUrl,
    ask_token,
    choose_token,
    register,
    service,
)
from lib.discovery import masked as masked_url
from lib.errors import CheckFailed, ParamsError, Refused, Unreachable
from lib.journal import Journal, run_folder
from lib.plan import Pending, Step, check_mode
from lib.progress import tell
from lib.shell import Shell, find_text, read_text, run, write_text
from lib.userdata import UserData

STAGE = "20-write-cloud-config"
CLOUD_CONFIG = delivery.ON_DISK["cloud-config"]
BAKED = (
    "What is baked into a disk stays there, and machines that find an Ignition config on it read "
    "no user data: set config_format and config_delivery as they were, or run 90-remove-cluster."
)


def path(work_dir: str, name: str = CLOUD_CONFIG) -> str:
    """Return where the cloud-config, or another of its folder, is on the workstation."""
    return f"{work_dir}/{name}"


def find(shell: Shell, work_dir: str, name: str = CLOUD_CONFIG) -> str | None:
    """Return the cloud-config on the workstation, None if there is none."""
    return tokens.known(find_text(shell, path(work_dir, name)))


def current(shell: Shell, work_dir: str, name: str = CLOUD_CONFIG) -> str:
    """Return the cloud-config on the workstation, "" if there is none."""
    return find(shell, work_dir, name) or ""


def cluster_text(shell: Shell, work_dir: str) -> str:
    """Return the text that makes machines a cluster, "" if there is none.

    That is the user data where there are some, else what is baked into the template.
    """
    names = (delivery.USER_DATA, *delivery.ON_DISK.values())
    files = " ".join(shlex.quote(path(work_dir, n)) for n in names)
    command = f'for f in {files}; do if [ -e "$f" ]; then exec cat -- "$f"; fi; done'
    return tokens.known(run(shell, command).out) or ""


def plan_write(
    shell: Shell,
    *,
    work_dir: str,
    installer: str,
    ssh_keys: list[str],
    size: int,
    discovery: str,
    local: str,
    made: bool = False,
    deployed: Iterable[str] = (),
    oem: str = "cloudstack",
    config_format: str = "cloud-config",
    config_delivery: str = "disk",
    cluster: str = "",
    fixed: Sequence[str] = (),
) -> list[Step]:
    """Return the steps that write what is configured, none if it is there as wanted.

    `size` machines find each other at `discovery`, `local` being the profile's service, or know
    each other by their `fixed` addresses; of a text that is there only the token may differ.
    `made` says that something made from the text for the disk is there; `deployed` names the
    machines there are, which need no user data any more.
    """
    delivery.check(installer, oem, config_format, config_delivery)
    on_disk = delivery.disk_file(config_format, config_delivery)
    holds = delivery.token_file(config_format, config_delivery)
    told = {"installer": installer, "oem": oem, "config_format": config_format}
    named = {"discovery": discovery, "local": local, "size": size, "cluster": cluster}
    full = described(**told, **named, ssh_keys=ssh_keys, fixed=fixed)
    token = {k: v for k, v in full.items() if k in ("base", "size", "fixed", "cluster")}
    params = {k: v for k, v in full.items() if k not in token}
    _rendered(params, TokenUrl(""))
    noted = notes.read(shell, work_dir)
    demand_places(noted, on_disk, holds)
    steps = []
    for name in dict.fromkeys(n for n in (on_disk, holds) if n):
        wanted = params | (token if name == holds else {})
        text = current(shell, work_dir, name)
        if text:
            _demand_same(text, noted.get("config") or {}, path(work_dir, name), wanted)
            if name == holds and (noted.get("config") or {}).get("asked"):
                why = "its token is not known to be registered"
                steps.append(Step("register", token, why, path(work_dir, name)))
        elif not (made and name == on_disk):
            steps.append(_plan_file(path(work_dir, name), wanted, deployed))
    return steps


def described(
    *,
    installer: str,
    oem: str,
    config_format: str,
    ssh_keys: list[str],
    size: int,
    discovery: str,
    local: str,
    cluster: str = "",
    fixed: Sequence[str] = (),
    **_: object,
) -> dict:
    """Return the parameters of the step that writes the text with the token, of `plan_write`'s."""
    params = {"installer": installer, "oem": oem, "format": config_format, "ssh_keys": ssh_keys}
    params |= {"base": service(discovery, local), "size": size}
    if fixed:
        _demand_flatcar(installer)
        params |= {"fixed": list(fixed), "cluster": cluster}
    return params


def text_for(wanted: dict, url: str) -> str:
    """Return the text that arguments of `plan_write` give with a token."""
    return _rendered(described(**wanted), url)


def _demand_flatcar(installer: str) -> None:
    if installer != "flatcar-install":
        wanted = "a service that gives tokens: etcd of 2014 cannot do without"
        raise ParamsError("discovery", wanted, STATIC)


def _plan_file(where: str, params: dict, deployed: Iterable[str]) -> Step:
    """Return the step that writes a file that is absent, unless it cannot be made anew."""
    there = ", ".join(sorted(deployed))
    if there and where.endswith(delivery.USER_DATA):
        next_step = "It was lost: put it back, or run 90-remove-cluster and begin anew."
        raise CheckFailed(where, f"what {there} were made with", "absent", next_step)
    why = f"{where} is absent from the workstation"
    if params.get("base") == PUBLIC:
        why += "; its token is to come from discovery.etcd.io, which its makers have deprecated"
    return Step("write", params, why, where)


def demand_places(noted: dict, on_disk: str, holds: str) -> None:
    """Raise CheckFailed when an earlier run put the token, or what the disk has, elsewhere.

    `noted` are the notes, the others the files that the parameters name.
    """
    baked = noted["installed"].get("config", CLOUD_CONFIG) if "installed" in noted else on_disk
    if baked != on_disk:
        raise CheckFailed("what the disk carries", on_disk or "nothing", baked, BAKED)
    found = noted["config"].get("file", CLOUD_CONFIG) if "config" in noted else holds
    if found != holds:
        raise CheckFailed("what holds the token", holds, found, tokens.ANEW)


def _demand_same(text: str, noted: dict, where: str, params: dict) -> None:
    """Raise CheckFailed unless the text is what the parameters give with the token it has."""
    wanted = _rendered(params, tokens.url_in(text) if "base" in params else TokenUrl(""))
    if text != wanted:
        shown = f"\n{tokens.difference(wanted, text)}\n{tokens.ANEW}"
        raise CheckFailed(where, "as the parameters say", "other lines", shown)
    want = {k: params[k] for k in ("base", "size") if k in params}
    got = want | {k: noted[k] for k in want if k in noted}
    if want != got:
        raise CheckFailed(f"the token in {where}", _service(want), _service(got), tokens.ANEW)


def _service(token: dict) -> str:
    if token["base"] == STATIC:
        return f"none, but fixed addresses of {token['size']} machines"
    return f"one of {token['base']} for {token['size']} machines"


def _rendered(params: dict, url: TokenUrl) -> str:
    """Return the text for a step's parameters; those without a token's size are for no cluster."""
    installer, keys, fixed = params["installer"], params["ssh_keys"], params.get("fixed")
    members = addresses.arguments(fixed, params["cluster"]) if fixed else units.BY_TOKEN
    if params["format"] == "ignition":
        return ignition.render(members=members.replace("{url}", str(url)), ssh_keys=keys)
    if "base" not in params:
        return neutral(keys)
    told = {"ssh_keys": keys, "oem": params["oem"], "members": members}
    return render(installer=installer, discovery_url=url, **told)


def apply_write(shell: Shell, plan: list[Step], mode: str, *, work_dir: str) -> None:
    """Validate, get a token, and write; in plan mode do nothing.

    Where we may choose the token it is written first and then registered, which may be done again.
    A service that chooses is asked once, and its token written as soon as it is there. Only if this
    process ends in between, or the answer is lost on its way, is another one asked for the next
    time; nobody has the first then.
    """
    check_mode(mode)
    if mode == "apply":
        writes.settle_files(shell, writes.workstation(shell))
    if mode == "plan" or not plan:
        print("Plan mode: nothing was written." if plan else "Nothing to do.")
        return
    for step in plan:
        p, name = step.params, PurePosixPath(step.what).name
        token = {k: p[k] for k in ("base", "size") if k in p} | {"file": name}
        if step.command == "write":
            demand_valid(_rendered(p, f"{p['base']}/{'0' * 32}" if "base" in p else ""))
        tell("done", step.command, step.what, _apply_step(shell, step, token, work_dir))


def _apply_step(shell: Shell, step: Step, token: dict, work_dir: str) -> str:
    """Do one step, and return what to say of it."""
    if "base" not in step.params:
        write(shell, step.what, _rendered(step.params, ""))
        return "without a token: for any cluster"
    if "fixed" in step.params:
        notes.update(shell, work_dir, config=token)
        write(shell, step.what, _rendered(step.params, ""))
        return f"with the addresses {', '.join(step.params['fixed'])}"
    if step.command == "register":
        return _register(shell, tokens.url_in(read_text(shell, step.what)), token, work_dir)
    if url := choose_token(token["base"]):
        notes.update(shell, work_dir, config=token | {"asked": True})
        write(shell, step.what, _rendered(step.params, url))
        return _register(shell, url, token, work_dir)
    notes.update(shell, work_dir, config=token)
    with _intended(token, step.what) as ended:
        url = ask_token(token["base"], token["size"])
        write(shell, step.what, _rendered(step.params, url))
        ended["text"] = masked_url(url)
    return f"with the token {masked_url(url)}"


def write(shell: Shell, where: str, text: str, old: str = "", kept: str = "") -> None:
    """Write a configuration on the workstation, and into the journal that this is done.

    `old` is what was there, "" if nothing was, and `kept` where that stays.
    """
    told = {"file": where, "before": old and writes.sha256(old), "after": writes.sha256(text)}
    told |= {"kept": kept} if kept else {}
    at, what = writes.workstation(shell), f"{where} on {shell.name}"
    with writes.noted(at, "write", what, told) as ended:
        write_text(shell, where, text)
        more = f"; the old one is kept as {kept}" if kept else ""
        ended["text"] = f"sha256 {told['after']}{more}"


def _register(shell: Shell, url: TokenUrl, token: dict, work_dir: str) -> str:
    """Make a written token known to its service, once more if need be."""
    with _intended(token, token["file"]) as ended:
        register(url, token["size"])
        ended["text"] = masked_url(url)
    notes.update(shell, work_dir, config=token)
    return f"with the token {masked_url(url)}"


@contextmanager
def _intended(token: dict, what: str) -> Iterator[dict]:
    """Write into the journal that a token is about to be asked for, and how that ended.

    What was left open before is closed. What is put into the dict as `text` is told of its end.
    """
    journal = Journal(run_folder(), token["base"])
    for entry in journal.unfinished():
        if entry["command"] == "new token":
            journal.ended(entry, "lost", "the process ended before it was written")
            print(f"✗ a token asked for at {entry['sent'][:19]} was not written: asking anew")
        elif entry["command"] == "register token":
            journal.ended(entry, "not-sent", "registered again")
    command = "register token" if KEYS in token["base"] else "new token"
    entry = journal.intend(command, what, {k: token[k] for k in ("base", "size")}, None)
    told = {}
    try:
        yield told
    except (CheckFailed, Refused, Unreachable) as error:
        journal.ended(entry, *_end_of(error))
        raise
    journal.ended(entry, "done", told["text"])


def _end_of(error: CheckFailed | Refused | Unreachable) -> tuple[str, str]:
    """Return the state and the words for a token that was not given or not registered."""
    if isinstance(error, CheckFailed):
        return "failed", f"{error.what}: wanted {error.wanted}, found {error.got}"
    if isinstance(error, Unreachable):
        return "lost" if error.may_have_changed else "not-sent", error.cause
    # A service, or a gateway before it, that breaks down may have done it all the same.
    return "refused" if error.code < 500 else "lost", tokens.masked(f"{error.code}: {error.text}")


def demand_valid(text: str) -> None:
    """Raise CheckFailed with every line that is wrong, or say that none is."""
    is_json = text.lstrip().startswith("{")
    what = "the Ignition config" if is_json else "the cloud-config"
    problems = ignition.validate(text) if is_json else validate(text)
    if problems:
        listed = tokens.masked("\n".join(f"  {p}" for p in problems))
        shown = f"\n{listed}\nNothing was written: mend the lines, or what they came from."
        raise CheckFailed(what, "valid", f"{len(problems)} problems", shown)
    print(f"✓ {what} is valid: {len(text.splitlines())} lines")


def check_valid(
    shell: Shell,
    work_dir: str,
    mode: str,
    *,
    made: bool = False,
    config_format: str = "cloud-config",
    config_delivery: str = "disk",
) -> None:
    """Do `demand_valid` on what is for the disk; in plan mode, or if `made`, it may be absent."""
    name = delivery.disk_file(config_format, config_delivery)
    if not name:
        return print("nothing is configured on the disk: the user data of the machines will be")
    text = current(shell, work_dir, name)
    if text or (mode == "apply" and not made):
        demand_present(text, path(work_dir, name))
        demand_valid(text)
    elif made:
        print(f"no {path(work_dir, name)}, and none is needed: the disk has served")
    else:
        print(f"no {path(work_dir, name)} yet: {STAGE} writes it")


def demand_present(text: str, where: str) -> None:
    """Raise CheckFailed if there is no cloud-config."""
    if not text:
        raise CheckFailed(where, "on the workstation", "absent", f"Run {STAGE} first.")


def user_data(
    cloud,
    shell: Shell,
    work_dir: str,
    config_delivery: str,
    *,
    cluster: str,
    machines: Sequence[str] = (),
) -> dict[str, UserData] | Pending | None:
    """Return the user data by name, None where the disk has all.

    One for the whole cluster, or one for each of the machines that are named, with its host name.
    Raises CheckFailed when the server would not take them, or the machines not read them.
    """
    if config_delivery != "userdata":
        return None
    baked = (notes.read(shell, work_dir).get("installed") or {}).get("config")
    if baked == delivery.ON_DISK["ignition"]:
        raise CheckFailed("what the disk carries", "no Ignition config", baked, BAKED)
    text = current(shell, work_dir, delivery.USER_DATA)
    if not text:
        return Pending(path(work_dir, delivery.USER_DATA), STAGE)
    texts = {m: userdata.with_host_name(text, m) for m in machines} or {cluster: text}
    data = {name: userdata.encoded(own) for name, own in texts.items()}
    userdata.demand_fits(cloud, max(data.values(), key=len))
    facts.note(user_data={name: repr(one) for name, one in data.items()})
    return data
