"""The rules of an Ignition config, spec 3: what Flatcar applies once, at its first boot."""

import json
import re
from collections.abc import Callable, Iterator

import yaml

from lib.config.keys import key_fault
from lib.config.lint import Problem, misshapen, schema

VERSIONS = tuple(f"3.{minor}.0" for minor in range(7))  # what Ignition 2.26 of Flatcar knows
SUFFIXES = "automount device mount path scope service slice snapshot socket swap target timer"
UNIT = re.compile(rf"[\w:.@\\-]+\.({'|'.join(SUFFIXES.split())})", re.ASCII)
NOT_YAML = re.compile(f"{yaml.reader.Reader.NON_PRINTABLE.pattern}|[\x85\u2028\u2029]")
CONF = re.compile(r"[^/]+\.conf")
SOURCE = re.compile(r"(data|https?|tftp|s3|arn|gs):.*", re.DOTALL)


def validate(text: str) -> list[Problem]:
    """Return what is wrong with a config, by line.

    Names that Ignition does not know are warnings to it, and typos here: none should be left.
    """
    root = compose(text)
    return [root] if isinstance(root, Problem) else shape(root)


def compose(text: str) -> yaml.MappingNode | Problem:
    """Return the tree of a JSON object, with its lines, or a Problem if the text is none."""
    try:
        if not isinstance(json.loads(text), dict):
            return Problem(1, "error", "not a JSON object")
        # JSON is YAML but for tabs and some characters, which end a line there or are forbidden.
        readable = NOT_YAML.sub(lambda found: json.dumps(found[0])[1:-1], text.replace("\t", " "))
        return yaml.compose(readable.removeprefix("\ufeff"), Loader=yaml.SafeLoader)
    except ValueError as fault:
        return Problem(getattr(fault, "lineno", 1), "error", f"not JSON: {fault}")
    except RecursionError:
        return Problem(1, "error", "nested too deep")


def shape(root: yaml.Node) -> list[Problem]:
    """Return what is wrong with the tree of a config."""
    return sorted(list(misshapen(root, schema("ignition"), "")) or _rules(root))


def not_ours(root: yaml.Node) -> list[Problem]:
    """Return what a config that is merged into the cluster's must not have."""
    found = _under(root, "ignition", "config", "replace")
    what = "ignition.config.replace would replace the cluster's own part too: merge it instead"
    return [_problem(found, what)] if found is not None else []


def level(*roots: yaml.Node) -> None:
    """Give configs the newest of their versions: each holds what the ones before it had."""
    nodes = [_under(root, "ignition", "version") for root in roots]
    newest = max(node.value for node in nodes if node is not None)
    for node in nodes:
        if node is not None:
            node.value = newest


def written(root: yaml.Node) -> str:
    """Return the JSON text of a tree."""
    return json.dumps(_data(root), indent=1, ensure_ascii=False) + "\n"


def _data(node: yaml.Node) -> object:
    if isinstance(node, yaml.MappingNode):
        return {_string(key): _data(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_data(item) for item in node.value]
    return _string(node) if node.style == '"' else json.loads(node.value)


def _string(node: yaml.ScalarNode) -> str:
    # JSON writes a character beyond U+FFFF as two escapes, which YAML reads as two characters.
    return node.value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _rules(root: yaml.MappingNode) -> Iterator[Problem]:
    """Yield what is wrong with the values of a config of the right shape."""
    version = _under(root, "ignition", "version")
    if version is None or version.value not in VERSIONS:
        yield _problem(version or root, f"ignition.version must be {VERSIONS[0]} to {VERSIONS[-1]}")
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
