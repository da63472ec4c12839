"""Records: the list of 10,000 sealed runs in a folder, and the start of a run beside them.

Seconds are of this process's CPU; the bound on both is 1 s. What a start opens is counted, too: it
reads no ledger of a run that is over.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import folders
from benchmarks.report import Line

from lib.chain import abandoned, seal
from lib.record import ledger
from lib.report import index


def measure(runs: int = 10_000) -> list[Line]:
    """Fill a folder, list it with and without what was kept, and look for abandoned runs."""
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "runs"
        fill(folder, runs)
        anew = seconds(lambda: index.lines(folder))
        listed = seconds(lambda: index.lines(folder))
        opened = Opened(ledger.FILE)
        started = seconds(lambda: start(folder))
    return [
        Line(f"list of {runs} runs, and 1 s", "s", listed, 1, 1),
        Line("  where the kept file is missing, and kept", "s", anew, listed),
        Line("start of a run beside them, and 1 s", "s", started, 1, 1),
        Line("  ledgers that it reads, and runs", "", opened.count, runs, 0),
    ]


def fill(folder: Path, runs: int) -> None:
    """Write so many sealed runs, which began a minute apart."""
    folder.mkdir()
    first = folders.good(folder, _name(0))
    for n in range(1, runs):
        shutil.copytree(first, folder / _name(n))
    for n in range(runs):
        seal.seal(folder / _name(n))


def _name(n: int) -> str:
    return f"{folders.BEGAN + timedelta(minutes=n):%Y%m%d-%H%M%S}-web"


def start(folder: Path) -> None:
    """Do what a new run does with those before it; raise RuntimeError if it takes one for open."""
    abandoned.sweep(folder)
    if found := abandoned.find(folder):
        raise RuntimeError(f"{len(found)} sealed runs count as abandoned")


def seconds(do: Callable[[], object]) -> float:
    """Return the seconds of CPU that something takes."""
    began = time.process_time()
    do()
    return time.process_time() - began


class Opened:
    """Counts how often files of a name are opened from now on; an audit hook stays for good."""

    def __init__(self, name: str):
        self.name, self.count = name, 0
        sys.addaudithook(self._note)

    def _note(self, event: str, args: tuple) -> None:
        if event == "open" and str(args[0]).endswith(f"/{self.name}"):
            self.count += 1
