"""Facts for `run.json` that only the process which talks to the cloud knows."""

import hashlib
import os

from lib.record import jsonl
from lib.record.journal import now, run_folder


def add(**facts: object) -> None:
    """Append facts to `facts.jsonl` of the run folder; do nothing outside of a run."""
    if os.environ.get("RUNBOOK_RUN"):
        line = {"at": now(), "stage": os.environ.get("RUNBOOK_STAGE", ""), **facts}
        with jsonl.opened(run_folder() / "facts.jsonl") as file:
            jsonl.append(file, line)


def fingerprint(key: str) -> str:
    """Return 16 hex digits of the key's sha256: they identify an API key without revealing it."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]
