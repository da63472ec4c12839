"""Results: how a cell, a stage or a run ended, derived from the exception, and the exit codes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from lib.chain.interrupts import Stop

# Exceptions that end a notebook before its last cell; any other is an error of the chain itself.
ENDINGS = (CellExecutionError, CellTimeoutError, DeadKernelError, KeyboardInterrupt)
TIMED_OUT = "CellTimedOut"  # the error's name for a cell past its time
EXIT_CODES = {"ok": 0, "failed": 1, "kernel-died": 3, "timed-out": 4}
LEAKED = 5


@dataclass(frozen=True)
class Result:
    """The result of a stage; its outcome is a cause of the ledger, or not-run."""

    stage: str
    outcome: str
    seconds: float = 0.0
    steps: list[dict] = field(default_factory=list)  # its changes: outcome, command, what
    record: Path | None = None
    section: str = ""  # the heading above the cell that failed
    error: str = ""


@dataclass(frozen=True)
class Run:
    """The result of a run: its folder, a result for every stage, and the signal that ended it.

    `leaks` lists the places of secrets in the record, `unsigned` is the reason if signing failed.
    """

    folder: Path
    results: list[Result]
    signal: int = 0
    leaks: list[str] = field(default_factory=list)
    unsigned: str = ""

    @property
    def cause(self) -> str:
        """Return ok, or the cause of the stage that ended the run."""
        bad = (r.outcome for r in self.results if r.outcome not in ("ok", "not-run"))
        well = "failed" if self.leaks else "ok"
        return next(bad, "interrupted" if self.signal else well)

    @property
    def exit_code(self) -> int:
        """Return 128 + the signal if one came, 5 for a leak, else the code of the cause."""
        if self.signal:
            return 128 + self.signal
        code = LEAKED if self.leaks else EXIT_CODES[self.cause]
        return code or int(bool(self.unsigned))


def cause_of(raised: BaseException | None, stop: Stop) -> str:
    """Return ok, failed, timed-out, kernel-died, interrupted or killed (after an interrupt)."""
    if raised is None:
        return "ok"
    if stop.signal:
        return "killed" if isinstance(raised, DeadKernelError) else "interrupted"
    if isinstance(raised, DeadKernelError):
        return "kernel-died"
    if isinstance(raised, CellTimeoutError) or getattr(raised, "ename", "") == TIMED_OUT:
        return "timed-out"
    return "failed"


def error_of(raised: BaseException | None, stop: Stop) -> str:
    """Return the text of the error without a traceback, "" when there is none."""
    if isinstance(raised, DeadKernelError) and stop.signal:
        return "the cell did not end when it was interrupted, so its kernel was killed"
    if isinstance(raised, CellTimeoutError):
        return "the cell did not end in time, nor when it was interrupted"
    if isinstance(raised, DeadKernelError):
        return f"{raised} (it crashed, was killed, or ran out of memory)"
    if not isinstance(raised, CellExecutionError):
        return repr(raised) if raised and not isinstance(raised, KeyboardInterrupt) else ""
    error = f"{raised.ename}: {raised.evalue}" if raised.evalue else raised.ename
    hint = "; a cell that ends the kernel early has not done its work"
    return error + hint if raised.ename == "SystemExit" else error


def alike(failed: Iterable[Result]) -> list[list[Result]]:
    """Return results in groups whose errors differ in the command and the time of day at most."""
    groups: dict[str, list[Result]] = {}
    for result in failed:
        key = re.sub(r"\b(list|get)[A-Z]\w*|\d\d:\d\d:\d\d", "…", result.error)
        groups.setdefault(key or result.stage, []).append(result)
    return list(groups.values())
