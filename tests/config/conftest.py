"""Clouds that tests of configurations share."""

import pytest

NEUTRAL = {"config_delivery": "userdata"}


@pytest.fixture
def neutral(built, tmp_path):
    """A client of a local cloud with a neutral template, whose account may not expunge."""
    with built(**NEUTRAL).running(tmp_path / "cloud") as one:
        yield one


@pytest.fixture
def registering(built, tmp_path):
    """One whose account may expunge: user data are registered, and names free."""
    with built(**NEUTRAL).running(tmp_path / "cloud", may_expunge=1) as one:
        yield one
