"""Notes on the workstation: what the cloud cannot tell a later stage, in notes.json.

`attach` {volume, before, volumes}: the disks, and the machine's volumes by the cloud, before the
volume was attached; `installing` {volume, device, mark, ...}: an installer was started, and the
file `mark` is there once it was let at the disk; `installed`, the same and {success, resolved}: it
ended well;
`config` {base, size, file}: whose token, for how many machines, is in which file; `moving` {word,
old}: a move to a new token has begun, `moved`: the word of the last one; `unbooted`: machines that
were given another configuration and have yet to boot.
"""

import json
import shlex

from lib.errors import CheckFailed
from lib.workstation.shell import Shell, find_text, run, write_text

CONFIGS = ("cloud-config.yml", "config.ign", "user-data.yml")  # what may lie beside the notes
OBJECTS = ("attach", "installing", "installed", "config", "moving")
DAMAGED = (
    "Rename it there (mv {0} {0}.damaged), so that it can be looked at. If the volume was not "
    "installed yet, detach it and run 11-attach-volume, which notes the disks anew. Otherwise run "
    "90-remove-cluster, which works without notes, and begin anew."
)


def read(shell: Shell, work_dir: str) -> dict:
    """Return the notes, {} if there are none yet. Raises CheckFailed when they are damaged."""
    values = kept(shell, work_dir)
    if values is None:
        what, step = f"{path(work_dir)} on the workstation", DAMAGED.format(path(work_dir))
        raise CheckFailed(what, "notes as a JSON object", "a damaged file", step)
    return values


def kept(shell: Shell, work_dir: str) -> dict | None:
    """Return the notes, {} if there are none yet, None if they are damaged."""
    text = find_text(shell, path(work_dir))
    try:
        values = {} if text is None else json.loads(text)
    except ValueError:
        return None
    whole = isinstance(values, dict) and all(isinstance(values.get(k, {}), dict) for k in OBJECTS)
    return values if whole else None


def update(shell: Shell, work_dir: str, **values: object) -> dict:
    """Note the values beside those that are there; return them all. None takes a note away."""
    kept = read(shell, work_dir) | values
    kept = {k: v for k, v in kept.items() if v is not None}
    write_text(shell, path(work_dir), json.dumps(kept, indent=1) + "\n")
    return kept


def clear(shell: Shell, work_dir: str) -> None:
    """Delete the configurations and the notes, and their folder if nothing else is in it."""
    folder = shlex.quote(work_dir)
    names = (*CONFIGS, "notes.json")
    run(shell, f"rm -f -- {' '.join(f'{folder}/{name} {folder}/{name}.2*Z' for name in names)}")
    run(shell, f"rm -rf -- {shlex.quote(job(work_dir))}")
    run(shell, f"if [ -d {folder} ]; then rmdir -- {folder}; fi", ok=(0, 1))


def clear_user_data(shell: Shell, work_dir: str) -> None:
    """Delete the user data with their spent token; what the disk carries is kept."""
    name = f"{shlex.quote(work_dir)}/{CONFIGS[-1]}"
    run(shell, f"rm -f -- {name} {name}.2*Z")
    if kept(shell, work_dir) is None:  # what they told is in the template that is kept
        run(shell, f"rm -f -- {shlex.quote(path(work_dir))}")
    else:
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
