"""Faults in what was given: found before anything starts, and told all at once."""

import os
import shutil
import tempfile
from collections.abc import Iterable
from errno import EDQUOT, EIO, ENOSPC, EROFS
from pathlib import Path

NO_ROOM = (ENOSPC, EDQUOT, EROFS, EIO)


class BadInput(Exception):
    """What was given cannot be used and nothing was started; `faults` lists all that is wrong."""

    def __init__(self, faults: Iterable[str]):
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


class RecordCut(Exception):
    """The record of a run in a folder could not be written on, so the run ended there."""

    def __init__(self, folder: Path, error: OSError):
        self.folder = folder
        text = f"The record could not be written on: {no_room(folder, error)}"
        super().__init__(f"{text}\nWhatever was changed stands in it; the run ended there.")


def no_room(folder: Path, error: OSError) -> str:
    """Say why nothing can be written, and how much room there is: in a folder and for kernels."""
    places = dict.fromkeys((str(folder), tempfile.gettempdir()))
    free = [f"{shutil.disk_usage(p).free / 1e6:,.1f} MB in {p}" for p in places]
    return f"{os.strerror(error.errno)}. Free are {' and '.join(free)}."
