"""The disks of the workstation as a picture: how each is divided, before a stage and after it."""

from html import escape

import pandas as pd

from lib.record.shown import Shown, rect, row

WIDTH, HEIGHT, LEAST = 300, 18, 3  # pixels of a disk, and of its smallest part
NEW, OLD, FREE = "#2e7bd6", "#8c8c8c", "rgba(128,128,128,.2)"
NOTHING = "not there"


def compared(before: pd.DataFrame, after: pd.DataFrame) -> Shown:
    """Return a row for each disk of two tables as `disks.table` returns them; new parts are blue.

    The lengths show the shares of a disk, not its size beside others. As text it names those disks
    that changed.
    """
    was, now = _by_disk(before), _by_disk(after)
    rows, lines = [], []
    for path in dict.fromkeys([*was, *now]):
        old, new = was.get(path), now.get(path)
        disk = (new or old)[0]
        name = " ".join(filter(None, [path, disk["volume"], f"{disk['size GiB']:g} GB"]))
        known = {part["path"] for part in old or []}
        rows.append(row(escape(name), _bar(old, known), "→", _bar(new, known)))
        lines += [f"{name}: {_in_words(old)} → {_in_words(new)}"] * (old != new)
    return Shown(f"<table>{''.join(rows)}</table>", "\n".join(lines) or "no disk has changed")


def _by_disk(table: pd.DataFrame) -> dict[str, list[dict]]:
    """Return each disk by its path, followed by the parts on it."""
    found: dict[str, list[dict]] = {}
    for one in table.to_dict("records"):
        if one["type"] == "disk":
            found[one["path"]] = [one]
        elif found and one["type"] == "part":
            found[list(found)[-1]].append(one)
    return found


def _in_words(disk: list[dict] | None) -> str:
    """Say how a disk is divided.

    >>> _in_words(None), _in_words([{}]), _in_words([{}, {}])
    ('not there', 'no parts', '1 part')
    """
    if disk is None:
        return NOTHING
    parts = len(disk) - 1
    return f"{parts or 'no'} part{'s' * (parts != 1)}"


def _bar(disk: list[dict] | None, known: set[str]) -> str:
    if disk is None:
        return NOTHING
    whole, *parts = disk
    title = f"{whole['path']}: {_in_words(disk)}"
    x, shapes = 0.0, [rect((0, 0, WIDTH, HEIGHT), FREE, title)]
    for part in parts:
        width = max(LEAST, part["size GiB"] / whole["size GiB"] * WIDTH)
        width = min(width, WIDTH - x)
        words = [part[k] for k in ("path", "partlabel", "fstype", "uses")]
        title = ", ".join(filter(None, [*words, f"{part['size GiB']:g} GB"]))
        place = x, 0, max(width - 1, 1), HEIGHT
        shapes.append(rect(place, OLD if part["path"] in known else NEW, title))
        x += width
    return f'<svg width="{WIDTH}" height="{HEIGHT}">{"".join(shapes)}</svg>'
