"""Lists that a stage has asked for and leaves to the next of its run, which need not ask again."""

import json
from pathlib import Path

from lib.record import whole

FILE = "asked.json"
MOST = 500  # rows of a list that is left
# How questions begin that are left: with commands whose rows hold nothing secret.
LEFT = tuple(
    f'["list{things}"'
    for things in ("Capabilities", "DiskOfferings", "OsTypes", "PublicIpAddresses", "Snapshots",
                   "ServiceOfferings", "Tags", "Templates", "VirtualMachines", "Volumes", "Zones")
)  # fmt: skip

Lists = dict[str, tuple[float, list[dict]]]  # when it was asked, and what came, by the question


def leave(folder: Path, cloud: str, lists: Lists) -> None:
    """Leave the lists of a cloud, by questions as `json.dumps([command, …])` has them."""
    kept = {
        question: found
        for question, found in lists.items()
        if question.startswith(LEFT) and "userdata" not in question and len(found[1]) <= MOST
    }
    whole.write(folder / FILE, json.dumps({"cloud": cloud, "lists": kept}), lasting=False)


def take(folder: Path, cloud: str) -> Lists:
    """Take what was left of that cloud, {} where nothing was or the file is damaged."""
    held = whole.read(folder / FILE) or {}
    forget(folder)
    try:
        lists = held["lists"].items() if held["cloud"] == cloud else ()
        found = {q: (float(at), [dict(row) for row in rows]) for q, (at, rows) in lists}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}
    return {q: kept for q, kept in found.items() if q.startswith(LEFT)}


def forget(folder: Path) -> None:
    """Leave nothing, as something changes."""
    (folder / FILE).unlink(missing_ok=True)
