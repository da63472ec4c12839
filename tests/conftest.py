"""What all tests share: marked tests that may not be skipped where they are required."""

import os
from functools import cache

import pytest
from harness import KEY, USERDATA, Built, build, build_to, client, running
from stages import TEMPLATE

import lib.chain  # noqa: F401 - before nbformat, which then starts two seconds faster
from lib.localcloud.wire.server import Server
from lib.workstation.shell import connect_shell

LONGEST = (
    *("test_airflow", "test_end_to_end", "test_stages", "test_reconfigure", "test_growing"),
    *("test_real_disks", "test_crash_matrix", "config/test_", "test_truth", "test_full_disk"),
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Turn the skip of a `system` test into a failure where such tests are required (CI)."""
    report = yield
    required = os.environ.get("REQUIRE_SYSTEM_TESTS") and item.get_closest_marker("system")
    if report.skipped and required:
        report.outcome = "failed"
        report.longrepr = f"skipped, but required here: {report.longrepr}"
    return report


def pytest_collection_modifyitems(items):
    """Put the longest files first, so that none of them runs alone at the end."""
    items.sort(key=lambda item: not any(name in item.nodeid for name in LONGEST))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A shell on this machine whose home is the test's own folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return connect_shell(None, "")


@pytest.fixture
def seed(tmp_path):
    """Return a function that writes a seed of the local cloud, and returns its path."""

    def write(text: str):
        path = tmp_path / "seed.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def keys(tmp_path):
    """The parameter for a file with another public key (KEY)."""
    file = tmp_path / "other.pub"
    file.write_text(f"{KEY}\n")
    return {"ssh_key_file": str(file)}


@pytest.fixture
def server(tmp_path):
    """A local cloud of today's dialect that ends its jobs at once."""
    with Server(tmp_path / "cloud", time_scale=0) as one:
        yield one


@pytest.fixture
def cloud(server):
    """A client of that local cloud."""
    return client(server)


@pytest.fixture
def old_server(tmp_path):
    """A local cloud that speaks the dialect of 2.2."""
    with Server(tmp_path / "cloud22", dialect="2.2", time_scale=0) as one:
        yield one


@pytest.fixture
def old_cloud(old_server):
    """A client of a local cloud that speaks the dialect of 2.2."""
    return client(old_server)


@pytest.fixture(params=["4.22", "2.2"])
def each_cloud(request, tmp_path):
    """A client of a local cloud of each dialect in turn."""
    with running(tmp_path / "cloud", dialect=request.param) as one:
        yield one


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Return a function that gives a local cloud on which stages were played, built only once.

    What goes beyond the template is built on a copy of the cloud that has it.
    """

    @cache
    def build_once(last: str, dialect: str, **params: str) -> Built:
        folder = tmp_path_factory.mktemp("built") / "cloud"
        if last <= TEMPLATE:
            return build(folder, last, dialect, **params)
        with build_once(TEMPLATE, dialect, **params).running(folder) as cloud:
            return build_to(cloud, last, after=TEMPLATE, **params)

    def find(last: str = TEMPLATE, dialect: str = "4.22", **params: str) -> Built:
        return build_once(last, dialect, **params)

    return find


@pytest.fixture
def etcd_cloud(built, tmp_path):
    """A client of a local cloud with a neutral template, whose machines run real etcds."""
    with built(**USERDATA).running(tmp_path / "cloud", real_etcd=True) as one:
        yield one
