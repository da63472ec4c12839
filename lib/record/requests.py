"""The log of requests: `api.jsonl` of the run folder, a line for each answered request."""

import time
from pathlib import Path

from lib.record import jsonl
from lib.record.journal import now, recordable


class Request:
    """A request under way; `ended` appends its line to the log."""

    def __init__(self, folder: Path, command: str, params: dict):
        self.folder, self.at, self.started = folder, now(), time.perf_counter()
        self.facts = {"command": command, "params": recordable(params)}

    def ended(self, status: int | None, inside: object, size: int) -> None:
        """Append the line. `status` is None without an answer; `size` is in bytes."""
        ms = round((time.perf_counter() - self.started) * 1000, 1)
        answer = inside if isinstance(inside, dict) else {}
        line = {"at": self.at} | self.facts | {"status": status, "code": answer.get("errorcode")}
        line |= {"ms": ms, "job": answer.get("jobid"), "bytes": size}
        # Opening the file for each line costs 20 µs and leaves a killed process nothing to flush.
        with jsonl.opened(self.folder / "api.jsonl") as file:
            jsonl.append(file, line)
