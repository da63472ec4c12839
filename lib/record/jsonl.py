"""JSON lines: one object a line, appended by several processes and read though one was cut off."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.errors import CheckFailed
from lib.record import whole


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a file of lines to append to, for the block; see `open_file`."""
    handle = open_file(path)
    try:
        yield handle
    finally:
        os.close(handle)


def open_file(path: Path) -> int:
    """Return the descriptor of a file of lines, made for its owner alone if there is none.

    A new one survives a power cut. A last line that a crash cut off is ended. Raises CheckFailed
    where the path is no plain file, OSError where there is no room.
    """
    whole.folder(path.parent)
    if os.path.lexists(path) and not path.is_file():
        text = f"{path} is in the way of a file of the record: it is no plain file"
        raise CheckFailed(text, next_step="Move it away, then repeat the command.")
    new = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if new:  # syncing a file does not sync its name
            _sync(path.parent)
            _sync(path.parent.parent)
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            os.write(handle, b"\n")
    except OSError:
        os.close(handle)
        raise
    return handle


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append(handle: int, row: dict) -> None:
    """Append a line to an open file. Raises OSError where there is no room for it.

    Where there is room for a part only, the system writes that part and raises nothing.
    """
    text = json.dumps(row, default=str, ensure_ascii=False)
    data = text.encode("utf-8", "backslashreplace") + b"\n"
    while data:
        data = data[os.write(handle, data) :]


def read(path: Path) -> tuple[list[dict], int]:
    """Return the objects of a file, none if there is no such file, and the count of broken lines.

    A crash may cut off the last line; its change had not begun then. A path that is not a regular
    file counts as one broken line.
    """
    if not path.is_file():
        return [], int(os.path.lexists(path))
    rows = [parsed(line) for line in path.read_bytes().split(b"\n") if line]
    found = [row for row in rows if row is not None]
    return found, len(rows) - len(found)


def parsed(line: bytes) -> dict | None:
    """Return the object in a line, None if there is none."""
    try:
        row = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
