"""Starts JupyterLab at a working folder, in place of this process."""

import os
import sys
from pathlib import Path

from lib.lab import index, prepare

SETTINGS = Path(__file__).with_name("settings")


def arguments(folder: Path, *, browser: bool = True, port: int | None = None) -> list[str]:
    """Return the command that opens JupyterLab at the index of a working folder.

    Its files are those of the project.
    """
    root = prepare.root(folder)
    place = (folder.resolve() / index.FILE).relative_to(root).as_posix()
    return [
        *(sys.executable, "-m", "jupyter", "lab"),
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{place}",
        *([] if browser else ["--no-browser"]),
        *([f"--port={port}"] if port else []),
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]


def start(folder: Path, **options: object) -> None:
    """Become JupyterLab; never returns.

    It neither asks about news nor looks for updates, and saves what is open every ten seconds,
    unless this user set it otherwise.
    """
    command = arguments(folder, **options)
    paths = [str(SETTINGS), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, paths))
    sys.stdout.flush()
    os.execv(command[0], command)
