"""The texts validated and written on the workstation; what they replace is kept beside them."""

import re
import shlex

from lib.config import ignition, lint
from lib.config.discovery import TOKEN, ask_token, masked, masked_url
from lib.config.display import Text
from lib.config.form import USER_DATA, Form
from lib.config.placeholders import for_machine
from lib.config.written import Written, keep_secrets, read
from lib.errors import CheckFailed
from lib.plan import check_mode, perform
from lib.steps import Step
from lib.workstation import files, notes
from lib.workstation.shell import Shell, find_text, read_text, run, write_text

STAGE = "20-write-cloud-config"
UNFILLED = re.compile(rf"https?://[^\s\"'\\]+/{TOKEN}")


def apply_write(shell: Shell, plan: list[Step], mode: str, work_dir: str) -> None:
    """Validate each text, fill in its token, and write it; in plan mode do nothing.

    A token is written as soon as the service has given it. If this process ends in between, or the
    answer is lost on its way, it is asked for another one: nobody knows the first then.
    """
    check_mode(mode)
    if mode == "apply":
        files.settle_files(shell, files.workstation(shell))
    perform(plan, mode, lambda step: _write_step(shell, step, work_dir))


def _write_step(shell: Shell, step: Step, work_dir: str) -> str:
    """Write one text, and return the words for it."""
    text, where = step.params["text"], step.what
    demand_valid(text)
    if step.command == "rewrite":
        return replace_text(shell, where, text)
    if "service" not in step.params:
        write(shell, where, filled(shell, work_dir, text))
        return f"with the token of {USER_DATA}" if f"/{TOKEN}" in text else "without a token"
    token = {"base": step.params["service"], "size": step.params["size"]}
    noted = {"cluster": step.params["cluster"], "file": where.rpartition("/")[2]}
    notes.update(shell, work_dir, config=token | noted)
    unfilled = f"{token['base']}/{TOKEN}"
    if unfilled not in text:
        write(shell, where, text)
        return "its machines know each other by fixed addresses"
    with files.journalled(token["base"], "new token", where, token | {"file": where}) as ended:
        url = ask_token(token["base"], token["size"])
        write(shell, where, Text(text.replace(unfilled, url), text.secrets))
        ended["text"] = masked_url(url)
    return f"with the token {masked_url(url)}"


def write(shell: Shell, where: str, text: str, old: str = "", kept: str = "") -> None:
    """Write a configuration on the workstation, and into the journal that this is done.

    `old` is what was there, "" if nothing was, and `kept` where that stays.
    """
    details = {"file": where, "before": old and files.sha256(old), "after": files.sha256(text)}
    details |= {"kept": kept} if kept else {}
    at, what = files.workstation(shell), f"{where} on {shell.name}"
    keep_secrets(shell, where.rpartition("/")[0], getattr(text, "secrets", ()))
    with files.journalled(at, "write", what, details) as ended:
        write_text(shell, where, text)
        more = f"; the old one is kept as {kept}" if kept else ""
        ended["text"] = f"sha256 {details['after']}{more}"


def filled(shell: Shell, work_dir: str, text: Text) -> Text:
    """Return the text of a role with the token that the cluster has by now, if it needs one."""
    if f"/{TOKEN}" not in text:
        return text
    url = read(shell, work_dir, USER_DATA).url
    return Text(UNFILLED.sub(lambda _: url, text), text.secrets)


def replace_text(shell: Shell, where: str, text: str) -> str:
    """Write another text in place of one, which is kept beside it; return the words for that."""
    old, kept = read_text(shell, where), dated(shell, where)
    run(shell, f"cp -p -- {shlex.quote(where)} {shlex.quote(kept)}")
    write(shell, where, text, old, kept)
    return f"the old one is kept as {kept}"


def dated(shell: Shell, where: str) -> str:
    """Return the name under which a file is kept: with its date, and never one that is there."""
    name = first = f"{where}.{files.now()}"
    number = 1
    while find_text(shell, name) is not None:
        number += 1
        name = f"{first}.{number}"
    return name


def demand_valid(text: str) -> None:
    """Raise CheckFailed with every line that is wrong, or say that none is."""
    text = for_machine(text, "a-1", "192.0.2.1")  # any machine's
    is_json = text.lstrip().startswith("{")
    what = "the Ignition config" if is_json else "the cloud-config"
    problems = ignition.validate(text) if is_json else lint.validate(text)
    if problems:
        listed = masked("\n".join(f"  {p}" for p in problems))
        next_step = "Nothing was written: correct the lines, or what they came from."
        raise CheckFailed(f"{what} is not valid:\n{listed}", next_step=next_step)
    print(f"✓ {what} is valid: {len(text.splitlines())} lines")


def check_valid(shell: Shell, work_dir: str, form: Form, mode: str, served: bool = False) -> None:
    """Validate the text for the disk; it may be absent in plan mode, or once the disk `served`."""
    if not form.disk_file:
        return print("the disk carries no configuration: the machines get theirs as user data")
    there = read(shell, work_dir, form.disk_file)
    if there.text or (mode == "apply" and not served):
        demand_present(there)
        demand_valid(there.text)
    elif served:
        print(f"{there.where} is not there, and not needed: the disk has served")
    else:
        print(f"no {there.where} yet: {STAGE} writes it")


def demand_present(there: Written) -> None:
    """Raise CheckFailed if a configuration is absent."""
    if not there.text:
        what = f"{there.where} is not on the workstation"
        raise CheckFailed(what, next_step=f"Run {STAGE} first.")
