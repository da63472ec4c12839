"""When a job is looked at: the pace, on a clock that only counts."""

from itertools import pairwise, takewhile

import pytest

from lib.jobs import EARLIEST, looks, unwrapped


def times(until: float, expect: float = 0) -> list[float]:
    return list(takewhile(lambda t: t <= until, looks(expect)))


def test_the_first_looks_come_at_once():
    assert times(1)[:3] == pytest.approx([0.05, 0.15, 0.45])


@pytest.mark.parametrize("expect", [0, 30, 120, 570])
def test_no_two_looks_at_a_job_that_may_end_are_more_than_two_seconds_apart(expect):
    seen = times(700, expect)
    late = [(a, b) for a, b in pairwise(seen) if b > expect * EARLIEST]
    assert max(b - a for a, b in late if a > expect * EARLIEST) <= 2


def test_a_job_is_seen_to_end_no_later_than_by_looking_every_two_seconds():
    for expect in (0, 570):
        seen = times(700, expect)
        grid = [float(t) for t in range(0, 700, 2) if t and t >= expect * EARLIEST + 2]
        assert set(grid) <= set(seen)


def test_a_long_job_that_is_known_costs_at_most_half_the_looks():
    assert len(times(570, 570)) <= 570 / 2 / 3


def test_an_answer_is_unwrapped_to_its_one_object():
    assert unwrapped({"volume": {"id": 1}}) == {"id": 1}
    assert unwrapped({"success": True}) == {"success": True}
