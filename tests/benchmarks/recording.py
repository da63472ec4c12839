"""Recording: what ledger and sealing cost of a run's wall time on the local cloud.

The whole chain runs once, with the parameters of `params/local.yaml`; the functions that record are
timed where they stand, so the share is of the very same run.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from benchmarks.report import Line

from lib.chain import closing, engine, params, run, seal, stages, values
from lib.commands.orders import PRELOAD
from lib.record.ledger import Ledger
from lib.report import index, report

ROOT = Path(__file__).resolve().parents[2]
COUNTED = ("ledger", "sealing")
TIMED = {
    "ledger": [(Ledger, "__call__")],
    "sealing": [(closing, "leaks"), (seal, "seal")],
    "saving": [(engine, "write")],
    "report": [(report, "write"), (index, "write")],
}


def measure() -> list[Line]:
    """Run the chain once and return the share of each part of the recording."""
    spent = Counter()
    with tempfile.TemporaryDirectory() as folder, cloud(Path(folder)), timed(spent):
        began = time.monotonic()
        ended = chain(Path(folder) / "runs")
        wall = time.monotonic() - began
    if ended.exit_code:
        raise RuntimeError(f"the chain ended {ended.cause}: {ended.results}")
    parts = [Line(f"  {name}", "s", spent[name], wall) for name in TIMED]
    total = sum(spent[name] for name in COUNTED)
    return [Line(f"{', '.join(COUNTED)}, of the wall time", "s", total, wall, 0.05), *parts]


def chain(runs: Path) -> run.Run:
    """Run all stages as `runbook run params/local.yaml` does."""
    table = params.gather(ROOT / "notebooks")
    merged = values.load(table, [ROOT / "params" / "local.yaml"])
    chosen = stages.choose(stages.find(ROOT / "notebooks"))
    return run.run(chosen, table, merged, runs=runs, tell=lambda _: None, preload=PRELOAD)


@contextmanager
def cloud(folder: Path) -> Iterator[None]:
    """Keep the local cloud that the kernels start in this folder, and stop it in the end."""
    with patch.dict(os.environ, RUNBOOK_LOCALCLOUD=str(folder / "cloud")):
        try:
            yield
        finally:
            stop = [sys.executable, "-m", "lib", "local-cloud", "stop"]
            subprocess.run(stop, cwd=ROOT, check=True, capture_output=True)


@contextmanager
def timed(spent: Counter) -> Iterator[None]:
    """Add up the seconds spent in the functions of TIMED; one called by another counts once."""
    busy: list[str] = []
    with ExitStack() as held:
        for name, places in TIMED.items():
            for owner, function in places:
                timer = _timer(getattr(owner, function), name, spent, busy)
                held.enter_context(patch.object(owner, function, timer))
        yield


def _timer(function: Callable, name: str, spent: Counter, busy: list[str]) -> Callable:
    def timer(*args: object, **kwargs: object) -> object:
        if busy:
            return function(*args, **kwargs)
        began = time.perf_counter()
        busy.append(name)
        try:
            return function(*args, **kwargs)
        finally:
            busy.pop()
            spent[name] += time.perf_counter() - began

    return timer
