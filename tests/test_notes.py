"""The notes kept on the workstation."""

import pytest

from lib.cluster import removal
from lib.errors import CheckFailed
from lib.workstation import notes
from lib.workstation.shell import write_text

DAMAGED = ["", "{", "[1]", "null", "\0\0", '{"attach": null}', "[" * 10**4, '{"installing": []}']


def test_a_new_note_leaves_the_others_and_none_takes_one_away(here):
    assert notes.read(here, "w") == {}
    notes.update(here, "w", attach={"volume": "1"})
    assert notes.update(here, "w", device="/dev/vdc") == notes.read(here, "w")
    assert notes.read(here, "w") == {"attach": {"volume": "1"}, "device": "/dev/vdc"}
    assert notes.update(here, "w", attach=None) == {"device": "/dev/vdc"}


@pytest.mark.parametrize("text", DAMAGED)
def test_damaged_notes_are_named_with_a_way_on_and_can_be_cleared(here, tmp_path, text):
    write_text(here, "w/notes.json", text)
    with pytest.raises(
        CheckFailed, match=r"w/notes.json on the workstation is not .* Rename it there"
    ):
        notes.read(here, "w")
    assert notes.find(here, "w") is None
    removal.demand_idle(here, "w")
    removal.clear_notes(here, "w", "", [], "apply")
    assert not (tmp_path / "w").exists()
