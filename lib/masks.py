"""Masks: what must never stand in a record is made known here, before it can be printed.

A known value is kept in this process. Where the environment names a file (RUNBOOK_SECRETS), it is
also written there, for those who write the record: they mask it in whatever is written.
"""

import json
import os

from lib import lines

SHORTEST = 6  # characters; what is shorter would be found in everything
TOLD = ("password", "privatekey", "secretkey")  # fields of answers that hold a secret
_known: dict[str, str] = {}  # value -> the file it was written to


def know(value: str) -> str:
    """Make a secret known, and return it."""
    file = os.environ.get("RUNBOOK_SECRETS", "")
    if len(value) >= SHORTEST and _known.get(value) != file:
        if file:
            _append(file, value)
        _known[value] = file
    return value


def know_told(text: str, body: object) -> None:
    """Make known what an answer of the cloud tells in secret; `body` is its text, parsed."""
    if any(f'"{name}"' in text for name in TOLD):
        _know_fields(body)


def _know_fields(body: object) -> None:
    for row in body if isinstance(body, list) else []:
        _know_fields(row)
    for name, value in body.items() if isinstance(body, dict) else []:
        _know_fields(value)
        if name in TOLD:
            know(str(value))


def values() -> list[str]:
    """Return all that is known in this process."""
    return list(_known)


def _append(file: str, value: str) -> None:
    """Add a line that is whole at once, so that a reader never sees half a value."""
    handle = os.open(file, os.O_WRONLY | os.O_APPEND)
    try:
        lines.append(handle, (json.dumps(value) + "\n").encode())
    finally:
        os.close(handle)
