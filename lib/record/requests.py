"""The log of requests: `api.jsonl` of the run folder, one JSON object for each, once answered."""

import json
import time
from pathlib import Path

from lib.record.journal import now, shown
from lib.record.lines import append


class Request:
    """One request at work: tell it how it went, and a line is written."""

    def __init__(self, folder: Path, command: str, params: dict):
        self.folder, self.at, self.started = folder, now(), time.perf_counter()
        self.facts = {"command": command, "params": shown(params)}

    def ended(self, status: int | None, inside: object, size: int) -> None:
        """Write the line: HTTP status (None without an answer), what the answer says, its bytes."""
        ms = round((time.perf_counter() - self.started) * 1000, 1)
        said = inside if isinstance(inside, dict) else {}
        line = {"at": self.at} | self.facts | {"status": status, "code": said.get("errorcode")}
        line |= {"ms": ms, "job": said.get("jobid"), "bytes": size}
        text = json.dumps(line, default=str, ensure_ascii=False)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Opened for each line: it costs 20 µs, and a process that is killed has nothing to flush.
        with open(self.folder / "api.jsonl", "ab", buffering=0) as file:
            append(file.fileno(), text.encode() + b"\n")
