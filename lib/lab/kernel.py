"""What the kernel of a notebook gets when it connects: checked parameters, errors as boxes, Tab.

A box says what happened, what to do and whether repeating is safe; the traceback stands behind a
fold. It is text as well, so papermill, `jupyter execute` and the report show it, too.
"""

import os
import traceback
from datetime import datetime
from html import escape
from typing import Any

from lib import cloud
from lib.errors import TRACE, ParamsError, RunbookError, box, plain
from lib.lab import completion, given
from lib.record import journal
from lib.report import known_errors

SAFE = "Yes: it looks first, joins what still runs, and starts nothing twice."


def connect(profile: str, project: str = "", cluster: str = "", **settings: Any) -> cloud.Cloud:
    """Return the cloud of a profile, and in it a project, as `lib.cloud.connect` does.

    In a kernel it first checks the notebook's parameters, which the chain has done in a run of its
    own. Raises BadInput, too.
    """
    shell = _shell()
    if shell:
        set_up(shell)
        if "RUNBOOK_RUN" not in os.environ:
            given.demand(shell.user_ns["In"], shell.user_ns)
    return cloud.connect(profile, project, cluster, **settings)


def _shell() -> Any:
    """Return the shell of this kernel, None outside of one."""
    import IPython  # late: outside of a notebook nothing needs it

    shell = IPython.get_ipython()
    return shell if hasattr(shell, "kernel") else None


def set_up(shell: Any) -> None:
    """Show errors of ours and interrupts as boxes, and complete commands, from now on."""
    if shell.custom_exceptions:
        return
    shell.set_custom_exc((RunbookError, KeyboardInterrupt), _show)
    shell.events.register("post_run_cell", _fold)
    shell.Completer.custom_matchers.append(completion.matcher(shell.user_ns))


def _show(shell: Any, kind: type, error: BaseException, trace: Any, tb_offset: Any = None) -> None:
    lines = _interrupted() if isinstance(error, KeyboardInterrupt) else _explained(error)
    error._render_traceback_ = lambda: lines
    shell.showtraceback((kind, error, trace))


def _explained(error: RunbookError) -> list[str]:
    """Return the box of an error, with what the report would say of it."""
    step = plain(error.next_step)
    text = f"{type(error).__name__}: {error}"
    known = known_errors.explain("failed", text)
    if known is known_errors.UNKNOWN or isinstance(error, ParamsError):
        known = known_errors.Known("", "", error.again)
    words = {"Means": known.means, "Do": " ".join(filter(None, [step, known.do]))}
    return box(text.removesuffix(step).rstrip(), words | {"Again?": known.again})


def _interrupted() -> list[str]:
    """Return the box of an interrupt: what this process began and has not seen end."""
    found = journal.left_running(journal.run_folder())
    mine = [e for e in found if journal.is_of_this_process(e)]
    lines = [f"  {e.command} {e.what}, begun at {_local(e.sent)}" for e in mine]
    happened = "Interrupted. Nothing that was sent is without an end."
    if mine:
        happened = "\n".join(["Interrupted. Still going on, as it was not cancelled:", *lines])
    return box(happened, {"Do": "Run this cell again.", "Again?": SAFE})


def _local(sent: str) -> str:
    return f"{datetime.fromisoformat(sent).astimezone():%H:%M:%S %Z}"


def _fold(result: Any) -> None:
    """Show the traceback of an error that was shown as a box."""
    error = result.error_in_exec
    if not hasattr(error, "_render_traceback_"):
        return
    from IPython.display import display

    text = plain("".join(traceback.format_exception(error)))
    html = f"<details><summary>Where in the code</summary><pre>{escape(text)}</pre></details>"
    display({"text/plain": text, "text/html": html, TRACE: {}}, raw=True)
