import pytest

from lib.chain import stages
from lib.record.faults import BadInput


@pytest.fixture
def found(book, notebooks):
    for name in ("90-remove", "00-check", "10-create", "11-attach", "42-tpl", "69-last", "70-re"):
        book(notebooks / f"{name}.ipynb")
    book(notebooks / "explore.ipynb")
    return stages.find(notebooks)


def numbers(chosen):
    return [stage.number for stage in chosen]


def test_stages_are_the_numbered_notebooks_in_order(found, notebooks):
    assert numbers(found) == [0, 10, 11, 42, 69, 70, 90]
    assert found[0] == stages.Stage(0, "00-check", notebooks / "00-check.ipynb")


def test_without_a_list_all_below_70_are_chosen(found):
    assert numbers(stages.choose(found)) == [0, 10, 11, 42, 69]


@pytest.mark.parametrize(
    "wanted, expected",
    [
        ("10", [10]),
        ("10-42", [10, 11, 42]),
        ("0-9", [0]),
        ("90", [90]),
        ("60-90", [69, 70, 90]),
        ("42, 10", [10, 42]),
        ("10,11,40-70", [10, 11, 42, 69, 70]),
        ("11-attach", [11]),
        ("10-11,10", [10, 11]),
    ],
)
def test_a_list_chooses_stages_in_their_order(found, wanted, expected):
    assert numbers(stages.choose(found, wanted)) == expected


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("15", "15 is no stage"),
        ("43-60", "there is no stage from 43 to 60"),
        ("42-10", "42-10 goes backwards: write 10-42"),
        ("x", "x is no stage"),
        ("10,", "an empty part is no stage"),
        ("100", "100 is no stage"),
        ("explore", "explore is no stage"),
        ("15,10,16", "15 is no stage"),
    ],
)
def test_a_part_that_fits_no_stage_is_refused(found, wanted, why):
    with pytest.raises(BadInput) as caught:
        stages.choose(found, wanted)
    assert f": {why}; there are 00, 10, 11, 42, 69, 70, 90" in caught.value.faults[0]
    assert len(caught.value.faults) == 1 + ("16" in wanted)
