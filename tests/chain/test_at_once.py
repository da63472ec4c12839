"""Several commands at once in one folder of runs: what one does meanwhile misleads no other."""

import fcntl
import json
import os
from concurrent.futures import ThreadPoolExecutor, wait
from socket import gethostname

import folders
import pytest

from lib.chain import abandoned, seal, verify
from lib.chain import run as chain
from lib.commands import running
from lib.commands.main import main
from lib.errors import AtWork
from lib.localcloud import background
from lib.record import whole
from lib.record.faults import BadInput
from lib.record.ledger import FILE, Ledger
from lib.report import fleet, index


def begun(runs, name="20260101-000000-web", at="2026-01-01T00:00:00.000+00:00", **more):
    """Make the folder of a run whose driver died after its first line."""
    folder = runs / name
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text("cluster_name: web\n")
    line = {"at": at, "event": "run-started", "pid": 1, "host": "h", "stages": ["10-a"]}
    (folder / FILE).write_text(json.dumps(line | {"notebooks": "/n"} | more) + "\n")
    return folder


def test_a_record_that_another_closed_meanwhile_is_not_closed_again(tmp_path):
    folder = begun(tmp_path)
    assert abandoned.find(tmp_path) == [folder]  # as a second command has just seen it
    abandoned.close(folder)
    before = (folder / FILE).read_bytes(), (tmp_path / seal.LOG).read_bytes()
    assert abandoned.close(folder) is None
    assert ((folder / FILE).read_bytes(), (tmp_path / seal.LOG).read_bytes()) == before


def test_of_two_commands_that_close_a_record_the_second_says_nothing(tmp_path, monkeypatch, capsys):
    folder = begun(tmp_path)
    abandoned.close(folder)
    monkeypatch.setattr(abandoned, "find", lambda runs: [folder])
    running.close_abandoned(tmp_path)
    assert capsys.readouterr().out == ""


def test_a_seal_in_the_making_is_left_to_its_maker(tmp_path):
    folder = begun(tmp_path)
    (folder / seal.PENDING).touch()
    with ThreadPoolExecutor(1) as pool:
        with whole.alone(tmp_path):
            found = pool.submit(abandoned.find, tmp_path)
            assert not wait([found], timeout=0.5).done
        assert found.result() == [folder]


def test_what_a_killed_process_had_begun_to_write_is_removed_and_not_sealed(tmp_path):
    folder = begun(tmp_path)
    parts = [folder / ".asked.json.x1.part", tmp_path / ".runs.json.x2.part", tmp_path / ".a.part"]
    for part in parts:
        part.touch()
    os.utime(parts[1], (0, 0))
    abandoned.sweep(tmp_path)
    abandoned.close(folder)
    assert [part.exists() for part in parts] == [False, False, True]
    assert verify.verify(folder) == []


def test_a_folder_that_is_gone_before_its_turn_is_no_finding(tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "closed", lambda runs: [tmp_path / "20260101-000000-web"])
    assert verify.verify_all(tmp_path) == []


def test_a_run_that_has_just_begun_is_no_finding(tmp_path):
    folder = tmp_path / "20260101-000000-web"
    folder.mkdir()
    (folder / "params.yaml").write_text("")
    with Ledger(folder):
        assert verify.verify_all(tmp_path) == []
        assert verify.running(tmp_path) == [folder]


def test_a_run_sealed_while_seals_are_read_is_no_finding(tmp_path, monkeypatch):
    first, second = begun(tmp_path), begun(tmp_path, "20260101-000001-web")
    seal.seal(first)
    real, tried = verify.read_log, []

    def late(runs):  # the second one is sealed before the log is read, unless that is locked
        if not tried:
            tried.append(_is_held(runs))
            if not tried[0]:
                seal.seal(second)
        return real(runs)

    monkeypatch.setattr(verify, "read_log", late)
    assert [f for _, f in verify._beside(tmp_path)] == []


def _is_held(runs):
    handle = os.open(runs, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def test_of_two_that_begin_a_run_of_one_name_the_second_is_refused(tmp_path):
    folder = tmp_path / "20260101-000000-web"
    folder.mkdir()
    given = {"runs": tmp_path, "tell": print, "name": folder.name}
    with pytest.raises(BadInput, match=r"has no events\.jsonl: move it away"):
        chain.run([], {}, {}, **given)
    with Ledger(folder), pytest.raises(AtWork, match="has just begun"):
        chain.run([], {}, {}, **given)


def test_a_run_that_is_at_work_is_not_resumed(tmp_path, capsys):
    folder = begun(tmp_path, pid=os.getpid(), host=gethostname())
    with Ledger(folder):
        assert main(["resume", str(folder)]) == 8
    assert "still runs. Wait until that has ended" in capsys.readouterr().err


def test_a_run_that_is_refused_leaves_no_folder(tmp_path, monkeypatch):
    def refused(*_):
        raise AtWork("another is at work")

    monkeypatch.setattr(chain, "_performed", refused)
    with pytest.raises(AtWork):
        chain.run([], {}, {}, runs=tmp_path, tell=print)
    assert list(tmp_path.iterdir()) == []


def test_a_list_needs_no_room(tmp_path, monkeypatch):
    folders.run(tmp_path, "20260304-050607-web", folders.stage("10-make", 0, 4))
    real, tried = whole.write, []

    def full(path, *words, **more):
        if path.name == index.KEPT:
            tried.append(path)
            raise OSError(28, "No space left on device")
        return real(path, *words, **more)

    monkeypatch.setattr(whole, "write", full)
    assert len(index.lines(tmp_path)) == 1 and tried


def test_the_newest_run_of_a_cluster_is_the_one_begun_last(tmp_path):
    runs, files = tmp_path / "runs", tmp_path / "fleet"
    files.mkdir()
    (files / "web.yaml").write_text("cluster_name: web\n")
    begun(runs, "20260101-090000-web", "2026-01-01T00:00:00.000+00:00")  # by hand, in Tokyo
    last = begun(runs, "20260101-003000-web", "2026-01-01T00:30:00.000+00:00")  # of Airflow
    [found] = fleet.clusters(files, runs)
    assert found.run.folder == last


def test_a_cloud_that_another_looks_at_does_not_run_by_that(tmp_path):
    (tmp_path / "serving").touch()
    with open(tmp_path / "serving", "a") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not background.is_locked(tmp_path / "serving")
