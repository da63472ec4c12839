"""Listing: 10,000 volumes into a table, against `cs` and `pandas.DataFrame`.

`python listing.py ours|cs`, with the server's facts on its input, does it once in a process that
does nothing else, and prints seconds, MiB and rows.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from subprocess import PIPE

COLUMNS = "name state size created id"


def measure(volumes: int = 10_000, times: int = 3) -> list:
    """Compare the median time and memory of a few processes for either way, taken in turn."""
    # Not at the top: a process that does it once is to load nothing that it does not need.
    from benchmarks.report import Line
    from benchmarks.servers import running

    with (
        tempfile.TemporaryDirectory() as folder,
        running("cloud", folder, str(volumes)) as facts,
    ):
        turns = [{way: _once(way, facts, volumes) for way in WAYS} for _ in range(times)]
    figures = {
        (way, what): median(t[way][what] for t in turns) for way in WAYS for what in ("s", "MiB")
    }
    what = f"{volumes} volumes, against cs and DataFrame: time"
    return [
        Line(what, "s", figures["ours", "s"], figures["cs", "s"]),
        Line("  memory at its peak", "MiB", figures["ours", "MiB"], figures["cs", "MiB"]),
    ]


def _once(way: str, facts: dict, volumes: int) -> dict:
    """Run this file, so that no process has the memory of another."""
    command = [sys.executable, __file__, way]
    done = subprocess.run(command, input=json.dumps(facts), text=True, stdout=PIPE, check=True)
    found = json.loads(done.stdout)
    if found["rows"] < volumes:
        raise RuntimeError(f"{way} listed {found['rows']} of {volumes} volumes")
    return found


def ours(facts: dict) -> Callable:
    """Return a function that makes the table with our client."""
    from lib import table
    from lib.cloud import Cloud
    from lib.profiles import Profile

    cloud = Cloud(Profile("local", facts["endpoint"], facts["apikey"], facts["secretkey"]))
    return lambda: table(cloud.list("listVolumes"), COLUMNS)


def of_cs(facts: dict) -> Callable:
    """Return a function that makes the table with `cs`."""
    import cs
    import pandas

    api = cs.CloudStack(facts["endpoint"], facts["apikey"], facts["secretkey"])
    return lambda: pandas.DataFrame(api.listVolumes(fetch_list=True))


WAYS = {"ours": ours, "cs": of_cs}


def peak() -> float:
    """Return the most memory that this process has had, in MiB.

    Not `ru_maxrss`, which a new process takes over from the one that started it.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Do it once; what the imports took is not counted."""
    make = WAYS[sys.argv[1]](json.load(sys.stdin))
    before, started = peak(), time.perf_counter()
    found = make()
    took = time.perf_counter() - started
    print(json.dumps({"s": took, "MiB": peak() - before, "rows": len(found)}))


if __name__ == "__main__":
    main()
