"""When a job is looked at: the pace, on a clock that only counts."""

from itertools import pairwise, takewhile

import pytest

from lib.jobs import EARLIEST, LATE, looks, unwrapped


def times(until: float, expect: float = 0) -> list[float]:
    return list(takewhile(lambda t: t <= until, looks(expect)))


def test_the_first_looks_come_at_once_but_at_a_job_that_is_known_to_be_long():
    assert times(2) == times(2, 30) == pytest.approx([0.05, 0.2, 0.8, 2])
    assert times(3, 570) == [2]


@pytest.mark.parametrize("expect", [0, 30, 120, 570])
def test_a_job_that_may_end_is_seen_to_end_within_two_seconds_or_a_fortieth_of_its_age(expect):
    late = [(a, b) for a, b in pairwise(times(700, expect)) if a > expect * EARLIEST]
    assert all(b - a <= max(2, a / LATE) + 1e-9 for a, b in late)


def test_a_job_is_seen_to_end_no_later_than_by_looking_every_two_seconds():
    assert set(map(float, range(2, 80, 2))) <= set(times(80))


def test_a_job_that_takes_as_long_as_it_should_is_seen_to_end_at_once():
    for length in (120, 570):
        assert min(t for t in times(700, length) if t >= length) <= length * 1.005


@pytest.mark.parametrize(("length", "most"), [(45, 25), (120, 30), (570, 35)])
def test_a_job_that_is_known_costs_few_looks(length, most):
    assert len(times(length, length)) <= most


def test_an_answer_is_unwrapped_to_its_one_object():
    assert unwrapped({"volume": {"id": 1}}) == {"id": 1}
    assert unwrapped({"success": True}) == {"success": True}
