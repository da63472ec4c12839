"""The benchmarks: they run, their baselines are what they say, and the bounds on noticing hold."""

import doctest
import importlib
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from benchmarks import engine, listing, noticing, procedure, report, serving
from benchmarks.run import NAMES
from benchmarks.virtual import Clock, cs_client, our_client

from lib.localcloud.state import jobs as durations
from lib.localcloud.wire.server import Server

ROOT = Path(__file__).resolve().parent.parent


def test_a_job_is_noticed_no_later_than_by_polling_every_2_s_and_a_long_one_costs_half():
    lines = noticing.measure(steps=4)
    assert [report.shown(line) for line in report.broken(lines)] == []
    assert len([line for line in lines if line.holds]) == 2 * len(noticing.JOBS) + 1


@pytest.mark.parametrize(("length", "every"), [(0.25, 2), (5.75, 2), (30.25, 2), (31.75, 10)])
def test_a_poll_at_fixed_times_is_what_cs_does(tmp_path, length, every):
    clock = Clock()
    with Server(tmp_path, time_scale=1, clock=clock) as server:
        params = noticing.volume(our_client(server, clock))
        api = cs_client(server, poll_interval=every, fetch_result=True)
        began, before = clock(), len(server.cloud.faults.calls) + 1
        changed = patch.dict(durations.SECONDS, createVolume=length)
        with changed, patch("cs.client.time", clock):
            api.createVolume(**params)
        looks = len(server.cloud.faults.calls) - before
        assert (clock() - began - length, looks) == noticing.fixed(length, every)


def test_the_procedure_by_hand_makes_the_cluster_and_looks_every_10_s(tmp_path):
    hand = procedure.by_hand(tmp_path)
    assert hand.waited % 10 == 0
    assert hand.requests["changes"] == 8
    assert hand.requests["looks"] > hand.waited / 10 * 0.9


def test_a_stage_is_played_with_the_values_given(tmp_path, capsys):
    clock = Clock()
    values = {"mode": "apply", "volume_name": "v", "cluster_size": 3}
    with Server(tmp_path, time_scale=1, clock=clock) as server, procedure.connected(server, clock):
        procedure.play(ROOT / "notebooks" / "10-create-volume.ipynb", values)
        assert "v" in [v["name"] for v in server.cloud.rows("volume")]
        assert clock() - Clock()() >= durations.SECONDS["createVolume"]
    assert "done: createVolume v" in capsys.readouterr().out


def test_listing_and_serving_measure_the_requested_figures():
    assert [line.ours > 0 for line in serving.measure(count=5, times=1)] == [True, True]
    assert [line.unit for line in listing.measure(volumes=600, times=1)] == ["s", "MiB"]


def test_the_engine_gives_the_same_results_as_papermill_at_less_cost(tmp_path):
    books = engine.notebooks(tmp_path / "notebooks", count=2, work=0.5)
    mine = engine.ours(books, tmp_path / "ours", work=0.5)
    other = engine.call(books[:1], tmp_path / "other", work=0.5)
    engine.demand_same(mine.cells[: len(other.cells)], other.cells)
    assert mine.beside[1] < other.beside[0]
    with pytest.raises(RuntimeError, match="results differ"):
        engine.demand_same(mine.cells, mine.cells[::-1])


def test_a_bound_that_does_not_hold_is_reported():
    bad, free = report.Line("a", "s", 2, 1, 1), report.Line("b", "s", 2, 1)
    assert report.broken([bad, free]) == [bad]
    assert report.shown(bad).endswith("NO")


def test_the_one_command_lists_all_benchmarks():
    command = [sys.executable, "tests/benchmarks/run.py", "--help"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(f"  {name} " in output for name in NAMES)


@pytest.mark.parametrize("name", ["report", "noticing"])
def test_the_examples_in_the_docstrings_are_right(name):
    assert doctest.testmod(importlib.import_module(f"benchmarks.{name}")).failed == 0
