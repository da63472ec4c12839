"""Causes: how a cell, a stage or a run ended, told by what was raised, and what follows from it."""

from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from lib.chain.interrupts import Stop

# What ends a notebook before its last cell; anything else is an error of the chain itself.
ENDINGS = (CellExecutionError, CellTimeoutError, DeadKernelError, KeyboardInterrupt)
TIMED_OUT = "CellTimedOut"  # the name of the error that stands for an interrupted cell's
EXIT_CODES = {"ok": 0, "failed": 1, "kernel-died": 3, "timed-out": 4}
LEAKED = 5


def cause(raised: BaseException | None, stop: Stop) -> str:
    """Return ok, failed, timed-out, kernel-died, interrupted or killed (it did not heed that)."""
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
    """Return the error's own text, without a traceback; "" when there is none."""
    if isinstance(raised, DeadKernelError) and stop.signal:
        return "the cell did not end when told to, so its kernel was killed"
    if isinstance(raised, CellTimeoutError):
        return "the cell did not end in time, nor when it was interrupted"
    if isinstance(raised, DeadKernelError):
        return f"{raised} (a crash, a kill, or no memory left)"
    if not isinstance(raised, CellExecutionError):
        return repr(raised) if raised and not isinstance(raised, KeyboardInterrupt) else ""
    said = f"{raised.ename}: {raised.evalue}" if raised.evalue else raised.ename
    hint = "; a cell that ends the kernel early has not done its work"
    return said + hint if raised.ename == "SystemExit" else said
