"""Faults of the input, found before anything starts and reported together, and a full disk."""

import os
import shutil
import tempfile
from collections.abc import Iterable
from errno import EDQUOT, EIO, ENOSPC, EROFS
from pathlib import Path

from lib.errors import RunbookError

NO_ROOM = (ENOSPC, EDQUOT, EROFS, EIO)


class BadInput(RunbookError):
    """The input cannot be used and nothing was started; `faults` lists all faults."""

    again = "Yes, once they are corrected."

    def __init__(self, faults: Iterable[str]):
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


class RecordCut(Exception):
    """The record in `folder` could not be continued, so the run ended there."""

    def __init__(self, folder: Path, error: OSError):
        self.folder = folder
        text = f"The record could not be continued: {no_room(folder, error)}"
        super().__init__(f"{text}\nThe run ended there. The record holds every change made.")


def no_room(folder: Path, error: OSError) -> str:
    """Return why a write failed, and the free space of the folder and of the kernels' one."""
    places = dict.fromkeys((str(folder), tempfile.gettempdir()))
    free = [f"{shutil.disk_usage(p).free / 1e6:,.1f} MB in {p}" for p in places]
    return f"{os.strerror(error.errno)}. Free: {' and '.join(free)}."
