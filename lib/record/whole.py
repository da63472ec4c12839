"""Whole files, of which nobody ever finds a part, and of files that grow the whole lines."""

import json
import os
from pathlib import Path


def write(path: Path, text: str, *, lasting: bool = False, errors: str = "strict") -> Path:
    """Write a file for its owner alone, as a whole or not at all.

    `lasting` waits until it is on the disk.
    """
    unfinished = path.with_name(f".{path.name}.part")
    with open(unfinished, "w", encoding="utf-8", errors=errors, opener=_for_us) as file:
        file.write(text)
        if lasting:
            file.flush()
            os.fsync(file.fileno())
    os.replace(unfinished, path)
    return path


def _for_us(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def lines(path: Path) -> tuple[list[dict], int]:
    """Return the JSON objects of a file, a line each, and how many other lines there are.

    The last line may have been cut off by the death of its writer; what it tells of had not begun.
    What is no plain file counts as one line that is none.
    """
    if not path.is_file():
        return [], int(os.path.lexists(path))
    texts = path.read_text("utf-8", "replace").split("\n")
    rows = [_object(text) for text in texts if text]
    found = [row for row in rows if row is not None]
    return found, len(rows) - len(found)


def _object(text: str) -> dict | None:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
