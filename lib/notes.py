"""Notes on the workstation: what the cloud cannot tell a later stage, in notes.json.

`attach` {volume, before}: the disks before the volume was attached; `installing` {volume, device,
mark, ...}: an installer was started, and the file `mark` is there once it was let at the disk;
`installed`, the same and {success, resolved}: it ended well;
`config` {base, size, file}: whose token, for how many machines, is in which file; `moving` {word,
old}: a move to a new token has begun, `moved`: the word of the last one; `unbooted`: machines that
were given another configuration and have yet to boot.
"""

import json
import shlex

from lib import delivery
from lib.errors import CheckFailed
from lib.shell import Shell, find_text, run, write_text


def read(shell: Shell, work_dir: str) -> dict:
    """Return the notes, {} if there are none yet. Raises CheckFailed when they are damaged."""
    text = find_text(shell, path(work_dir))
    if text is None:
        return {}
    try:
        values = json.loads(text)
    except ValueError as fault:
        raise _damaged(work_dir, str(fault)) from None
    if not isinstance(values, dict):
        raise _damaged(work_dir, type(values).__name__)
    return values


def update(shell: Shell, work_dir: str, **values: object) -> dict:
    """Note the values beside those that are there; return them all. None takes a note away."""
    kept = read(shell, work_dir) | values
    kept = {k: v for k, v in kept.items() if v is not None}
    write_text(shell, path(work_dir), json.dumps(kept, indent=1) + "\n")
    return kept


def clear(shell: Shell, work_dir: str) -> None:
    """Delete the configurations and the notes, and their folder if nothing else is in it."""
    folder = shlex.quote(work_dir)
    names = (*delivery.ON_DISK.values(), delivery.USER_DATA, "notes.json")
    run(shell, f"rm -f -- {' '.join(f'{folder}/{name} {folder}/{name}.2*Z' for name in names)}")
    run(shell, f"rm -rf -- {shlex.quote(job(work_dir))}")
    run(shell, f"if [ -d {folder} ]; then rmdir -- {folder}; fi", ok=(0, 1))


def clear_user_data(shell: Shell, work_dir: str) -> None:
    """Delete the user data with their spent token; what the disk carries is kept."""
    name = f"{shlex.quote(work_dir)}/{delivery.USER_DATA}"
    run(shell, f"rm -f -- {name} {name}.2*Z")
    update(shell, work_dir, config=None, moved=None)


def installed_volume(shell: Shell, work_dir: str) -> str:
    """Return the id of the volume that carries a whole install, "" if there is none."""
    return (read(shell, work_dir).get("installed") or {}).get("volume", "")


def path(work_dir: str) -> str:
    """Return where the notes are on the workstation, below $HOME."""
    return f"{work_dir}/notes.json"


def job(work_dir: str) -> str:
    """Return the folder in which a running installer keeps what it says."""
    return f"{work_dir}/install"


def _damaged(work_dir: str, found: str) -> CheckFailed:
    return CheckFailed(
        f"{path(work_dir)} on the workstation",
        "a JSON object",
        found,
        "Move it away, detach the volume, and run 11-attach-volume, which notes the disks anew.",
    )
