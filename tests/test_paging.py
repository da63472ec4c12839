"""Lists of more than a page: whole although pages repeat rows and lose others, or an error."""

import pytest
from harness import client, running, volume_params

from lib.errors import Incomplete
from lib.localcloud.wire import dispatch

SHIFT = 2


@pytest.fixture
def cloud(server, monkeypatch):
    """A client of a cloud with ten volumes more, which asks for three a page."""
    monkeypatch.setattr("lib.api.client.PAGE", 3)
    return ten(client(server))


def ten(cloud):
    """Make ten volumes and return the cloud."""
    for number in range(10):
        cloud.call("createVolume", **volume_params(cloud, f"v{number}"))
    return cloud


def shift(monkeypatch) -> None:
    """Have the second page begin with rows of the first, and lack as many at its end."""
    plain = dispatch.page_slice

    def shifted(cloud, page: int | None, size: int | None) -> slice:
        if size == -1:
            return slice(None)
        part = plain(cloud, page, size)
        back = SHIFT if page == 2 else 0
        return slice(part.start - back, part.stop - back)

    monkeypatch.setattr(dispatch, "page_slice", shifted)


def names(cloud) -> list[str]:
    return sorted(v["name"] for v in cloud.list("listVolumes"))


def test_rows_that_the_pages_lose_are_asked_for_in_another_way(cloud, monkeypatch):
    there = names(cloud)
    shift(monkeypatch)
    assert names(cloud) == there and len(there) == 12
    calls = [c["params"] for c in cloud.list("listSimulatorCalls")]
    assert [c for c in calls if c.get("pagesize") == "-1"]


def test_what_is_never_whole_is_an_error_with_both_numbers(cloud, monkeypatch):
    monkeypatch.setattr(dispatch, "page_slice", lambda *_: slice(0, 5))
    with pytest.raises(Incomplete, match="counts 12 rows and shows 5"):
        cloud.list("listVolumes")


def test_one_answer_is_enough_for_a_list_of_one_page(cloud):
    cloud.list("listVirtualMachines")
    calls = [c["command"] for c in cloud.list("listSimulatorCalls")]
    assert calls.count("listVirtualMachines") == 1


def test_one_page_that_is_asked_for_is_all_that_comes(cloud):
    assert len(cloud.list("listVolumes", page=2, pagesize=5)) == 5


def test_a_server_that_counts_its_pages_only_is_asked_again_when_rows_came_twice(
    tmp_path, monkeypatch
):
    with running(tmp_path / "cloud", dialect="2.2") as old:
        there = names(ten(old))
        monkeypatch.setattr("lib.api.client.PAGE", 4)
        shift(monkeypatch)
        assert names(old) == there
