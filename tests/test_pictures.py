"""Pictures in notebooks: the disks before and after, and the turns of a rolling change."""

import re

import pytest

from lib.cluster import turns
from lib.install import picture
from lib.tables import table

DISKS = "path volume size type fstype partlabel uses"
GB = 2**30


def disks(*rows):
    names = DISKS.split()
    return table([dict(zip(names, row, strict=True)) for row in rows], DISKS)


SYSTEM = ("/dev/vda", "", 80 * GB, "disk", "", "", "")
ROOT = ("/dev/vda1", "", 79 * GB, "part", "ext4", "", "/")
OURS = ("/dev/vdc", "web_disk", 40 * GB, "disk", "", "", "")
PARTS = [(f"/dev/vdc{n}", "", GB, "part", "ext4", f"<P{n}>", "") for n in (1, 9)]


def test_each_disk_is_shown_as_it_was_and_is_with_its_new_parts_in_another_colour():
    shown = picture.compared(disks(SYSTEM, ROOT), disks(SYSTEM, ROOT, OURS, *PARTS))
    assert shown.text.splitlines() == [
        "/dev/vdc web_disk 40 GB: not there → 2 parts",
    ]
    assert shown.html.count(picture.NEW) == 2 and shown.html.count(picture.OLD) == 2
    assert "/dev/vdc9, &lt;P9&gt;, ext4, 1 GB" in shown.html and "<P9>" not in shown.html


def test_a_disk_that_is_gone_and_small_or_overlong_parts_stay_within_the_picture():
    many = [(f"/dev/vdc{n}", "", GB, "part", "", "", "") for n in range(60)]
    shown = picture.compared(disks(OURS, *many), disks())
    assert shown.text == "/dev/vdc web_disk 40 GB: 60 parts → not there"
    ends = re.findall(r'x="([\d.]+)" y="0" width="([\d.]+)"', shown.html)
    assert max(float(x) + float(width) for x, width in ends) <= picture.WIDTH + 1
    assert picture.compared(disks(), disks()).text == "no disk has changed"


def test_a_turn_has_its_phases_and_ends_in_red_where_it_fails():
    times, found = iter([0, 1, 4, 9, 10, 12]), []
    with turns.turn(found, "web-1", times.__next__) as reached:
        for phase in ("quorum", "given", "back"):
            reached(phase)
    with pytest.raises(KeyError), turns.turn(found, "web-2", times.__next__):
        raise KeyError
    shown = turns.picture(found)
    assert shown.text.splitlines() == [
        "web-1: waits for the quorum 1.0 s, gets its text and reboots 3.0 s, "
        "comes back into the cluster 5.0 s",
        "web-2: fails 2.0 s",
    ]
    bars = re.findall(r'x="([\d.]+)" y="0" width="([\d.]+)"[^>]*fill="([^"]+)"', shown.html)
    assert bars[-1] == ("350", "70", "#d9363e") and "12.0 s in all" in shown.html
    assert turns.picture([]).text == "no machine had its turn"
