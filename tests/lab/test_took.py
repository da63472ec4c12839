"""How long jobs took in the runs of a profile."""

import folders
from harness import running

from lib.lab import took


def test_a_bar_for_each_run_of_the_profile(tmp_path):
    with running(tmp_path / "cloud") as cloud:
        assert took.picture(cloud).text == took.NONE
        runs = cloud.folder.parent
        for day, (seconds, profile) in enumerate(
            [(4, "local"), (99, "prod"), (6, "local"), (2, "local")]
        ):
            folder = folders.run(runs, f"2026030{day + 1}-050607-web", [], profile=profile)
            folders.write_lines(folder / "journal.jsonl", folders.journal(0, seconds))
        shown = took.picture(cloud)
    assert shown.text == f"createVolume{'':12} ▆█▃{'':9}  2.0 s, before that 5.0 s in 2 runs"
    assert shown.html.count("<rect") == 3 and 'height="8" fill="#2e7bd6"' in shown.html
