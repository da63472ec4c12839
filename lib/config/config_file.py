"""The configuration of the operator's own: read from a file, checked, merged into the cluster's.

What a machine reads is one text with both in it, for Ignition too. Its own `ignition.config.merge`
gives the same (the tests compare them), but with a `data:` URL neither the plan nor a difference
would be readable, `ignition-validate` would not look into it, and what both configs say would be
decided in silence.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from lib.config import generations, ignition, lint, placeholders
from lib.config.addresses import Bootstrap
from lib.config.discovery import masked
from lib.config.form import Form
from lib.config.lint import Problem
from lib.config.merging import Conflict, merge, yaml_text
from lib.config.placeholders import MACHINE, OF_MACHINE
from lib.errors import CheckFailed, ParamsError
from lib.record import whole
from lib.record.journal import ROOT
from lib.roles import Role

MARK = "#cloud-config"
SAMPLE = {"host_name": "a-1", "index": "1", "address": "192.0.2.1"}  # for the rules
NOTHING_WRITTEN = "Nothing was written: correct these lines."


@dataclass(frozen=True)
class ConfigFile:
    """A configuration of the operator's own: its path, and its tree with all but machines' values.

    `secrets` are the values in it that must never be shown.
    """

    path: str
    tree: yaml.Node | None = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def merged(self, text: str, name: str) -> str:
        """Return the cluster's text, of the file `name`, with this configuration merged into it.

        Raises CheckFailed with every key that both set to different values, and the lines.
        """
        is_json = text.startswith("{")
        ours = ignition.compose(text) if is_json else lint.compose(text)
        if self.tree is None or not isinstance(ours, yaml.Node):
            return text
        if is_json:
            ignition.level(ours, self.tree)
        conflicts: list[Conflict] = []
        both = merge(ours, self.tree, conflicts)
        if conflicts:
            listed = "\n".join(f"  {self._in_words(c, name)}" for c in conflicts)
            what = f"{self.path} contradicts what the cluster needs:\n{masked(listed)}"
            raise CheckFailed(what, next_step=NOTHING_WRITTEN)
        return ignition.written(both) if is_json else f"{MARK}\n\n{yaml_text(both)}"

    def _in_words(self, conflict: Conflict, name: str) -> str:
        sides = [(self.path, conflict.theirs), (f"the runbook's {name}", conflict.ours)]
        places = [f"{who}, line {n.start_mark.line + 1}: {_short(n)}" for who, n in sides]
        return f"{conflict.path}: {'; '.join(places)}"


def _short(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
    lines = node.value.splitlines() or [""]
    return f"{lines[0][:60]}{' …' if len(lines) > 1 or len(lines[0]) > 60 else ''}"


def config_files(
    roles: Sequence[Role], path: str, values: Mapping[str, str], form: Form, bootstrap: Bootstrap
) -> tuple[ConfigFile | None, dict[Role, ConfigFile | None]]:
    """Return the configuration in `path`, and that of each role with a name: its own, or the same.

    Raises ParamsError where roles cannot be given theirs, and as `config_file` does.
    """
    named = [role for role in roles if role.name]
    if odd := [role for role in roles if not role.name and (role.config_file or role.metadata)]:
        count = odd[0].count
        text = f"config_file and metadata are for roles with a name; {count} machines have none"
        raise ParamsError("roles", text=text)
    if named and form.delivery != "userdata":
        text = 'a template has one text for all machines: set config_delivery "userdata"'
        raise ParamsError("roles", text=text)
    found = {}
    for role in named:
        own = role.config_file or path
        found[role] = config_file(own, values if own else {}, form, bootstrap, role.name)
    used = path or not any(role.config_file for role in named)
    return config_file(path, values if used else {}, form, bootstrap), found


def config_file(
    path: str, values: Mapping[str, str], form: Form, bootstrap: Bootstrap, role: str = ""
) -> ConfigFile | None:
    """Return the configuration in a file, None for the path "", its names replaced by `values`.

    `role` is that of the machines that it is for. A relative path starts at the project's root.
    Prints what the images of the installer ignore, and which secrets will be readable. Raises
    ParamsError for a file or values that cannot be used,
    and CheckFailed with every line that is wrong.
    """
    if not path:
        if values:
            names = ", ".join(sorted(values))
            text = f"no config_file uses {names}: set config_file, or leave it {{}}"
            raise ParamsError("config_values", text=text)
        return None
    known = placeholders.values_of(values, bootstrap) | {"role": role}
    secrets = {name: known[name] for name, value in values.items() if value.startswith("secret:")}
    text = _read(path)
    problems = _surface(path, text, form)
    tree = _tree(path, text, known, problems)
    problems += _rules(tree, form) if not problems else []
    problems += _of_machines(tree, form, bootstrap)
    wrong = [p for p in sorted(set(problems)) if p.level != "ignored"]
    if wrong:
        listed = "\n".join(f"  {path}, {p}" for p in wrong)
        lines = "a line that is" if len(wrong) == 1 else f"{len(wrong)} lines that are"
        what = f"{path} has {lines} wrong:\n{masked(listed)}"
        raise CheckFailed(what, next_step=NOTHING_WRITTEN)
    for problem in sorted(set(problems)):
        print(f"! {path}, line {problem.line}: {problem.message}")
    _warn(secrets, form)
    return ConfigFile(path, tree, tuple(secrets.values()))


def _warn(secrets: Mapping[str, str], form: Form) -> None:
    """Say who can read the secrets."""
    if secrets:
        place = "user data" if form.delivery == "userdata" else "template, or a disk made from it,"
        names = ", ".join(secrets)
        print(f"! secrets in the configuration ({names}): whoever may read the {place} reads them")


def _read(path: str) -> str:
    try:
        text = whole.text(ROOT / Path(path).expanduser()).replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as fault:
        text = f"{path} cannot be read as a text file ({type(fault).__name__})"
        raise ParamsError("config_file", text=text) from None
    except ValueError as fault:
        raise ParamsError("config_file", text=f"{path} {fault}") from None
    if not text.strip():
        raise ParamsError("config_file", text=f"{path} is empty")
    return text


def _kind(path: str, text: str) -> str:
    if path.endswith(".bu"):
        return "butane"
    return "ignition" if text.lstrip().startswith("{") else "cloud-config"


def _surface(path: str, text: str, form: Form) -> list[Problem]:
    """Return what is wrong with the text itself; raise ParamsError if its kind does not fit."""
    kind = _kind(path, text)
    if text.startswith("#!"):
        text = f"{path} is a script, which cannot be merged: write a cloud-config"
        raise ParamsError("config_file", text=text)
    if (kind == "cloud-config") != (form.format == "cloud-config"):
        kinds = {"cloud-config": "a cloud-config", "ignition": "an Ignition config (JSON, or .bu)"}
        found = kinds["ignition" if kind == "butane" else kind]
        text = f"{path} is {found}, but config_format is {form.format}: set either to fit the other"
        raise ParamsError("config_file", text=text)
    return lint.surface(text) if kind == "cloud-config" else []


def _tree(
    path: str, text: str, known: Mapping[str, str], problems: list[Problem]
) -> yaml.Node | None:
    """Return the tree of the text with the values of all machines filled in."""
    kind = _kind(path, text)
    root = ignition.compose(text) if kind == "ignition" else lint.compose(text)
    if isinstance(root, Problem) or root is None:
        problems += [root] if root else []
        return None
    tree = placeholders.fill(root, known, problems)
    if kind != "butane" or problems:
        return tree
    composed = ignition.compose(_translated(path, yaml_text(tree)))
    if isinstance(composed, Problem):
        raise CheckFailed(f"butane made of {path} what is no Ignition config: {composed.message}")
    return composed


def _translated(path: str, text: str) -> str:
    """Return the Ignition config that butane makes of a text, with the names of machines in it.

    Raises ParamsError where there is no butane, and CheckFailed with what it says.
    """
    if not shutil.which("butane"):
        text = f"{path} needs the program butane: install it, or translate the file to JSON (.ign)"
        raise ParamsError("config_file", text=text)
    done = subprocess.run(
        ["butane", "--strict"], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode:
        why = masked(done.stderr.strip()[-1000:])
        raise CheckFailed(f"butane refuses {path}: {why}.", next_step=NOTHING_WRITTEN)
    output = done.stdout
    for name in MACHINE:  # in what butane writes as a data: URL
        output = output.replace(f"%24%7B{name}%7D", f"${{{name}}}")
    if len(OF_MACHINE.findall(output)) != len(OF_MACHINE.findall(text)):
        what = f"butane compressed a text of {path} in which a machine's name or address stands"
        raise CheckFailed(what, next_step="Write its contents as `source: data:,…`.")
    return output


def _rules(tree: yaml.Node | None, form: Form) -> list[Problem]:
    """Return what is wrong with the tree, as a machine would read it, and what is ignored."""
    if tree is None:
        return []
    problems: list[Problem] = []
    sample = placeholders.fill(tree, SAMPLE, problems)
    if form.format == "ignition":
        return ignition.shape(sample) + ignition.not_ours(sample)
    return lint.shape(sample) + generations.unfit(sample, form.installer)


def _of_machines(tree: yaml.Node | None, form: Form, bootstrap: Bootstrap) -> list[Problem]:
    """Return the names of machines that have no value with this delivery and bootstrap."""
    lacking = dict.fromkeys(MACHINE, 'config_delivery "disk" gives all machines one text')
    if form.delivery == "userdata":
        lacking = {"address": 'only discovery "static" fixes it, and of etcd\'s members only'}
    if form.delivery == "userdata" and bootstrap.addresses and not bootstrap.others:
        return []
    return [
        Problem(line, "error", f"${{{name}}} has no value: {lacking[name]}")
        for line, name in placeholders.of_machines(tree)
        if name in lacking
    ]
