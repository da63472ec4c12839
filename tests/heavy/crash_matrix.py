"""The crash matrix: the whole procedure, broken at each change in each way, and then continued.

    python tests/heavy/crash_matrix.py [--all | --sample N] [--seed S] [--variant V] [--kind TEXT]

For every state-changing request k of an undisturbed run, and each kind of trouble, the run is
broken at k and started again with the same run folder until it is through. What there is then must
be what the undisturbed run left: the same resources, tags, disk contents and notes, nothing twice,
nothing left over, one discovery token in use, no change left open in the journal; and after the
removal what is left after an undisturbed removal. Destroyed machines are expunged soon: what a
failed deployment leaves would hold its name for a day otherwise. A lost answer must not stop a run,
but for that to a reboot on 2.2, of which nobody can tell; after other trouble one more run must do.
Instead of being continued a run may also be given up: a new one, with a folder of its own beside
that of the first, must come to the same end, and so must a removal. The machines are given another
configuration, too.

A stage runs in a process of its own, the kernel (fresh clients, the notebooks' code, no papermill),
below another one, the driver. *Kernel killed* is SIGKILL to the first. *Driver killed* is SIGKILL
to the second; the kernel then lives on until it sees that its parent is gone, as ipykernel does,
though it looks every 50 ms instead of every second. Both are struck while the server holds back its
answer to k, and the job of k goes on until after the next run has begun. A *power cut* ends both at
once, then or as soon as the run has noted the answer; and of the lines of the run folder, those
that were not synced yet lose their end, are lost, or come back as zeros. *Disk full*: the run
folder is on a small disk of its own, which is full from the moment that k arrives at the server,
and has room again when the run is continued; this needs root. Each run starts from a copy of the
cloud, the workstation and the run folder as they were before the stage of k. When it is continued,
all stages run again from the first; after a kill from that of k, so as to find its job still
running.

That a discovery token is asked for, at another service, is a change like the others, and has kinds
of its own besides: the kernel is killed before it writes the token into the file, and once it has.
A token whose answer was lost stays behind at the service; nobody knows it, and nobody uses it.

The variants are tried side by side, and the points of a variant one after the other.
"""

import argparse
import importlib
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path


def main(argv: list[str]) -> int:
    """Try a sample or all, print the matrix, and return 1 if any point was not survived."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    names = ("heavy.bench", "heavy.trials", "heavy.processes")
    bench, trials, processes = map(importlib.import_module, names)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every point")
    parser.add_argument("--sample", type=int, default=24, help="so many points, drawn by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--variant", choices=bench.VARIANTS)
    parser.add_argument("--kind", default="", help="only kinds whose name holds this")
    given = parser.parse_args(argv)
    variants = [given.variant] if given.variant else bench.VARIANTS
    with (
        tempfile.TemporaryDirectory(prefix="crash-matrix-") as base,
        ProcessPoolExecutor(len(variants), mp_context=processes.context()) as pool,
    ):
        new = [bench.Bench(Path(base) / v.replace(" ", "-"), v) for v in variants]
        benches = {b.variant: b for b in pool.map(bench.Bench.prepare, new)}
        points = [p for b in benches.values() for p in b.all_points() if given.kind in p.kind]
        chosen = points if given.all else trials.draw(points, given.sample, given.seed)
        print(f"{len(chosen)} of {len(points)} points, seed {given.seed}", flush=True)
        of_each = [[p for p in chosen if p.variant == v] for v in variants]
        tried = pool.map(partial(trials.try_points, benches=benches, seed=given.seed), of_each)
        results = [result for some in tried for result in some]
    print(trials.matrix(results))
    return int(any(fault for _, fault, _ in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
