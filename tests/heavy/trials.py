"""Trials: a run is broken at a point and continued, and what there is then is compared."""

import random
import time
from collections import Counter
from contextlib import ExitStack

from harness import STAGES, small_disk
from heavy.bench import REMOVAL, VARIANTS, Bench, copy, what_there_is
from heavy.breaking import (
    FILLER,
    FULL,
    KINDS,
    POWER,
    TIMES_OUT,
    TOKEN_KINDS,
    Breaker,
    Point,
    cut_power,
    held_back,
)
from heavy.processes import run

from lib.localcloud.wire.server import Server

PATIENCE = 1.0  # seconds: less than a job that is late, and twice is more
ATTEMPTS = 4
# What the error of the first run must name. A run on a full disk may end well, at its last lines.
ENDS_WITH = {TIMES_OUT: "JobTimeout", FULL: "No space left on device"}
DISK = 8192  # KiB of a disk that fills up


def survive(bench: Bench, point: Point, chance: random.Random) -> tuple[str, int]:
    """Break a run at the point and continue it; return what is wrong ("" if nothing), and runs."""
    bench.record = "run"
    with ExitStack() as stack:
        copy(bench.base / point.stage, bench.work)
        if point.kind == FULL:
            stack.enter_context(small_disk(bench.folder, DISK))
            copy(bench.base / point.stage / bench.record, bench.folder)
        server = stack.enter_context(bench.serve())
        return _survived(bench, server, point, chance)


def _survived(bench: Bench, server: Server, point: Point, chance: random.Random) -> tuple[str, int]:
    hold = held_back(point.kind, chance)
    breaker = Breaker(server, bench.folder, point.k, point.kind, hold)
    server.cloud.faults = breaker
    last = [] if point.stage in STAGES else [point.stage]
    stages = last or STAGES[STAGES.index(point.stage) :]
    params = {"patience": PATIENCE / 60} if point.kind == TIMES_OUT else {}
    trap = TOKEN_KINDS.get(point.kind)
    error, runs = run(bench, server, stages, trap, **params), 1
    if not breaker.struck.is_set() and not trap:
        return f"request {point.k + 1} of {point.stage} never came: {error}", runs
    if point.kind in ENDS_WITH and ENDS_WITH[point.kind] not in (error or ENDS_WITH[FULL]):
        return f"it should have ended with {ENDS_WITH[point.kind]}: {error}", runs
    if point.kind == FULL:
        (bench.folder / FILLER).unlink()
    if point.kind.startswith(POWER):
        cut_power(bench.folder, point.kind.removeprefix(POWER), chance)
    again = stages if breaker.victim or trap else last or STAGES
    if "then" in point.kind:
        bench.record, last = "run-2", [REMOVAL] if "removed" in point.kind else last
        again = last or STAGES
    text = ""
    while error and runs < ATTEMPTS:
        text, error, runs = error, run(bench, server, again), runs + 1
    untold = (point.variant, point.command) == ("2.2", "rebootVirtualMachine")
    if not error and runs > (1 if "dropped" in point.kind and not untold else 2):
        return f"it came through, but only after more runs than should do: {text}", runs
    return error or wrong(bench, server, again[-1]), runs


def wrong(bench: Bench, server: Server, last: str) -> str:
    """Compare what there is, and after the removal is left, with the undisturbed run."""
    removed = last == REMOVAL
    for stage in [REMOVAL] if removed else [last, REMOVAL]:
        error = "" if stage == last else run(bench, server, [stage])
        found, expected = what_there_is(bench, server), bench.expected[stage]
        if bench.record != "run" and removed:  # goes by when the run was given up
            expected = expected | {"members": found["members"]}
        text = [f"{k}: wanted {expected[k]}, found {found[k]}" for k in found
                if found[k] != expected[k]]  # fmt: skip
        if error or text:
            return "\n".join([error, *text])
    return ""


def try_points(points: list[Point], benches: dict[str, Bench], seed: int) -> list[tuple]:
    """Try points one after the other; return (point, what is wrong, runs) of each."""
    results = []
    for point in points:
        started, chance = time.monotonic(), random.Random(f"{seed} {point}")
        fault, runs = survive(benches[point.variant], point, chance)
        text = f"{'BAD' if fault else 'ok '} {point} ({runs} runs, "
        print(f"{text}{time.monotonic() - started:.1f} s)", flush=True)
        if fault:
            print("    " + fault.replace("\n", "\n    "), flush=True)
        results.append((point, fault, runs))
    return results


def matrix(results: list[tuple]) -> str:
    """Return the table: survived of tried, by kind and variant."""
    tried = Counter((p.kind, p.variant) for p, *_ in results)
    survived = Counter((p.kind, p.variant) for p, fault, _ in results if not fault)
    lines = [f"{'survived of tried':34}" + "".join(f"{v:>15}" for v in VARIANTS)]
    for kind in [*KINDS, *TOKEN_KINDS]:
        cells = [f"{survived[kind, v]} of {tried[kind, v]}" for v in VARIANTS]
        lines.append(f"{kind:34}" + "".join(f"{c:>15}" for c in cells))
    total = f"{sum(survived.values())} of {sum(tried.values())}"
    runs = Counter(n for *_, n in results)
    ends = ", ".join(f"{c} in {n} run{'s' * (n > 1)}" for n, c in sorted(runs.items()))
    return "\n".join([*lines, f"{total} points survived; {ends}"])


def draw(points: list[Point], size: int, seed: int) -> list[Point]:
    """Return a random sample of the points, the same for the same seed."""
    return random.Random(seed).sample(points, min(size, len(points)))
