"""Placeholders: the names `${name}` in a configuration of the operator's own, and their values.

What differs from machine to machine stays `${name}` in the text of the cluster, and is filled in
when a machine is given its own.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import yaml

from lib.config.addresses import Bootstrap
from lib.config.lint import Problem
from lib.errors import ParamsError
from lib.record import masks, whole
from lib.record.journal import ROOT

MACHINE = ("host_name", "index", "address")
CLUSTER = ("cluster_name", "role")
SHORTEST = 8  # characters of a secret: a shorter one cannot be masked wherever it stands
# `${x:-y}` and the like of a shell are no names.
PLACEHOLDER = re.compile(r"\$(\$?)\{([A-Za-z_]\w*)\}", re.ASCII)
OF_MACHINE = re.compile(rf"\$\{{({'|'.join(MACHINE)})\}}")
_RESOLVER = yaml.resolver.Resolver()


def values_of(given: Mapping[str, str], bootstrap: Bootstrap) -> dict[str, str]:
    """Return the value of each name that is the same on all machines: `given` and the cluster's.

    `role` is empty: without roles all machines are alike. Raises ParamsError for a name that cannot
    be, and for a secret that cannot be read, or not be masked.
    """
    for name, value in given.items():
        if not isinstance(value, str):
            raise ParamsError(
                "config_values", text=f"the value of {name} is no text: put it in quotes"
            )
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            text = f"{name!r} is no name: use letters, digits and _"
            raise ParamsError("config_values", text=text)
        if name in (*MACHINE, *CLUSTER):
            text = f"${{{name}}} has a meaning of its own: choose another name"
            raise ParamsError("config_values", text=text)
    found = {name: secret(name, value) or value for name, value in given.items()}
    return {"cluster_name": bootstrap.cluster, "role": ""} | found


def secret(name: str, value: str) -> str:
    """Return the secret that `secret:ENV_NAME` or `secret:file:PATH` names, "" for another value.

    From here on it is masked. A relative path starts at the project's root.
    """
    kind, _, rest = value.partition(":")
    if kind != "secret":
        return ""
    what = f"config_values {name}"
    if rest.startswith("file:"):
        try:
            found = whole.text(ROOT / Path(rest[5:]).expanduser()).rstrip("\n")
        except (OSError, UnicodeDecodeError) as fault:
            text = f"{rest[5:]} cannot be read as a text file ({type(fault).__name__})"
            raise ParamsError(what, text=text) from None
        except ValueError as fault:
            raise ParamsError(what, text=f"{rest[5:]} {fault}") from None
    else:
        found = os.environ.get(rest, "")
        if not found:
            text = f"the variable {rest} of the environment is not set: export it"
            raise ParamsError(what, text=text)
    if max(map(len, found.splitlines()), default=0) < SHORTEST:
        text = f"a secret of fewer than {SHORTEST} characters cannot be masked: use a longer one"
        raise ParamsError(what, text=text)
    return masks.add(found)


def fill(
    node: yaml.Node, values: Mapping[str, str], problems: list[Problem], done: dict | None = None
) -> yaml.Node:
    """Return a copy of a tree with the values for its names; those of machines may stay.

    A name that is neither adds to the problems. `$${name}` becomes `${name}`.
    """
    done = {} if done is None else done
    if id(node) in done:  # an anchor, used more than once, or within itself
        return done[id(node)]
    if isinstance(node, yaml.ScalarNode):
        new: yaml.Node = _filled(node, values, problems)
        done[id(node)] = new
        return new
    new = type(node)(node.tag, [], node.start_mark, node.end_mark, node.flow_style)
    done[id(node)] = new
    for item in node.value:
        if isinstance(item, tuple):
            key, value = item
            known = _quoted(values) if _is_data_url(key, value) else values
            item = (fill(key, values, problems, done), fill(value, known, problems, done))
            new.value.append(item)
        else:
            new.value.append(fill(item, values, problems, done))
    return new


def _is_data_url(key: yaml.Node, value: yaml.Node) -> bool:
    is_text = isinstance(value, yaml.ScalarNode)
    return key.value == "source" and is_text and value.value.startswith("data:")


def _quoted(values: Mapping[str, str]) -> dict[str, str]:
    return {name: quote(value, safe="") for name, value in values.items()}


def _filled(
    node: yaml.ScalarNode, values: Mapping[str, str], problems: list[Problem]
) -> yaml.ScalarNode:
    def value(found: re.Match) -> str:
        escaped, name = found[1], found[2]
        if escaped and name not in MACHINE:
            return f"${{{name}}}"
        if not escaped and name in values:
            return values[name]
        if escaped or name not in MACHINE:
            problems.append(_unknown(_line(node, found), name, values))
        return found[0]

    text = PLACEHOLDER.sub(value, node.value)
    tag = node.tag
    if text != node.value and node.style is None:
        tag = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))
    return yaml.ScalarNode(tag, text, node.start_mark, node.end_mark, node.style)


def _line(node: yaml.ScalarNode, found: re.Match) -> int:
    """Return the line of what is found in a text; a block's text begins below its `|`."""
    below = 1 + node.value.count("\n", 0, found.start()) if node.style == "|" else 0
    return node.start_mark.line + 1 + below


def _unknown(line: int, name: str, values: Mapping[str, str]) -> Problem:
    known = ", ".join([*values, *MACHINE])
    what = (
        f"${{{name}}} has no value; there are {known}. Set config_values, or write $${{{name}}} for"
    )
    what += " a variable"
    if name in MACHINE:
        what = f"$${{{name}}}: a variable of a shell or a unit needs another name than {name}"
    return Problem(line, "error", what)


def of_machines(node: yaml.Node | None, seen: set[int] | None = None) -> Iterator[tuple[int, str]]:
    """Yield line and name of what differs from machine to machine in a tree."""
    seen = set() if seen is None else seen
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        for found in OF_MACHINE.finditer(node.value):
            yield _line(node, found), found[1]
        return
    for item in node.value:
        for inner in item if isinstance(item, tuple) else (item,):
            yield from of_machines(inner, seen)


def for_machine(text: str, name: str, address: str) -> str:
    """Return a text with what its names stand for on a machine; its index is that in its name.

    >>> for_machine("${index}: ${host_name} ${HOME}", "core-2", "")
    '2: core-2 ${HOME}'
    """
    values = {"host_name": name, "index": name.rpartition("-")[2], "address": address}
    return OF_MACHINE.sub(lambda found: values[found[1]], text)
