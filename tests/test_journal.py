"""The journal: entries before a change is sent, and their use by later processes."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from harness import volume_params

from lib.errors import CheckFailed
from lib.record import journal
from lib.record.journal import Journal, hold, in_another_process, run_folder

HERE = "http://cloud.example/client/api"


@pytest.fixture
def book(tmp_path):
    return Journal(tmp_path / "run", HERE)


def intend(book, name="v", job="0" * 8) -> journal.Entry:
    return book.intend("createVolume", name, {"name": name}, job)


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def test_an_intent_is_safe_on_the_disk_before_anything_is_sent(book, monkeypatch):
    synced = []

    def sync(number: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{number}"), book.path.read_text()))

    monkeypatch.setattr(os, "fsync", sync)
    intend(book)
    paths, text = [path for path, _ in synced], synced[-1][1]
    assert paths == [str(p) for p in (book.folder, book.folder.parent, book.path)]
    assert json.loads(text)["state"] == "intent"


def test_a_change_is_recorded_from_intent_to_outcome(book):
    entry = intend(book)
    book.accepted(entry, "j1", "r1")
    book.job_ended("j1", "done")
    answer = lines(book.folder)
    assert [t["state"] for t in answer] == ["intent", "accepted", "done"]
    assert {t["n"] for t in answer} == {1} and all(t["at"] for t in answer)
    assert answer[0]["command"] == "createVolume" and answer[0]["customjobid"] == "0" * 8
    assert (answer[1]["job"], answer[1]["resource"]) == ("j1", "r1")


def test_an_outcome_never_changes(book):
    entry = intend(book)
    book.ended(entry, "refused", "no")
    book.ended(entry, "done")
    assert [line["state"] for line in lines(book.folder)] == ["intent", "refused"]


def test_a_later_process_sees_open_changes(book):
    book.ended(intend(book, "a"), "done")
    book.accepted(intend(book, "b"), "j2")
    left = Journal(book.folder, HERE).unfinished()
    assert [(e.n, e.what, e.state, e.job) for e in left] == [(2, "b", "accepted", "j2")]


def test_changes_at_another_cloud_are_not_ours_to_settle(book):
    intend(book)
    assert Journal(book.folder, "http://other").unfinished() == []


def test_two_writers_number_their_entries_apart(book):
    other = Journal(book.folder, HERE)
    assert [intend(b).n for b in (book, other, other, book)] == [1, 2, 3, 4]


def test_a_line_cut_off_by_a_crash_is_passed_over_and_nothing_is_lost_after_it(book):
    intend(book, "a")
    with open(book.path, "a") as file:
        file.write('{"at": "2026-11-23T20:00:00", "n": 2, "state": "int')
    later = Journal(book.folder, HERE)
    intend(later, "c")
    found = Journal(book.folder, HERE).unfinished()
    assert [e.what for e in found] == ["a", "c"]


def test_secrets_are_not_written_down(book):
    secret = {"apikey": "K1", "signature": "S1", "userdata": "U1", "Password": "P1"}
    book.intend("deployVirtualMachine", "m", secret | {"name": "m"}, None)
    text = book.path.read_text()
    assert not any(s in text for s in secret.values()) and '"name": "m"' in text


def test_the_folder_is_the_runs_or_that_of_all_notebooks(monkeypatch, tmp_path):
    monkeypatch.setenv("RUNBOOK_RUN", str(tmp_path))
    assert run_folder() == tmp_path
    monkeypatch.delenv("RUNBOOK_RUN")
    assert run_folder().parts[-2:] == ("runs", "interactive")


HOLD = "from pathlib import Path; import sys, time; from lib.record.journal import hold, Journal\n"
HOLD += "hold(Path(sys.argv[1]), time.sleep); Journal(Path(sys.argv[1]), 'e').intend('c','w',{},'')"
HOLD += "\nprint('held', flush=True); sys.stdin.read()"


@pytest.fixture
def holder(tmp_path):
    """A process that holds a run folder, with a change under way."""
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("first", ["journal", "lock"])
def test_the_folders_of_records_are_for_their_owner_alone_whatever_the_umask(tmp_path, first):
    folder = tmp_path / "runs/interactive"
    before = os.umask(0)
    try:
        if first == "lock":
            journal.hold(folder, sleep=print)
        Journal(folder, "here").intend("createVolume", "disk", {}, None)
    finally:
        os.umask(before)
        os.close(journal._held.pop(folder)) if first == "lock" else None
    modes = [p.stat().st_mode & 0o777 for p in (folder.parent, folder, folder / "journal.jsonl")]
    assert modes == [0o700, 0o700, 0o600]


def test_two_processes_do_not_work_in_one_run(holder, tmp_path):
    with pytest.raises(CheckFailed, match="Another process still works in"):
        hold(tmp_path, sleep=lambda seconds: None)


def test_a_killed_process_releases_the_lock(holder, tmp_path):
    entry = Journal(tmp_path, "e").unfinished()[0]
    assert in_another_process(entry)
    holder.kill()
    hold(tmp_path, sleep=lambda seconds: holder.wait())
    assert not in_another_process(entry)
    os.close(journal._held.pop(tmp_path))


def test_a_later_process_with_the_same_pid_is_another_one(holder, tmp_path):
    entry = Journal(tmp_path, "e").unfinished()[0]
    pid, started = entry.process.split("/")
    assert in_another_process(entry)
    for began in (float(started) - 60, float(started) + 60):
        assert not in_another_process(replace(entry, process=f"{pid}/{began}"))


def test_each_request_is_logged_once_it_is_answered(cloud):
    cloud.call("createVolume", **volume_params(cloud))
    text = (cloud.folder / "api.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    created = lines[-1]
    assert [t["command"] for t in lines[:2]] == ["listDiskOfferings", "listZones"]
    assert (created["command"], created["status"], created["code"]) == ("createVolume", 200, None)
    assert created["params"]["name"] == "v" and created["params"]["customjobid"] == created["job"]
    assert created["ms"] > 0 and created["bytes"] > 50 and created["at"]
    assert cloud.profile.key not in text and "signature" not in text


def test_requests_without_a_good_answer_are_logged_too(cloud):
    cloud.call("configureSimulator", name="listZones", value="fault:drop-before")
    cloud.call("configureSimulator", name="listZones", value="fault:refuse;code:530;text:busy")
    cloud.list("listZones")
    lines = [json.loads(line) for line in (cloud.folder / "api.jsonl").read_text().splitlines()]
    seen = [(t["status"], t["code"]) for t in lines if t["command"] == "listZones"]
    assert seen == [(None, None), (530, 530), (200, None)]
