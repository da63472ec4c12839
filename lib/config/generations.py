"""Generations: which keys of a cloud-config the images of an installer ignore or refuse.

Those of `coreos-install` have the coreos-cloudinit of 2014 (its 0.8: `system/unit.go` and
`Documentation/cloud-config.md`), those of `flatcar-install` a later one, but no etcd or fleet of
its sections.
"""

from collections.abc import Iterator

import yaml

from lib.config.lint import Problem, pairs, rules

LEVELS = {"error": "refused", "ignored": "ignored"}  # and the tables of `schemas.yaml`


def unfit(root: yaml.Node | None, installer: str) -> list[Problem]:
    """Return what the images of an installer refuse ("error") or silently ignore ("ignored")."""
    tables = {level: rules()[table].get(installer, {}) for level, table in LEVELS.items()}
    found = list(_keys(root, "")) if root else []
    return [
        Problem(line, level, f'"{path.rpartition(".")[2]}": {reasons[path]}')
        for level, reasons in tables.items()
        for line, path in found
        if path in reasons
    ]


def _keys(node: yaml.Node, path: str) -> Iterator[tuple[int, str]]:
    """Yield line and path of every key that a rule may name: those are three deep at most."""
    if isinstance(node, yaml.SequenceNode) and path:
        for item in node.value:
            yield from _keys(item, path) if isinstance(item, yaml.MappingNode) else ()
    elif isinstance(node, yaml.MappingNode) and path.count(".") < 2:
        for key, value in pairs(node):
            below = f"{path}.{str(key.value).replace('-', '_')}".lstrip(".")
            yield key.start_mark.line + 1, below
            yield from _keys(value, below)
