"""Large clusters: what a look at one costs, in requests and in operations."""

import sys
from collections.abc import Callable
from math import inf

from harness import URL, changes, play, play_to, running
from stages import DEPLOY

HOW = URL | {"etcd_members": 1}


def grow(cloud, sizes: range) -> None:
    """Add machines that are like the first one to the cloud."""
    there = cloud.server.cloud
    with there.lock:
        first = next(m for m in there.rows("virtualmachine") if m["name"] == "coreos-cluster-1")
        own = {k: v for k, v in first.items() if k not in ("id", "n")}
        for n in sizes:
            name = f"coreos-cluster-{n}"
            cards = [c | {"ipaddress": f"10.9.{n // 250}.{n % 250 + 1}"} for c in first["nics"]]
            more = {"name": name, "displayname": name, "nics": cards}
            there.state.add("virtualmachine", **own | more)
        there.state.commit()


def operations(do: Callable[[], object]) -> int:
    """Count the calls of functions, Python's and C's, while something is done in this thread."""
    count = 0

    def note(frame, event, arg):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        do()
    finally:
        sys.setprofile(None)
    return count


def test_a_look_at_four_times_the_machines_costs_four_times_as_much(tmp_path, capsys):
    with running(tmp_path / "cloud") as cloud:
        play_to(cloud, DEPLOY, **HOW | {"cluster_size": 1})
        cloud.keep = inf  # until it changes something or waits, as within a run
        seen, there = {}, 1
        for size in (500, 2000):
            grow(cloud, range(there + 1, size + 1))
            cloud.lists.forget()
            before, there, asked = changes(cloud), size, len(cloud.server.cloud.faults.calls)
            how = HOW | {"mode": "plan", "cluster_size": size}
            seen[size] = operations(lambda how=how: play(cloud, DEPLOY, **how))
            assert len(cloud.server.cloud.faults.calls) - asked <= 20 * size / 1000
            cloud.lists.forget()
            assert changes(cloud) == before, "nothing is left to do"
    assert seen[2000] <= 4.5 * seen[500]
    output = capsys.readouterr().out
    assert (
        "coreos-cluster-3 … coreos-cluster-2000 (2000), Running" in output and len(output) < 10000
    )
