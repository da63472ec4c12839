"""The notes kept on the workstation."""

import pytest

from lib.errors import CheckFailed
from lib.workstation import notes
from lib.workstation.shell import write_text


def test_there_are_no_notes_at_first(here):
    assert notes.read(here, "w") == {}


def test_a_new_note_leaves_the_others(here):
    notes.update(here, "w", attach={"volume": "1"})
    assert notes.update(here, "w", device="/dev/vdc") == notes.read(here, "w")
    assert notes.read(here, "w") == {"attach": {"volume": "1"}, "device": "/dev/vdc"}


def test_none_takes_a_note_away(here):
    notes.update(here, "w", a=1, b=2)
    assert notes.update(here, "w", a=None) == {"b": 2}


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\0\0", '{"attach": null}', "[" * 10**4])
def test_damaged_notes_are_named_with_a_way_on_and_can_be_cleared(here, tmp_path, text):
    write_text(here, "w/notes.json", text)
    with pytest.raises(
        CheckFailed, match=r"w/notes.json on the workstation is not .* Rename it there"
    ):
        notes.read(here, "w")
    assert notes.find(here, "w") is None
    notes.clear_user_data(here, "w")
    assert notes.read(here, "w") == {}
