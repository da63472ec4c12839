"""Pages and filters of lists."""

import pytest

from lib.localcloud.wire import envelope, paging


@pytest.fixture
def many(api):
    """A cloud with 1,203 volumes, three of which were there."""
    return fill(api, 1201)


def fill(api, count):
    state = api.server.cloud.state
    one = state.table("volume")[next(reversed(state.table("volume")))]
    more = {k: v for k, v in one.items() if k not in ("id", "n", "virtualmachineid", "deviceid")}
    for n in range(count):
        state.add("volume", **more | {"name": f"v{n}"})
    return api


def test_without_paging_the_first_500_come_and_the_count_is_the_total(many):
    found = many("listVolumes")
    assert (found["count"], len(found["volume"])) == (1203, 500)


def walk(cloud, size=500):
    """Ask for pages from the first to the first that is empty."""
    pages = []
    while not pages or "volume" in pages[-1]:
        pages.append(cloud("listVolumes", page=len(pages) + 1, pagesize=size))
    return pages


@pytest.mark.parametrize("size", [500, 7])
def test_rows_of_one_second_come_twice_or_not_at_all_though_the_count_is_right(many, size):
    lost = []
    for _ in range(3):
        pages = walk(many, size)
        assert {page["count"] for page in pages} == {1203}
        ids = [row["id"] for page in pages for row in page.get("volume", [])]
        assert len(ids) == 1203
        lost.append(1203 - len(set(ids)))
    assert lost == [3, 0, 3]


def test_rows_of_different_seconds_are_on_one_page_each_the_newest_first(many):
    state = many.server.cloud.state
    for n, row in enumerate(state.table("volume").values()):
        state.change("volume", row, at=1_800_000_000 + n)
    pages = [[v["created"] for v in page.get("volume", [])] for page in walk(many)]
    assert all(page == sorted(page) for page in pages)
    moments = [at for page in pages for at in reversed(page)]
    assert moments == sorted(set(moments), reverse=True)
    assert len(moments) == 1203


def test_an_old_server_counts_the_page_only(old):
    fill(old, 10)
    found = old("listVolumes", page=2, pagesize=8)
    assert (found["count"], len(found["volume"])) == (5, 5)
    assert old("listVolumes", page=3, pagesize=8) == {}


def test_pagesize_minus_one_is_everything_or_500(many, cloud_of):
    assert len(many("listVolumes", pagesize=-1)["volume"]) == 1203
    old = fill(cloud_of("elder", dialect="2.2"), 600)
    assert len(old("listVolumes", pagesize=-1)["volume"]) == 500


def test_names_are_compared_whole_or_in_part(api, old):
    for one in (api, old):
        one.volume("alpha")
        one.volume("alphabet")
    assert api("listVolumes", name="ALPHA")["count"] == 1
    assert old("listVolumes", name="ALPHA")["count"] == 2
    assert api("listVolumes", keyword="lph")["count"] == 2


def test_filters_must_all_fit(api):
    volume = api.attached("one")
    found = api("listVolumes", virtualmachineid=api.workstation(), type="DATADISK", name="one")
    assert [v["id"] for v in found["volume"]] == [volume["id"]]
    assert api("listVolumes", ids=f"{volume['id']},", state="Ready")["count"] == 1
    assert api("listVolumes", name="one", type="ROOT") == {}


def test_a_page_of_ten_thousand_volumes_costs_its_own_rows_and_again_none(api, monkeypatch):
    fill(api, 10_000)
    shown, plain = [], envelope.show
    count = lambda *found, **more: shown.append(found) or plain(*found, **more)  # noqa: E731
    monkeypatch.setattr(envelope, "show", count)
    for _ in range(2):
        pages = [api("listVolumes", page=n, pagesize=500)["volume"] for n in (4, 5)]
        assert sum(map(len, pages)) == 1000
        assert 0 < len(shown) <= 1000 + 2 * paging.ASTRAY
