"""The fuzz: what reads files, answers and requests is given damaged and hostile ones.

    python tests/heavy/fuzz.py [--minutes M] [--seed N] [--part NAME]

Each part makes cases, plain data by chance, and tries them; `seeds.json` holds cases that once
found a fault, which are tried first. A fault is an error that is not one of ours, a traceback or a
raw Python error in an output, an answer 530 by an error inside the local cloud, a secret where none
belongs, a change that is lost or made twice, and what takes longer than a minute. The case of each
fault is printed, to be added to the seeds.
"""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

PARTS = {
    "params": "parameter files and options, as `runbook run` reads them",
    "answers": "a hostile server between a stage and the cloud",
    "requests": "requests to the local cloud, with and without a signature",
    "records": "files of runs, read by list, diff, report, verify and resume",
    "cuts": "the same files cut at every byte; eight minutes try all of them",
    "removal": "the installation (30) and the removal (90) with a damaged journal and workstation",
}


def main(argv: list[str]) -> int:
    """Try cases until the time is over, and return 1 if a fault was found."""
    parts = "\n".join(f"  {name:9} {about}" for name, about in PARTS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nparts:\n{parts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this; may be repeated")
    given = parser.parse_args(argv)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    trying = importlib.import_module("heavy.trying")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        tried = trying.all_parts(
            given.part or list(PARTS), Path(folder), given.minutes * 60, given.seed
        )
    print(trying.table(tried))
    return int(any(part.faults for part in tried))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
