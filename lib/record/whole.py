"""Files that are written as a whole, and read though they are damaged."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LARGEST = 1_000_000  # bytes of a file that an operator names
# PyYAML fails at some values, such as `2026-99-99` or `!!int ""`, with errors of Python.
OF_VALUES = (ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


def write(path: Path, text: str, *, lasting: bool = True, errors: str = "backslashreplace") -> Path:
    """Write a file for its owner alone, as a whole or not at all.

    What is no UTF-8, as a folder's name may be, becomes an escape of JSON and YAML. `lasting` waits
    until the file is on the disk. What is no file in its place is moved aside. Several processes
    may write one file at once: the last one is kept.
    """
    handle, unfinished = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
    try:
        with open(handle, "w", encoding="utf-8", errors=errors) as file:
            file.write(text)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        if path.is_dir() and not path.is_symlink():
            aside(path)
        os.replace(unfinished, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
        raise
    return path


def read(path: Path) -> dict | None:
    """Return the JSON object in a file, {} if there is no such file, None if it holds no object."""
    if not os.path.lexists(path):
        return {}
    try:
        held = json.loads(path.read_bytes()) if path.is_file() else None
    except (ValueError, RecursionError):
        return None
    return held if isinstance(held, dict) else None


def text(path: Path, *, pipe: bool = False, most: int = LARGEST) -> str:
    """Return the text of a file that an operator names, which with `pipe` may be a pipe.

    Raises OSError, UnicodeDecodeError, and ValueError where it is no file, or of more than `most`
    bytes.
    """
    if path.exists() and not path.is_file() and not (pipe and path.is_fifo()):
        raise ValueError("is no file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"is larger than {most:,} bytes, the most that is read")
    return data.decode("utf-8-sig")


def from_yaml(text: str) -> object:
    """Return what a YAML text holds. Raises ValueError where it is none."""
    import yaml  # only now: whoever writes a file need not wait for it

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, *OF_VALUES) as error:
        raise ValueError(f"not YAML: {error}") from None


def folder(path: Path) -> Path:
    """Make a folder, and those above it that are not there, for their owner alone."""
    for place in (*reversed(path.parents), path):
        place.mkdir(mode=0o700, exist_ok=True)
    return path


def aside(path: Path) -> Path:
    """Rename what is in the way of a file, so that nothing of it is lost; return its new path."""
    free = tempfile.mkdtemp(prefix=f"{path.name}.", suffix=".aside", dir=path.parent)
    if path.is_dir():
        return path.replace(free)
    os.rmdir(free)
    return path.replace(free)


@contextmanager
def alone(runs: Path) -> Iterator[None]:
    """Lock a folder of runs: to create or seal one, or to write the page that lists them."""
    handle = os.open(runs, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
