"""Nodes: the YAML of a parameter file, each value read from its text by the declared type.

YAML 1.1 converts some plain words (`no`, `22:22`, `012`, dates): such a text is a fault.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from yaml.constructor import SafeConstructor

from lib.record import whole
from lib.record.secrets import secret_name

_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)")
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")
_EXPECTED = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list[str]": "a list of texts",
    "dict[str]": "texts by name",
    "list[dict]": "a list of { }",
}
DEEPEST = 5  # levels of brackets: a parameter has one


def pairs(file: Path | str, faults: list[str]) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Yield the key and value nodes of a file; add to the faults if it is not a mapping."""
    try:
        top = _composed(whole.text(Path(file), pipe=True))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        faults.append(f"{file}: cannot be read: {reason}")
    except ValueError as error:
        faults.append(f"{file}: {error}")
    except yaml.YAMLError as error:
        faults.append(_syntax_fault(file, error))
    else:
        if isinstance(top, yaml.MappingNode):
            yield from top.value
        elif top is not None:
            line = top.start_mark.line + 1
            faults.append(f"{file}:{line}: expected lines of `name: value`, found something else")


def _composed(text: str) -> yaml.Node | None:
    """Return the top node of a YAML text; raise ValueError where it is nested too deep."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            line = event.start_mark.line + 1
            raise ValueError(f"line {line} is nested deeper than {DEEPEST} levels")
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _syntax_fault(file: Path | str, error: yaml.YAMLError) -> str:
    """Return the place of a syntax error without the line, which may have a secret."""
    mark = getattr(error, "problem_mark", None)
    problem = re.sub(r"'[^']{4,}'|\"[^\"]{4,}\"", "…", getattr(error, "problem", None) or "")
    where = f"{file}:{mark.line + 1}" if mark else f"{file}"
    return f"{where}: is not YAML: {problem or 'it holds a character that YAML does not allow'}"


def raw(node: yaml.Node) -> object:
    """Return the text of a node, or a flat list of the texts in it."""
    return node.value if isinstance(node, yaml.ScalarNode) else list(_scalars(node, set()))


def _scalars(node: yaml.Node, seen: set[int]) -> Iterator[str]:
    if isinstance(node, yaml.ScalarNode):
        yield node.value
        return
    if id(node) in seen:  # an alias, maybe of what it stands in
        return
    seen.add(id(node))
    for item in node.value:
        for part in item if isinstance(item, tuple) else [item]:
            yield from _scalars(part, seen)


def typed(node: yaml.Node, kind: str) -> object:
    """Return a node's value as the declared type; raise ValueError if it has another."""
    if isinstance(node, yaml.MappingNode):
        if kind != "dict[str]":
            raise ValueError(f"expected {_EXPECTED[kind]}, found a mapping: parameters are flat")
        return _by_name(node)
    if isinstance(node, yaml.SequenceNode):
        if kind == "list[dict]":
            return [_row(item) for item in node.value]
        if kind != "list[str]":
            raise ValueError(f"expected {_EXPECTED[kind]}, found a list")
        return _texts(node.value)
    return _READ[kind](node)


def _by_name(node: yaml.MappingNode) -> dict[str, str]:
    """Return a mapping of texts; raise ValueError for a value that is none, or looks like a key."""
    values = _texts([v for _, v in node.value])
    return _without_secrets(dict(zip(_names(node), values, strict=True)))


def _names(node: yaml.MappingNode) -> list[str]:
    """Return the names in a mapping; raise ValueError where one comes twice."""
    names = _texts([k for k, _ in node.value])
    if len(set(names)) < len(names):
        raise ValueError("a name is set twice: keep one of them")
    return names


def _row(node: yaml.Node) -> dict[str, object]:
    """Return a mapping of texts and whole numbers; raise ValueError for what is none."""
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("expected a list of { }, found something else in it")
    values = [v for _, v in node.value]
    if not all(isinstance(v, yaml.ScalarNode) for v in values):
        raise ValueError("expected texts and numbers by name, found lists or mappings in it")
    read = [_whole(v) if _tag(v) == "int" else _text(v) for v in values]
    return dict(zip(_names(node), read, strict=True))


def _without_secrets(found: dict[str, str]) -> dict[str, str]:
    for name, value in found.items():
        if secret_name(name) and not value.startswith("secret:"):
            raise ValueError(
                f"{name} looks like a secret: write secret:NAME for the variable NAME of the "
                "environment, or secret:file:PATH (its value is not shown)"
            )
    return found


def _texts(items: Sequence[yaml.Node]) -> list[str]:
    if not all(isinstance(item, yaml.ScalarNode) for item in items):
        raise ValueError("expected texts, found lists or mappings in it")
    return [_text(item) for item in items]


def _text(node: yaml.ScalarNode) -> str:
    if _tag(node) == "str":
        return node.value
    if not node.value:
        raise ValueError('expected a text, found nothing: write "" for an empty one')
    raise ValueError(f"YAML reads {node.value} as {_reading(node)}: put it in quotes")


def _whole(node: yaml.ScalarNode) -> int:
    if _tag(node) == "int" and _WHOLE.fullmatch(node.value):
        return int(node.value)
    raise ValueError(_not_a_number(node, "int"))


def _number(node: yaml.ScalarNode) -> float:
    if _tag(node) in ("int", "float") and _NUMBER.fullmatch(node.value):
        return float(node.value)
    raise ValueError(_not_a_number(node, "float"))


def _truth(node: yaml.ScalarNode) -> bool:
    if _tag(node) == "bool":
        return SafeConstructor().construct_yaml_bool(node)
    raise ValueError(f"expected true or false, found {_reading(node)}")


def _no_list(node: yaml.ScalarNode) -> None:
    raise ValueError(f"expected a list of texts, found {_reading(node)}: write it in [ ]")


def _no_names(node: yaml.ScalarNode) -> None:
    raise ValueError(f"expected texts by name, found {_reading(node)}: write {{name: value}}")


_READ = {"str": _text, "int": _whole, "float": _number, "bool": _truth, "list[str]": _no_list}
_READ |= {"dict[str]": _no_names, "list[dict]": _no_list}


def _not_a_number(node: yaml.ScalarNode, kind: str) -> str:
    """Return the fault of a node that is not a number, and how to write the number."""
    expected = f"expected {_EXPECTED[kind]}"
    if _tag(node) != "str":
        return (
            f"{expected}; YAML reads {node.value or 'it'} as {_reading(node)}: write plain digits"
        )
    if not _NUMBER.fullmatch(node.value):
        return f"{expected}, found {_reading(node)}"
    if node.style:
        return f"{expected}, found {_reading(node)}: remove the quotes"
    return f"{expected}; YAML reads {node.value} as a text: write {float(node.value):.0f}"


def _tag(node: yaml.ScalarNode) -> str:
    return node.tag.rpartition(":")[2]


def _reading(node: yaml.ScalarNode) -> str:
    """Return how YAML reads a scalar, in words."""
    kind, make = _tag(node), SafeConstructor()
    if kind == "int":
        return f"the whole number {make.construct_yaml_int(node)}"
    if kind == "float":
        return f"the number {make.construct_yaml_float(node)}"
    if kind == "bool":
        return f"the truth value {make.construct_yaml_bool(node)}"
    if kind == "str":
        return f"the text {node.value[:60]!r}"
    return {"timestamp": "a date", "null": "nothing"}.get(kind, f"something else ({node.tag})")


def _split(text: str) -> list[str]:
    """Return the texts between commas; in double quotes, as in CSV, one may hold commas itself.

    >>> _split('a, b'), _split('"a,b",c')
    (['a', 'b'], ['a,b', 'c'])
    """
    try:
        lines = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
        items = [item.strip() for line in lines for item in line]
    except csv.Error as error:
        raise ValueError(f"expected texts between commas: {error}") from None
    return [item for item in items if item]


def from_text(text: str, kind: str) -> object:
    """Convert a text of the command line to the type; raise ValueError if that fails."""
    if kind == "str":
        return text
    if kind == "list[str]":
        return _split(text.strip().removeprefix("[").removesuffix("]"))
    if kind == "list[dict]":
        try:
            node = _composed(text)
        except yaml.YAMLError:
            node = None
        if not isinstance(node, yaml.SequenceNode):
            raise ValueError(
                f"expected {_EXPECTED[kind]}, as [{{name: value}}], found {text[:60]!r}"
            )
        return typed(node, kind)
    if kind == "dict[str]":
        pairs = _split(text.strip().removeprefix("{").removesuffix("}"))
        if all(re.match(r"\w+=", pair) for pair in pairs):
            return _without_secrets(dict(pair.split("=", 1) for pair in pairs))
        raise ValueError('expected name=value,name=value; with a comma inside: "name=a,b",...')
    if kind == "int" and _WHOLE.fullmatch(text):
        return int(text)
    if kind == "float" and _NUMBER.fullmatch(text):
        return float(text)
    if kind == "bool" and text in ("true", "false"):
        return text == "true"
    raise ValueError(f"expected {_EXPECTED[kind]}, found {text[:60]!r}")
