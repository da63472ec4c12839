"""Causes: how a cell, a stage or a run ended, derived from the exception, and the exit codes."""

from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from lib.chain.interrupts import Stop

# Exceptions that end a notebook before its last cell; any other is an error of the chain itself.
ENDINGS = (CellExecutionError, CellTimeoutError, DeadKernelError, KeyboardInterrupt)
TIMED_OUT = "CellTimedOut"  # the error's name for a cell past its time
EXIT_CODES = {"ok": 0, "failed": 1, "kernel-died": 3, "timed-out": 4}
LEAKED = 5


def cause(raised: BaseException | None, stop: Stop) -> str:
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


def text(raised: BaseException | None, stop: Stop) -> str:
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
