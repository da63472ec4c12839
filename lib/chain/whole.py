"""Whole files: who reads one finds all of it, or what it was before, never a part."""

import os
from pathlib import Path


def write(path: Path, text: str, *, lasting: bool = False, errors: str = "strict") -> Path:
    """Write a file as a whole or not at all; `lasting` waits until it is on the disk."""
    unfinished = path.with_name(f".{path.name}.part")
    with open(unfinished, "w", encoding="utf-8", errors=errors) as file:
        file.write(text)
        if lasting:
            file.flush()
            os.fsync(file.fileno())
    os.replace(unfinished, path)
    return path
