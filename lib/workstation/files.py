"""Writes: what is changed on a machine through its shell stands in the journal, too.

The `endpoint` of such an entry is the machine, so that no cloud is asked about it. Its parameters
name the `volume` or the `file` that is written, and tell checksums instead of texts. What was begun
and not seen to end is settled when the same thing is written again, or looked at.
"""

import hashlib
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from lib import earlier
from lib.errors import CheckFailed, OutOfSight, Refused, ShellFailed, Unreachable
from lib.record.journal import Journal, elsewhere, run_folder
from lib.workstation.shell import Shell, run

ANEW = "nobody saw how it ended; it was begun anew"
Open = tuple[str, dict]  # the run beside this one that left it open, "" for this one; the entry


def sha256(text: str) -> str:
    """Return the SHA-256 of a text as hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def workstation(shell: Shell) -> str:
    """Return what tells the workstation from others in a journal; local clouds share a name."""
    return shell.name if shell.remote else " at ".join([shell.name, *shell.argv[1:]])


@contextmanager
def noted(machine: str, command: str, what: str, params: dict) -> Iterator[dict]:
    """Write down a change of a machine before it is made, and how it ended.

    The text of its end is taken from `text` of the dict, of a bad end also from `so_far`. It stays
    open where nobody knows how it ended; what was left open about the same thing is lost then.
    """
    journal = Journal(run_folder(), machine)
    begun = [(r, e) for r, e in left_open(machine) if _thing(e["params"]) == _thing(params)]
    _end(journal, begun, "lost", ANEW)
    begun = [("", journal.intend(command, what, params, None))]
    told = {}
    try:
        yield told
    except (CheckFailed, Refused, ShellFailed, Unreachable) as error:
        if not getattr(error, "may_have_changed", isinstance(error, OutOfSight)):
            _end(journal, begun, "failed", f"{_said(error)} {told.get('so_far', '')}".strip())
        raise
    _end(journal, begun, "done", told.get("text", ""))


def _thing(params: dict) -> str | None:
    return params.get("volume") or params.get("file")  # a token asked for at a service has neither


def _said(error: CheckFailed | Refused | ShellFailed | Unreachable) -> str:
    """Say how it failed, without what machine or program said: that may hold a secret."""
    if isinstance(error, Refused | Unreachable):
        return f"{error.command}: {getattr(error, 'code', '') or error.cause}."
    if isinstance(error, CheckFailed):
        said = f"{error.what}."
    else:
        said = "it left no exit code." if error.rc is None else f"it ended with {error.rc}."
    return " ".join([said, *error.next_step.splitlines()[-1:]])


def left_open(machine: str) -> list[Open]:
    """Return what this run, or one beside it that was given up, began there and nobody saw end."""
    own = Journal(run_folder(), machine).unfinished()
    return [("", e) for e in own if not elsewhere(e)] + earlier.beside(run_folder(), machine)


def settle_volume(machine: str, volume_id: str, text: str) -> None:
    """Write down for what was left open about a volume that it is known to have ended well."""
    begun = [(r, e) for r, e in left_open(machine) if e["params"].get("volume") == volume_id]
    _end(Journal(run_folder(), machine), begun, "adopted", text)


def settle_files(shell: Shell, machine: str, *, sudo: bool = False) -> None:
    """Find out by what they hold whether the files were written whose writing was left open."""
    journal = Journal(run_folder(), machine)
    for run_name, entry in left_open(machine):
        if "after" not in entry["params"]:
            continue
        state, text = _outcome(shell, entry["params"], sudo)
        _end(journal, [(run_name, entry)], state, text)
        print(f"{entry['command']} {entry['what']}, left open before: {text}")


def _outcome(shell: Shell, params: dict, sudo: bool) -> tuple[str, str]:
    """Return the state and the words for a file that was, or was not, written or moved."""
    script = "[ ! -e {0} ] || sha256sum <{0}".format(shlex.quote(params["file"]))
    found = run(shell, f"sh -c {shlex.quote(script)}", sudo=sudo).out[:64]
    if found == params["after"]:
        return "adopted", "it was done"
    if found == params["before"]:
        return "not-sent", "it was not done"
    return "lost", "the file holds another text now" if found else "the file is gone now"


def _end(journal: Journal, begun: list[Open], state: str, text: str) -> None:
    for run_name, entry in begun:
        if run_name:
            journal.looked_after(run_name, entry, f"{state}: {text}")
        else:
            journal.ended(entry, state, text)
