"""Files that are written as a whole: no reader finds a part of one."""

import os
from pathlib import Path


def write(path: Path, text: str, *, lasting: bool = False, errors: str = "strict") -> Path:
    """Write a file for its owner alone, as a whole or not at all.

    `lasting` waits until the file is on the disk.
    """
    unfinished = path.with_name(f".{path.name}.part")
    with open(unfinished, "w", encoding="utf-8", errors=errors, opener=_private) as file:
        file.write(text)
        if lasting:
            file.flush()
            os.fsync(file.fileno())
    os.replace(unfinished, path)
    return path


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
