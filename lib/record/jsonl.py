"""JSON lines: one object a line, appended by several processes and read though one was cut off."""

import json
import os
from pathlib import Path


def append(handle: int, row: dict) -> None:
    """Append a line to an open file. Raises OSError where there is no room for it.

    Where there is room for a part only, the system writes that part and raises nothing.
    """
    text = json.dumps(row, default=str, ensure_ascii=False)
    data = text.encode("utf-8", "backslashreplace") + b"\n"
    while data:
        data = data[os.write(handle, data) :]


def end_line(handle: int) -> None:
    """End the last line of an open file if a crash cut it off; `handle` must be readable."""
    size = os.fstat(handle).st_size
    if size and os.pread(handle, 1, size - 1) != b"\n":
        os.write(handle, b"\n")


def read(path: Path) -> tuple[list[dict], int]:
    """Return the objects of a file, none if there is no such file, and the count of broken lines.

    A crash may cut off the last line; its change had not begun then. A path that is not a regular
    file counts as one broken line.
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
