"""Notes on the workstation: notes.json holds facts for a later stage that the cloud does not have.

- `attach`, `installing`, `installed`: see `lib.install.noted`.
- `config` {cluster, base, size, file}: the cluster that is configured, the discovery service of its
  token, the number of machines it is for, and the file that holds it.
- `moving` {word, old}: a move to a new token has begun; `moved`: the word of the last one.
- `fetched` {the URL of the installer: its checksum, file: its path}.
- `changed`: true once a member of etcd was taken out: those that are missing must join the others.
- `unbooted`: machines that have a new configuration and have not booted it yet.
"""

import json
import shlex
from pathlib import PurePosixPath

from lib.errors import CheckFailed
from lib.workstation.shell import Shell, find_text, run, write_text

CONFIGS = ("cloud-config.yml", "config.ign", "user-data.yml")  # files beside the notes
OF_ROLES = "user-data.*.yml*"  # pattern of the files with the text of a role
SECRETS = "secrets.json"  # those that a configuration has held, a list
OBJECTS = ("attach", "installing", "installed", "config", "moving", "fetched")
DAMAGED = (
    "Rename it there (mv {0} {0}.damaged). If a snapshot or template of the disk exists, run this "
    "stage again: it needs no notes then. Otherwise detach the volume. If nothing is installed on "
    "it, run 11-attach-volume, which writes new notes. If CoreOS is, choose another volume_name "
    "and start at 10-create-volume: the new volume is installed, and this one stays as it is."
)


def read(shell: Shell, work_dir: str) -> dict:
    """Return the notes, {} if there are none yet. Raises CheckFailed when they are damaged."""
    values = find(shell, work_dir)
    if values is None:
        damaged = f"{path(work_dir)} on the workstation is not a JSON object of notes"
        raise CheckFailed(damaged, next_step=DAMAGED.format(path(work_dir)))
    return values


def find(shell: Shell, work_dir: str) -> dict | None:
    """Return the notes, {} if there are none yet, None if they are damaged."""
    text = find_text(shell, path(work_dir))
    try:
        values = {} if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(values, dict) and all(isinstance(values.get(k, {}), dict) for k in OBJECTS)
    return values if whole else None


def cluster(noted: dict) -> str:
    """Return the name of the cluster whose configuration is in the folder, "" where none is noted.

    >>> cluster({"config": {"cluster": "core"}}), cluster({})
    ('core', '')
    """
    return str((noted.get("config") or {}).get("cluster", ""))


def demand_of(name: str, noted: dict, work_dir: str) -> None:
    """Raise CheckFailed when the folder holds the configuration of another cluster than `name`."""
    if cluster(noted) not in ("", name):
        what = f"{work_dir} on the workstation holds the configuration of {cluster(noted)}"
        raise CheckFailed(what, next_step=f"Give {name} a folder of its own: set work_dir.")


def update(shell: Shell, work_dir: str, **values: object) -> dict:
    """Add values to the notes and return all notes; the value None removes a note."""
    merged = {k: v for k, v in (read(shell, work_dir) | values).items() if v is not None}
    write_text(shell, path(work_dir), json.dumps(merged, indent=1) + "\n")
    return merged


def clear(shell: Shell, work_dir: str) -> None:
    """Delete the configurations and the notes, and their folder if it is empty then."""
    folder = shlex.quote(work_dir)
    fetched = ((find(shell, work_dir) or {}).get("fetched") or {}).get("file", "")
    names = [*CONFIGS, SECRETS, "notes.json", *([PurePosixPath(fetched).name] if fetched else [])]
    files = " ".join(f"{folder}/{name} {folder}/{name}.2*Z" for name in names)
    run(shell, f"rm -f -- {files} {folder}/{OF_ROLES}")
    run(shell, f"rm -rf -- {shlex.quote(job(work_dir))}")
    run(shell, f"if [ -d {folder} ]; then rmdir -- {folder}; fi", ok=(0, 1))


def clear_user_data(shell: Shell, work_dir: str) -> None:
    """Delete the user data with their used token; keep the configuration of the disk."""
    folder = shlex.quote(work_dir)
    name = f"{folder}/{CONFIGS[-1]}"
    run(shell, f"rm -f -- {name} {name}.2*Z {folder}/{OF_ROLES} {folder}/{SECRETS}")
    if find(shell, work_dir) is None:  # the remaining template does not need them
        run(shell, f"rm -f -- {shlex.quote(path(work_dir))}")
    else:
        update(shell, work_dir, config=None, moved=None, changed=None)


def installed_volume(shell: Shell, work_dir: str) -> str:
    """Return the id of the volume with a complete install, "" if there is none."""
    return (read(shell, work_dir).get("installed") or {}).get("volume", "")


def path(work_dir: str) -> str:
    """Return the path of the notes on the workstation, below $HOME."""
    return f"{work_dir}/notes.json"


def job(work_dir: str) -> str:
    """Return the folder of a running installer's log and state."""
    return f"{work_dir}/install"
