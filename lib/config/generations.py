"""Generations: which keys of a cloud-config the images of an installer ignore or refuse.

Those of `coreos-install` have the coreos-cloudinit of 2014 (its 0.8: `system/unit.go` and
`Documentation/cloud-config.md`), those of `flatcar-install` a later one, but no etcd or fleet of
its sections.
"""

from collections.abc import Iterator

import yaml

from lib.config.lint import Problem, pairs, texts

NO_SERVICE = "Flatcar ignores it: it has no such service"
UNKNOWN_2014 = "coreos-cloudinit of 2014 ignores it"
IGNORED = {
    "coreos-install": texts(
        "coreos.etcd2 coreos.flannel coreos.locksmith coreos.units.drop_ins users.shell"
        " users.coreos_ssh_import_github_users",
        UNKNOWN_2014,
    ),
    "flatcar-install": texts("coreos.etcd coreos.etcd2 coreos.fleet", NO_SERVICE),
}
REFUSED = {
    "coreos-install": {
        "write_files.encoding": "coreos-cloudinit of 2014 writes no file that has one, nor what "
        "comes after it: give the content as it is"
    }
}


def unfit(root: yaml.Node | None, installer: str) -> list[Problem]:
    """Return what the images of an installer refuse ("error") or silently ignore ("ignored")."""
    rules = {"error": REFUSED.get(installer, {}), "ignored": IGNORED[installer]}
    found = list(_keys(root, "")) if root else []
    return [
        Problem(line, level, f'"{path.rpartition(".")[2]}": {reasons[path]}')
        for level, reasons in rules.items()
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
