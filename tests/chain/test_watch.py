"""Watching a run from outside."""

import os
from datetime import UTC, datetime

import folders
import psutil
import pytest

from lib.chain import watch
from lib.record import ledger
from lib.record.faults import BadInput

PARENT = f"{os.getppid()}/{psutil.Process(os.getppid()).create_time():.2f}"


def now() -> str:
    return datetime.now(UTC).isoformat()


def intent(n: int, command: str, process: str = PARENT) -> dict:
    whose = {"n": n, "command": command, "what": "disk", "expect": 570, "process": process}
    return {"at": now(), "state": "intent"} | whose


def test_what_a_notebook_does_by_hand_is_followed_to_its_end(tmp_path, capsys):
    folder = tmp_path / watch.INTERACTIVE
    folder.mkdir()
    lines = [*folders.journal(0), intent(2, "createSnapshot"), intent(3, "createTags", "1/1.0")]
    looks = iter(
        [
            [{"at": now(), "n": 2, "state": "accepted", "job": "j"}],
            [intent(4, "createVolume"), {"at": now(), "n": 4, "state": "refused", "text": "no"}],
            [{"at": now(), "n": 2, "state": "done"}],
        ]
    )

    def step(_: float = 0) -> None:
        lines.extend(next(looks))
        folders.write_lines(folder / "journal.jsonl", lines)

    step()
    assert watch.chosen(None, tmp_path) == folder
    watch.follow(folder, step)
    output = capsys.readouterr().out.splitlines()
    assert output[0] == f"Watching {folder}"
    answer = " ".join(line.partition(" disk")[0] for line in output[1:])
    assert answer == "… createSnapshot … createTags ✗ createVolume ✓ createSnapshot createTags"
    assert output[3].startswith("✗ createVolume disk: refused after 0.0 s no")
    assert output[5].endswith("nobody watches it any more. Run its stage again.")
    assert watch.chosen(None, tmp_path) is None


def test_a_run_is_followed_until_its_driver_ends(tmp_path, capsys, monkeypatch):
    folder = folders.good(tmp_path)
    locked = iter([True, True, False])
    monkeypatch.setattr(ledger, "is_locked", lambda path, *_: path == folder and next(locked))
    assert watch.chosen(None, tmp_path) == folder
    watch.follow(folder, lambda _: None)
    assert capsys.readouterr().out.splitlines() == [f"Watching {folder}", "The run has ended: ok."]
    with pytest.raises(BadInput, match="there is no such run"):
        watch.chosen("nowhere", tmp_path)
