"""The rules of a cloud-config: those of coreos-cloudinit, and some that it lacks."""

import base64
import gzip
import posixpath
import re
import zlib
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from lib.config.keys import BLANKS, key_fault


class Problem(NamedTuple):
    """Something wrong with a cloud-config: line from 1, error, warning or info, and what."""

    line: int
    level: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.level}: {self.message}"


# What a kind of value is to YAML; "text" is what JSON calls a string.
WANTED = {"string": ("str", "int", "float", "bool", "timestamp"), "bool": ("bool",)}
WANTED |= {"number": ("int", "float"), "text": ("str",)}
FILE = Path(__file__).with_name("schemas.yaml")


@cache
def rules() -> dict[str, dict]:
    """Return what configurations may hold; the file explains its form."""
    return yaml.safe_load(FILE.read_text("utf-8"))


@cache
def schema(kind: str) -> dict:
    """Return the schema of a kind of configuration, as `misshapen` takes it."""
    return _expanded(rules()[kind])


def _expanded(node: Any) -> Any:
    """Return a schema with each name of a list `=kind: names` as a key of its own."""
    if isinstance(node, list):
        return [_expanded(item) for item in node]
    if not isinstance(node, dict):
        return node
    keys = {n: key[1:] for key, names in node.items() if key[0] == "=" for n in names.split()}
    return keys | {key: _expanded(value) for key, value in node.items() if key[0] != "="}


def validate(text: str) -> list[Problem]:
    """Return what is wrong with a cloud-config, by line; a script ("#!") is not looked into.

    coreos-cloudinit's own rules, and: duplicate keys, blanks that are not ASCII, damaged ssh keys.
    """
    if text == "" or text.startswith("#!"):
        return []
    problems = surface(text)
    root = compose(text)
    problems += [root] if isinstance(root, Problem) else shape(root)
    return sorted(problems)


def surface(text: str) -> list[Problem]:
    """Return what is wrong with the text of a cloud-config before it is read as YAML."""
    return [*_first_line(text.split("\n", 1)[0]), *_blanks(text)]


def compose(text: str) -> yaml.Node | Problem | None:
    """Return the tree of a YAML text, None if it is empty, a Problem if it is not YAML."""
    # YAML allows tabs that indent nothing, PyYAML does not.
    spaced = re.sub(r"(?m)(?<=\S)[^\n]*$", lambda m: m[0].replace("\t", " "), text)
    try:
        return yaml.compose(spaced.removeprefix("\ufeff"), Loader=yaml.SafeLoader)
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        what = getattr(fault, "problem", None) or "a character that YAML does not allow"
        return Problem(mark.line + 1 if mark else 1, "error", f"not YAML: {what}")
    except RecursionError:
        return Problem(1, "error", "nested too deep")


def shape(root: yaml.Node | None) -> list[Problem]:
    """Return what is wrong with the tree of a cloud-config."""
    return list(misshapen(root, schema("cloud-config"), "")) if root else []


def _first_line(first: str) -> Iterator[Problem]:
    if first.startswith("\ufeff"):
        yield Problem(1, "error", "a byte order mark stands before #cloud-config")
    elif first.rstrip() != "#cloud-config":
        seen = "the first line is blank; it " if not first.strip() else ""
        yield Problem(1, "error", f'{seen}must be "#cloud-config" or begin with "#!"')


def _blanks(text: str) -> Iterator[Problem]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        found = BLANKS.search(line)
        if found and not line.lstrip().startswith("#"):
            what = f"U+{ord(found[0]):04X} is no blank to YAML or ssh (a full-width space?)"
            yield Problem(number, "error", what)


def misshapen(node: yaml.Node, schema: dict | list | str, path: str) -> Iterator[Problem]:
    """Yield what is wrong with a node and all below it; `path` is its keys, joined by dots.

    The schema is a mapping of keys, a list of one schema, or a kind of value ("any" for all).
    """
    line = node.start_mark.line + 1
    if schema == "any":
        return
    if node.tag.endswith(":null"):
        yield Problem(line, "warning", f"{_last(path)} is empty")
    elif isinstance(schema, dict) and isinstance(node, yaml.MappingNode):
        yield from _check_keys(node, schema, path)
    elif isinstance(schema, list) and isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from misshapen(item, schema[0], path)
    elif isinstance(schema, str) and node.tag.rpartition(":")[2] in WANTED[schema]:
        yield from (Problem(line, level, what) for level, what in _value(path, node.value))
    else:
        want = {dict: "a mapping", list: "a list"}.get(type(schema), schema)
        yield Problem(line, "warning", f"incorrect type for {_last(path)} (want {want})")


def _check_keys(node: yaml.MappingNode, schema: dict, path: str) -> Iterator[Problem]:
    seen = set()
    for key, value in pairs(node):
        name, line = str(key.value).replace("-", "_"), key.start_mark.line + 1
        if name in seen:
            yield Problem(line, "error", f'duplicate key "{key.value}"')
        seen.add(name)
        below = f"{path}.{name}".lstrip(".")
        if why := rules()["deprecated"].get(below):
            yield Problem(line, "warning", f'deprecated key "{key.value}": {why}')
        if name in schema:
            yield from misshapen(value, schema[name], below)
        elif (path, name) == ("coreos", "write_files"):
            yield Problem(line, "info", "write_files doesn't belong under coreos")
        else:
            yield Problem(
                line, "warning", f'unrecognized key "{key.value}"{_suggestion(name, schema)}'
            )
    if path == "write_files":
        yield from _check_file(node)


def pairs(node: yaml.MappingNode, depth: int = 3) -> list[tuple[yaml.Node, yaml.Node]]:
    """Return the keys and values of a mapping, and those that `<<` merges into it, first ones."""
    merges = {k: _mappings(v) for k, v in node.value if k.tag.endswith(":merge") and depth}
    own = [(k, v) for k, v in node.value if not merges.get(k)]
    for merged in (m for maps in merges.values() for m in maps):
        names = {k.value for k, _ in own}
        own += [p for p in pairs(merged, depth - 1) if p[0].value not in names]
    return own


def _mappings(node: yaml.Node) -> list[yaml.MappingNode]:
    """Return what `<<` may merge: a mapping, or a list of them; [] for all else."""
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return items if all(isinstance(m, yaml.MappingNode) for m in items) else []


def _suggestion(name: str, schema: dict) -> str:
    near = ["path"] if name == "name" and "path" in schema else get_close_matches(name, schema, 1)
    return f'; is it meant to be "{near[0]}"?' if near else ""


def _last(path: str) -> str:
    return f'"{path.rpartition(".")[2]}"' if path else "the cloud-config"


def _value(path: str, value: str) -> Iterator[tuple[str, str]]:
    """Yield level and message of what is wrong with one value."""
    if not re.fullmatch(rules()["values"].get(path, ".*"), value, re.S):
        yield "error", f"invalid value {value!r} for {_last(path)}"
    if path in ("coreos.etcd.discovery", "coreos.etcd2.discovery") and not _is_url(value):
        yield "warning", "discovery URL is not valid"
    if path.endswith("ssh_authorized_keys") and key_fault(value):
        yield "error", f"ssh key: {key_fault(value)}"
    cleaned = posixpath.normpath(re.sub("^/+", "/", value))  # as Go's path.Clean does
    if path == "write_files.path" and re.match("/usr(/|$)", cleaned):
        yield "error", "file cannot be written to a read-only filesystem"


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname and parts.path.strip("/"))


def _check_file(node: yaml.MappingNode) -> Iterator[Problem]:
    """Yield what is wrong with an entry of write_files as a whole."""
    values = {k.value: v for k, v in pairs(node)}
    if "path" not in values:
        yield Problem(node.start_mark.line + 1, "error", "write_files entry without a path")
    encoding = values["encoding"].value if "encoding" in values else ""
    content = values.get("content")
    if content is not None and "b" in str(encoding) and not _decodes(content.value, encoding):
        line = content.start_mark.line + 1
        yield Problem(line, "error", f'content cannot be decoded as "{encoding}"')


def _decodes(content: str, encoding: str) -> bool:
    try:
        data = base64.b64decode("".join(content.split()), validate=True)
        return not encoding.startswith("gz") or gzip.decompress(data) is not None
    except (ValueError, OSError, EOFError, zlib.error):
        return False
