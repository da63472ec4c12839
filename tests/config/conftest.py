"""Clouds that tests of configurations share, made once."""

import pytest
from harness import build


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A local cloud on which a neutral template was made."""
    return build(tmp_path_factory.mktemp("neutral") / "cloud", config_delivery="userdata")


@pytest.fixture
def neutral(built, tmp_path):
    """A client of a copy of that cloud, whose account may not expunge."""
    with built.running(tmp_path / "cloud") as one:
        yield one


@pytest.fixture
def registering(built, tmp_path):
    """A client of a copy whose account may expunge: user data are registered, and names free."""
    with built.running(tmp_path / "cloud", may_expunge=1) as one:
        yield one
