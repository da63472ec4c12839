"""Noticing: how long after its end a job is seen to have ended, and after how many requests.

A long job may be noticed a LATE part of its time late, where that is more than every 2 s costs.

On a virtual clock, over many jobs that end at different moments between two looks. Ours is the
real `lib.jobs.wait` over HTTP; a poll at fixed times, as of `cs` (every 2 s) or the shell loop of
2014 (every 10 s), is plain arithmetic.
"""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import NamedTuple
from unittest.mock import patch

from benchmarks.report import Line
from benchmarks.virtual import Clock, our_client

from lib import jobs
from lib.cloud import Cloud
from lib.jobs import LATE
from lib.localcloud.state import jobs as durations
from lib.localcloud.wire.server import Server

# Seconds that a job takes, and what it is known to take: a snapshot of 40 GB is, others are not.
JOBS = ((0.2, 0), (1, 0), (5, 0), (30, 0), (570, 570))
LONG = 30  # seconds; jobs longer than this must cost a fifth of the requests, a LATE part late


class Seen(NamedTuple):
    """How many seconds after its end a job was noticed, and how many requests asked for it."""

    lag: float
    requests: float


def measure(steps: int = 20, jobs: tuple[tuple[float, float], ...] = JOBS) -> list[Line]:
    """Compare ours with looking every 2 s and every 10 s, `steps` jobs of each length."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            line
            for length, expect in jobs
            for line in lines(length, list(watched(Path(folder), length, expect, steps)), steps)
        ]


def lines(length: float, ours: list[Seen], steps: int) -> list[Line]:
    """Return the comparison for jobs of one length."""
    two = [fixed(length + late, 2) for late in phases(2, steps)]
    ten = [fixed(length + late, 10) for late in phases(10, steps)]
    name, few = f"job of {length:g} s:", 0.2 if length > LONG else None
    lag, most, asked = (
        [figure(seen) for seen in (ours, two, ten)] for figure in (_lag, _worst, _requests)
    )
    part = length / LATE
    return [
        Line(f"{name} mean lag, against every 2 s", "s", lag[0], max(lag[1], part), 1),
        Line(f"{name} longest lag, against every 2 s", "s", most[0], max(most[1], part), 1),
        Line(f"{name} requests, against every 2 s", "", asked[0], asked[1], few),
        Line(f"{name} mean lag, against every 10 s", "s", lag[0], lag[2]),
        Line(f"{name} requests, against every 10 s", "", asked[0], asked[2]),
    ]


def _lag(seen: list[Seen]) -> float:
    return mean(s.lag for s in seen)


def _worst(seen: list[Seen]) -> float:
    return max(s.lag for s in seen)


def _requests(seen: list[Seen]) -> float:
    return mean(s.requests for s in seen)


def phases(period: float, steps: int) -> list[float]:
    """Return moments spread evenly over the time between two looks, none of them at a look.

    >>> phases(2, 4)
    [0.25, 0.75, 1.25, 1.75]
    """
    return [(n + 0.5) * period / steps for n in range(steps)]


def fixed(length: float, every: float) -> Seen:
    """Return how a job fares that is looked at when it was sent and `every` so many seconds.

    >>> fixed(5, 2)
    Seen(lag=1, requests=4)
    """
    looks = math.ceil(length / every)
    return Seen(looks * every - length, looks + 1)


def watched(folder: Path, length: float, expect: float, steps: int) -> Iterator[Seen]:
    """Have our client wait for jobs of about that length, one after the other."""
    clock = Clock()
    with Server(folder, time_scale=1, clock=clock) as server:
        server.cloud.setting("limits")["volume"] = -1
        cloud = our_client(server, clock)
        params = volume(cloud)
        for late in phases(2, steps):
            with patch.dict(durations.SECONDS, createVolume=length + late):
                yield _watched(server, cloud, params, expect)


def volume(cloud: Cloud) -> dict:
    """Return what createVolume needs."""
    offering = cloud.one("listDiskOfferings", "Small")["id"]
    return {"name": "v", "diskofferingid": offering, "zoneid": cloud.zone_id("local-1")}


def _watched(server: Server, cloud: Cloud, params: dict, expect: float) -> Seen:
    job = jobs.Job(cloud.call("createVolume", **params)["jobid"], expect=expect)
    before = len(server.cloud.faults.calls)
    job.started = cloud.clock()
    jobs.wait(cloud, job, 3600)
    looks = len(server.cloud.faults.calls) - before
    return Seen(cloud.clock() - server.cloud.state.get("job", job.id)["ends"], looks)
