"""Merging: the operator's own configuration into that of the cluster, as trees with lines.

A list of things that have names (units, drop-ins, users, files) is merged by these, any other by
its values; what only one side has follows, in its order. So Ignition does it, too, with
`ignition.config.merge` (its `config/merge`), but there the merged config wins where both say
something: here that is a conflict.
"""

from collections.abc import Callable
from typing import NamedTuple

import yaml

from lib.config.lint import pairs

NAMED = dict.fromkeys(("units", "drop_ins", "dropins", "users"), "name") | {"write_files": "path"}
NAMED |= {"files": "path"}


class Conflict(NamedTuple):
    """Two values for one key: its path, and the node of each side."""

    path: str
    ours: yaml.Node
    theirs: yaml.Node


def merge(
    ours: yaml.Node, theirs: yaml.Node, conflicts: list[Conflict], path: str = ""
) -> yaml.Node:
    """Return both in one tree, ours first; what both say differently is added to the conflicts."""
    if isinstance(ours, yaml.MappingNode) and isinstance(theirs, yaml.MappingNode):
        return _like(ours, _keys(ours, theirs, conflicts, path))
    if isinstance(ours, yaml.SequenceNode) and isinstance(theirs, yaml.SequenceNode):
        return _like(ours, _items(ours, theirs, conflicts, path))
    if type(ours) is not type(theirs) or ours.value != theirs.value:
        conflicts.append(Conflict(path, ours, theirs))
    return ours


def _like(node: yaml.CollectionNode, value: list) -> yaml.CollectionNode:
    flow = node.flow_style if node.value else False
    return type(node)(node.tag, value, node.start_mark, node.end_mark, flow)


def _keys(
    ours: yaml.MappingNode, theirs: yaml.MappingNode, conflicts: list[Conflict], path: str
) -> list[tuple[yaml.Node, yaml.Node]]:
    others = {_key(key): (key, value) for key, value in pairs(theirs)}
    merged = []
    for key, value in pairs(ours):
        other = others.pop(_key(key), None)
        below = f"{path}.{key.value}".lstrip(".")
        merged.append((key, merge(value, other[1], conflicts, below) if other else value))
    return merged + list(others.values())


def _items(
    ours: yaml.SequenceNode, theirs: yaml.SequenceNode, conflicts: list[Conflict], path: str
) -> list[yaml.Node]:
    named = _named(path.rpartition(".")[2])
    others = list(theirs.value)
    merged = []
    for item in ours.value:
        other = next((o for o in others if named(o) == named(item)), None)
        if other is not None:
            others.remove(other)
        below = f"{path}[{named(item)}]"
        merged.append(merge(item, other, conflicts, below) if other is not None else item)
    return merged + others


def _named(key: str) -> Callable[[yaml.Node], object]:
    """Return what identifies an item of the list under a key."""

    def identity(item: yaml.Node) -> object:
        if not isinstance(item, yaml.MappingNode):
            return item.value
        found = {_key(k): v.value for k, v in pairs(item)}
        return found.get(NAMED.get(key.replace("-", "_"), ""), id(item))

    return identity


def _key(node: yaml.Node) -> str:
    return str(node.value).replace("-", "_")  # to coreos-cloudinit they are the same


def yaml_text(root: yaml.Node) -> str:
    """Return the YAML text of a tree: values as they were written, without comments."""
    return yaml.serialize(root, allow_unicode=True, width=2**30)
