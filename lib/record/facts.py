"""Facts for the record of a run that only the process knows that talks to the cloud."""

import hashlib
import json
import os

from lib.record.journal import now, run_folder


def note(**facts: object) -> None:
    """Add facts to `facts.jsonl` of the run folder; where there is no run, keep none."""
    if os.environ.get("RUNBOOK_RUN"):
        line = {"at": now(), "stage": os.environ.get("RUNBOOK_STAGE", ""), **facts}
        with open(run_folder() / "facts.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def fingerprint(key: str) -> str:
    """Return what tells an API key from others without being it: 16 hex digits of its sha256."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]
