"""What a stage says while it works: one line that lives, and a line for each step that ended.

In a kernel both are display messages with a type of their own beside the text, so that the chain
can follow a stage without reading prose; elsewhere they are plain prints.
"""

import sys
import time

WAIT = "application/vnd.runbook.wait+json"
STEP = "application/vnd.runbook.step+json"


def _kernel() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return bool(shell) and hasattr(shell, "kernel")


def clock(seconds: float) -> str:
    """Say a duration as an operator would.

    >>> clock(4.2), clock(190)
    ('4.2 s', '3m10s')
    """
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f}m{seconds % 60:02.0f}s"


def tell(outcome: str, command: str, what: str, why: str) -> None:
    """Say that a step ended: outcome "done" or "failed", the command, on what, and why."""
    text = f"{'✓' if outcome == 'done' else '✗'} {outcome}: {command} {what} ({why})"
    _say({"text/plain": text, STEP: {"outcome": outcome, "command": command, "what": what}})


def _say(data: dict, **more) -> None:
    if not _kernel():
        return print(data["text/plain"])
    from IPython.display import display

    display(data, raw=True, **more)


def show_table(rows) -> None:
    """Show a table in the middle of a cell's work."""
    if not _kernel():
        return print(rows.to_string())
    from IPython.display import display

    display(rows)


class Waiting:
    """One line that says what is waited for and how long; its last state stays in the record."""

    def __init__(self):
        self.started, self.shown, self.last = time.monotonic(), None, 0.0

    def __enter__(self) -> "Waiting":
        return self

    def show(self, what: str) -> None:
        """Say what is waited for now, at most five times a second."""
        now = time.monotonic()
        if not _kernel() or now - self.last < 0.2:
            return
        self.last = now
        seconds = round(now - self.started, 1)
        self._display(f"… {what}: {clock(seconds)}", {"waiting": what, "seconds": seconds})

    def __exit__(self, *_) -> None:
        if self.shown:
            seconds = round(time.monotonic() - self.started, 1)
            self._display(f"waited {clock(seconds)}", {"waiting": "", "seconds": seconds})

    def _display(self, text: str, facts: dict) -> None:
        from IPython.display import display

        data = {"text/plain": text, WAIT: facts}
        if self.shown:
            self.shown.update(data, raw=True)
        else:
            self.shown = display(data, raw=True, display_id=True)
