"""Run the benchmarks and print a table: figures, ratios, and whether what is wanted holds.

All ratios are of figures measured in this one run. The exit code is 1 if a bound does not hold.
"""

import argparse
import importlib
import sys
from pathlib import Path

NAMES = {
    "procedure": "the whole procedure: cs and a 10 s waitjob, against the chain (about a minute)",
    "thousand": "1,000 machines: time and requests, against cs with 50 threads (five minutes)",
    "fleet": "20 clusters through Airflow, against one after the other (needs .airflow; minutes)",
    "engine": "what a stage costs beside its own work, against papermill (about a minute)",
    "noticing": "noticing that a job has ended: lag and requests, against polls at fixed times",
    "listing": "10,000 volumes into a table: time and memory, against cs and pandas",
    "records": "10,000 sealed runs: their list, and the start of one more (a few minutes)",
    "redaction": "20 MB of outputs and 20 secrets: seconds to mask and seal, against 20 MB/s",
    "installing": "7.8 GiB onto a loop device and proved, against dd (root; five minutes)",
    "recording": "ledger and sealing, of a run's wall time on the local cloud",
    "serving": "the local cloud's requests a second, against a bare http.server (more is better)",
}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks that are asked for; return 1 if a bound does not hold.

    All are imported first: what is missing shows before a quarter of an hour of measuring.
    """
    report = importlib.import_module("benchmarks.report")
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in NAMES}
    chosen = parser().parse_args(argv).only or list(NAMES)
    lines = []
    for name in chosen:
        print(f"\n{name}: {NAMES[name]}\n{report.HEAD}", flush=True)
        measured = modules[name].measure()
        print("\n".join(map(report.shown, measured)), flush=True)
        lines += measured
    print(f"\n{report.verdict(lines)}")
    return 1 if report.broken(lines) else 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    names = "\n".join(f"  {name:10} {about}" for name, about in NAMES.items())
    made = argparse.ArgumentParser(
        "tests/benchmarks/run.py",
        description=f"{__doc__}\nbenchmarks:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--only", action="append", choices=NAMES, help="run this one; may be given again"
    )
    return made


if __name__ == "__main__":
    # Instead of this folder, whose modules would hide folders of the same names beside it.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.exit(main())
