"""The rules of an Ignition config, spec 3.3.0: what Flatcar applies once, at its first boot."""

import json
import re
from collections.abc import Callable, Iterator

import yaml

from lib.config.keys import key_fault
from lib.config.lint import Problem, misshapen, texts

VERSION = "3.3.0"
SUFFIXES = "automount device mount path scope service slice snapshot socket swap target timer"
UNIT = re.compile(rf"[\w:.@\\-]+\.({'|'.join(SUFFIXES.split())})", re.ASCII)
CONF = re.compile(r"[^/]+\.conf")
SOURCE = re.compile(r"(data|https?|tftp|s3|arn|gs):.*", re.DOTALL)
CONTENTS = texts("source compression", "text") | {"httpHeaders": "any", "verification": "any"}
OWNED = {"path": "text", "overwrite": "bool", "mode": "number", "user": "any", "group": "any"}
USER = texts("name passwordHash gecos homeDir primaryGroup shell", "text")
USER |= texts("noCreateHome noUserGroup noLogInit shouldExist system", "bool")
USER |= {"uid": "number", "groups": ["text"], "sshAuthorizedKeys": ["text"]}
DROP_IN = texts("name contents", "text")
SCHEMA = {
    "ignition": {"version": "text"} | texts("config proxy security timeouts", "any"),
    "kernelArguments": {"shouldExist": ["text"], "shouldNotExist": ["text"]},
    "passwd": {"users": [USER], "groups": "any"},
    "storage": texts("disks filesystems links luks raid", "any")
    | {"directories": [OWNED], "files": [OWNED | {"contents": CONTENTS, "append": [CONTENTS]}]},
    "systemd": {
        "units": [DROP_IN | texts("enabled mask", "bool") | {"dropins": [DROP_IN]}],
    },
}


def validate(text: str) -> list[Problem]:
    """Return what is wrong with a config, by line.

    Names that Ignition does not know are warnings to it, and typos here: none should be left.
    """
    try:
        root = json.loads(text)
    except ValueError as fault:
        return [Problem(getattr(fault, "lineno", 1), "error", f"not JSON: {fault}")]
    if not isinstance(root, dict):
        return [Problem(1, "error", "not a JSON object")]
    # JSON is YAML but for tabs and some characters, and this keeps the lines.
    readable = yaml.reader.Reader.NON_PRINTABLE.sub("?", text.replace("\t", " "))
    node = yaml.compose(readable, Loader=yaml.SafeLoader)
    problems = list(misshapen(node, SCHEMA, ""))
    return sorted(problems or _rules(node))


def _rules(root: yaml.MappingNode) -> Iterator[Problem]:
    """Yield what is wrong with the values of a config of the right shape."""
    version = _under(root, "ignition", "version")
    if version is None or version.value != VERSION:
        yield _problem(version or root, f"ignition.version must be {VERSION}")
    for user in _items(root, "passwd", "users"):
        for key in _items(user, "sshAuthorizedKeys"):
            if key_fault(key.value):
                yield _problem(key, f"ssh key: {key_fault(key.value)}")
    yield from _named(_items(root, "passwd", "users"), "name", bool, "a user needs a name")
    found = _items(root, "systemd", "units")
    yield from _named(found, "name", UNIT.fullmatch, "a unit needs a name such as x.service")
    for unit in found:
        drop_ins = _items(unit, "dropins")
        yield from _named(drop_ins, "name", CONF.fullmatch, "a drop-in needs a name such as x.conf")
        yield from _enabled(unit)
    yield from _files(_items(root, "storage", "files"))


def _enabled(unit: yaml.MappingNode) -> Iterator[Problem]:
    on, contents = _under(unit, "enabled"), _under(unit, "contents")
    if on is not None and on.value == "true" and contents and "[Install]" not in contents.value:
        yield _problem(on, "enabled, but its contents have no [Install] section", "warning")


def _files(files: list[yaml.MappingNode]) -> Iterator[Problem]:
    yield from _named(files, "path", re.compile("/.*").fullmatch, "a file needs an absolute path")
    for file in files:
        mode, source = _under(file, "mode"), _under(file, "contents", "source")
        if mode is not None and not re.fullmatch(r"\d{1,4}", mode.value):
            yield _problem(mode, "mode must be a decimal number, 420 for 0644")
        elif mode is not None and int(mode.value) > 0o7777:
            yield _problem(mode, f"mode {mode.value} is above 4095: decimal, 420 for 0644")
        if source is not None and source.value and not SOURCE.fullmatch(source.value):
            yield _problem(source, "source must be a URL: data:, https:, http:, tftp:, s3:, gs:")


def _named(
    items: list[yaml.Node], key: str, fits: Callable[[str], object], needs: str
) -> Iterator[Problem]:
    """Yield the items whose name is absent, not as wanted, or that of one before."""
    seen = set()
    for item in items:
        name = _under(item, key)
        if name is None or not fits(name.value):
            yield _problem(name or item, needs)
        elif name.value in seen:
            yield _problem(name, f"duplicate {key} {name.value}")
        else:
            seen.add(name.value)


def _problem(node: yaml.Node, message: str, level: str = "error") -> Problem:
    return Problem(node.start_mark.line + 1, level, message)


def _under(node: yaml.Node, *path: str) -> yaml.Node | None:
    """Return the node below some keys, None if there is none."""
    for key in path:
        node = next((v for k, v in node.value if k.value == key), None)
        if node is None:
            return None
    return node


def _items(node: yaml.Node, *path: str) -> list[yaml.Node]:
    found = _under(node, *path)
    return found.value if found is not None else []
