"""Records changes of a machine, made through its shell, in the journal.

The `endpoint` of such an entry is the machine, so that no cloud is asked about it. Its parameters
name the `volume` or the `file` written, and hold checksums instead of texts. An entry without an
outcome is settled when the same volume or file is written again or read back.
"""

import hashlib
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from lib import earlier
from lib.errors import CheckFailed, OutOfSight, Refused, ShellFailed, Unreachable
from lib.record import locks
from lib.record.journal import Entry, Journal, in_another_process, run_folder
from lib.workstation.shell import Shell, run

RESTARTED = "its outcome is unknown; it was started again"
Open = tuple[str, Entry]  # the run that left an entry open ("" for this one), and the entry


def sha256(text: str) -> str:
    """Return the SHA-256 of a text as hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def now() -> str:
    """Return the time as in the names of kept files."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def workstation(shell: Shell) -> str:
    """Return the workstation's name in a journal, with the folder of a local cloud."""
    return shell.name if shell.remote else " at ".join([shell.name, *shell.argv[1:]])


@contextmanager
def journalled(machine: str, command: str, what: str, params: dict) -> Iterator[dict]:
    """Record a change of a machine before it is made, and its outcome at the end of the block.

    The block may set `text` in the dict, the words for success, and `so_far`, words for a failure.
    The entry stays open where the outcome is unknown. Older open entries on the same volume or file
    become `lost`.
    """
    locks.hold_by_hand()
    journal = Journal(run_folder(), machine)
    entries = [(r, e) for r, e in left_open(machine) if _target(e.params) == _target(params)]
    _end(journal, entries, "lost", RESTARTED)
    entries = [("", journal.intend(command, what, params, None))]
    words = {}
    try:
        yield words
    except (CheckFailed, Refused, ShellFailed, Unreachable) as error:
        if not getattr(error, "may_have_changed", isinstance(error, OutOfSight)):
            _end(journal, entries, "failed", f"{_reason(error)} {words.get('so_far', '')}".strip())
        raise
    _end(journal, entries, "done", words.get("text", ""))


def _target(params: dict) -> str | None:
    return params.get("volume") or params.get("file")  # a request for a token has neither


def _reason(error: CheckFailed | Refused | ShellFailed | Unreachable) -> str:
    """Return why a change failed, without a program's output, which may hold a secret."""
    if isinstance(error, Refused | Unreachable):
        return f"{error.command}: {getattr(error, 'code', '') or error.cause}."
    if isinstance(error, CheckFailed):
        reason = f"{error.what.rstrip('.')}."
    else:
        reason = "it left no exit code." if error.rc is None else f"it ended with {error.rc}."
    return " ".join([reason, *error.next_step.splitlines()[-1:]])


def left_open(machine: str) -> list[Open]:
    """Return the changes of a machine without an outcome: of this run and of abandoned ones."""
    own = Journal(run_folder(), machine).unfinished()
    return [("", e) for e in own if not in_another_process(e)] + earlier.left_open(
        run_folder(), machine
    )


def settle_volume(machine: str, volume_id: str, text: str) -> None:
    """Record the open changes of a volume as done."""
    entries = [(r, e) for r, e in left_open(machine) if e.params.get("volume") == volume_id]
    _end(Journal(run_folder(), machine), entries, "adopted", text)


def settle_files(shell: Shell, machine: str, *, sudo: bool = False) -> None:
    """Settle the open changes of files by comparing the checksum of each file."""
    journal = Journal(run_folder(), machine)
    for run_name, entry in left_open(machine):
        if "after" not in entry.params:
            continue
        state, text = _outcome(shell, entry.params, sudo)
        _end(journal, [(run_name, entry)], state, text)
        print(f"{entry.command} {entry.what}, left open before: {text}")


def _outcome(shell: Shell, params: dict, sudo: bool) -> tuple[str, str]:
    """Return the state of a change of a file, and the words for it."""
    script = "[ ! -e {0} ] || sha256sum <{0}".format(shlex.quote(params["file"]))
    found = run(shell, f"sh -c {shlex.quote(script)}", sudo=sudo).out[:64]
    if found == params["after"]:
        return "adopted", "it was done"
    if found == params["before"]:
        return "not-sent", "it was not done"
    return "lost", "the file holds another text now" if found else "the file is gone now"


def _end(journal: Journal, entries: list[Open], state: str, text: str) -> None:
    for run_name, entry in entries:
        if run_name:
            journal.looked_after(run_name, entry, f"{state}: {text}")
        else:
            journal.ended(entry, state, text)
