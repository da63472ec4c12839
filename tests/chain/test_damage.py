"""Damage to one run, or to the local cloud, is reported and stops no other run."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from lib.__main__ import main
from lib.chain import abandoned
from lib.chain.run import SCRATCH
from lib.localcloud import background
from lib.localcloud.wire.server import Server
from lib.record import journal, ledger

OLD = "20250102-030405-old"
BEGAN = {"event": "run-started", "at": "2025-01-02T03:04:05+00:00", "stages": ["10-one"]}
LEDGERS = {
    "without its first line": json.dumps({"event": "wait", "stage": "10-one"}) + "\n",
    "without events": '{"a": 1}\n',
    "of null": "null\n[]\n",
    "of zeros": "\0" * 100,
    "of bytes": "\udcff\udcfe\n",
    "deep": "[" * 10_000 + "\n",
    "pid out of range": json.dumps(BEGAN | {"pid": 10**30, "host": os.uname().nodename}) + "\n",
    "pid as a text": json.dumps(BEGAN | {"pid": "x", "host": os.uname().nodename}) + "\n",
    "attempt as a text": json.dumps(BEGAN)
    + "\n"
    + json.dumps({"event": "stage-started", "stage": "10-one", "attempt": "x"})
    + "\n",
}


@pytest.fixture
def run_beside(book, notebooks, tmp_path):
    """Run a notebook in the folder of runs of the test, and return the exit code."""
    book(notebooks / "10-one.ipynb", "1")
    (tmp_path / "runs" / OLD).mkdir(parents=True)
    (tmp_path / "runs" / OLD / "params.yaml").write_text("a: b\n")
    at = ["--notebooks", str(notebooks), "--runs", str(tmp_path / "runs")]
    return lambda: main(["run", *at])


@pytest.mark.parametrize("kind", LEDGERS)
def test_a_damaged_ledger_of_another_run_stops_none(run_beside, tmp_path, kind):
    text = LEDGERS[kind].encode("utf-8", "surrogateescape")
    (tmp_path / "runs" / OLD / ledger.FILE).write_bytes(text)
    assert run_beside() == 0
    assert main(["list", "--runs", str(tmp_path / "runs")]) == 0


@pytest.mark.parametrize("name", [ledger.FILE, "journal.jsonl", "run.json", "params.yaml"])
def test_a_folder_in_place_of_a_file_of_another_run_stops_none(run_beside, tmp_path, name):
    path = tmp_path / "runs" / OLD / name
    path.unlink(missing_ok=True)
    path.mkdir()
    assert run_beside() == 0


def test_a_run_that_never_began_is_removed_by_the_next_command(run_beside, tmp_path):
    remains = tmp_path / "runs" / "20250102-030405-dead"
    remains.mkdir()
    (remains / ledger.FILE).touch()
    (remains / "params.yaml").touch()
    other = tmp_path / "runs" / "20250102-030405-mine"
    other.mkdir()
    (other / "notes.txt").touch()
    assert run_beside() == 0
    assert not remains.exists() and other.exists()
    assert main(["verify", remains.name, "--runs", str(tmp_path / "runs")]) == 2


def test_a_run_that_another_driver_begins_stays(tmp_path):
    folder = tmp_path / "20250102-030405-new"
    folder.mkdir()
    with ledger.Ledger(folder):
        abandoned.sweep(tmp_path)
        assert folder.exists()
    abandoned.sweep(tmp_path)
    assert not folder.exists()


def test_keys_do_not_outlive_their_driver(tmp_path):
    dead = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}999999999-"))
    mine = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getpid()}-"))
    abandoned.sweep(tmp_path)
    assert not dead.exists() and mine.exists()
    mine.rmdir()


@pytest.mark.parametrize("line", [b"null", b"[]", b"1", b"{}", b'{"n": 7, "state": "done"}', b"\0"])
def test_a_line_of_a_journal_without_a_change_is_ignored(tmp_path, line):
    book = journal.Journal(tmp_path, "here")
    book.intend("createVolume", "disk", {}, None)
    with open(book.path, "ab") as file:
        file.write(line + b"\n")
    again = journal.Journal(tmp_path, "here")
    again.intend("createVolume", "other", {}, None)
    assert [entry["what"] for entry in again.every()] == ["disk", "other"]


@pytest.mark.parametrize("damage", ["", "[]", "null", "{}", "\0\0", '{"pid": "x"}', "[" * 10_000])
def test_a_damaged_server_file_is_reported_and_nothing_is_deleted(tmp_path, damage):
    (tmp_path / "server.json").write_text(damage)
    assert background.read(tmp_path) is None
    assert background.port_of_last_run(tmp_path) == 0
    with Server(tmp_path, time_scale=0), background.locked(tmp_path / "serving"):
        (tmp_path / "serving").write_text("no number")
        with pytest.raises(background.Trouble, match="end it by hand"):
            background.reset(tmp_path)
        assert (tmp_path / "state.sqlite").exists()
