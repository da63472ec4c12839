"""Damage to one run, or to the local cloud, is reported and stops no other run."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from heavy.parts.records import CELL, PARAMETERS

from lib import earlier, errors, jobs
from lib.chain import abandoned
from lib.chain.run import SCRATCH
from lib.commands.main import main
from lib.localcloud import background
from lib.localcloud.wire.server import Server
from lib.record import journal, ledger

OLD = "20250102-030405-old"
BEGAN = {"event": "run-started", "at": "2025-01-02T03:04:05+00:00", "stages": ["10-one"]}
HERE = BEGAN | {"host": os.uname().nodename}
ATTEMPT = {"event": "stage-started", "stage": "10-one", "attempt": "x"}
LEDGERS = [
    f'{json.dumps(BEGAN)}\n{{"event": "run-ended"}}\n',
    json.dumps({"event": "wait", "stage": "10-one"}) + "\n",
    '{"a": 1}\n',
    "[" * 10_000 + "\n",
    json.dumps(HERE | {"pid": 10**30}) + "\n",
    json.dumps(HERE | {"pid": "x"}) + "\n",
    f"{json.dumps(BEGAN)}\n{json.dumps(ATTEMPT)}\n",
]


@pytest.fixture
def run_beside(book, notebooks, at, tmp_path):
    """Run a notebook in the folder of runs of the test, and return the exit code."""
    book(notebooks / "10-one.ipynb", "1")
    (tmp_path / "runs" / OLD).mkdir(parents=True)
    (tmp_path / "runs" / OLD / "params.yaml").write_text("a: b\n")
    return lambda: main(["run", *at])


def test_a_damaged_ledger_of_another_run_stops_none(run_beside, tmp_path):
    for number, text in enumerate(LEDGERS):
        folder = tmp_path / "runs" / f"{OLD}{number}"
        folder.mkdir()
        (folder / "params.yaml").write_text("a: b\n")
        (folder / ledger.FILE).write_text(text)
    assert run_beside() == 0
    assert main(["list", "--runs", str(tmp_path / "runs")]) == 0
    assert main(["verify", "--runs", str(tmp_path / "runs")]) == 6
    for folder in (tmp_path / "runs").glob(f"{OLD}?"):
        assert main(["resume", folder.name, "--runs", str(tmp_path / "runs")]) == 2, folder


DAMAGES = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "null": lambda data: b"null",
    "list": lambda data: b"[]\n",
    "zeros": lambda data: bytes(len(data)),
    "bytes": lambda data: b"\xff\xfe\x80" + data[:-5],
    "folder": None,
}
RECORD = ["events.jsonl", "journal.jsonl", "api.jsonl", "facts.jsonl", "history.json", "run.json"]
RECORD += ["params.yaml", "10-one.ipynb", "report.html", "MANIFEST.sha256"]
BESIDE = ["../seals.log", "../index.html"]
ALL = RECORD + BESIDE


def damage(path: Path, kind: str) -> None:
    """Damage a file in one of the ways in which a crash, a full disk or a person leaves it."""
    edit = DAMAGES.get(kind)
    data = path.read_bytes()
    path.unlink()
    if edit:
        path.write_bytes(edit(data))
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
        (path / "kept").write_bytes(data)


@pytest.fixture(scope="module")
def built(book, tmp_path_factory) -> Path:
    """Return a folder with notebooks, and with runs of which one failed and one ended well."""
    base = tmp_path_factory.mktemp("built")
    book(base / "n" / "10-one.ipynb", CELL, "1 / (size - 3)", parameters=PARAMETERS)
    at = ["--notebooks", str(base / "n"), "--runs", str(base / "runs")]
    assert main(["run", *at]) == 1
    assert main(["run", "-p", "size=4", *at]) == 0
    return base


@pytest.fixture
def copied(built, tmp_path) -> tuple[Path, Path]:
    """Return copies of the failed run and of the one that ended well."""
    shutil.copytree(built / "runs", tmp_path / "runs")
    failed, well = sorted(p for p in (tmp_path / "runs").iterdir() if p.is_dir())
    return failed, well


ODD = {
    "events.jsonl": {"at": "2025-01-02T03:04:05", "stages": 5, "seconds": {}, "steps": "x"},
    "api.jsonl": {"at": [], "ms": {"a": 5}, "status": "x", "command": 5, "params": "x"},
    "journal.jsonl": {"at": 5, "params": [], "state": {}, "command": None},
    "run.json": dict.fromkeys(["command", "code", "packages", "lib", "earlier", "observed"], "x"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_field_of_another_type_ends_no_command_that_reads_a_run(name, copied, tmp_path, capsys):
    runs = str(copied[0].parent)
    for folder in copied:
        text = (folder / name).read_text()
        rows = [json.loads(text)] if name == "run.json" else map(json.loads, text.splitlines())
        (folder / name).write_text("".join(json.dumps(row | ODD[name]) + "\n" for row in rows))
        to = str(tmp_path / f"{folder.name}.html")
        assert main(["report", folder.name, "--runs", runs, "--to", to]) == 0
    assert main(["list", "--runs", runs]) == 0
    capsys.readouterr()
    assert main(["diff", *(f.name for f in copied), "--runs", runs]) in (0, 1)
    assert f"could not be read: {name}" in capsys.readouterr().out


# Each file is damaged in three of the seven ways, each way comes on files of every sort.
PAIRS = [(n, [*DAMAGES][(i + j) % 7]) for i, n in enumerate(ALL) for j in (0, 1, 3)]
SOME = ("cut", "bytes", "folder")  # for tests that run stages


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_a_damaged_file_ends_no_command_that_reads_a_run(copied, tmp_path, capsys, name, kind):
    failed, well = copied
    damage(failed / name, kind)
    at, beside = ["--runs", str(failed.parent)], name == "../index.html" and kind != "folder"
    assert main(["list", *at]) == 0
    assert main(["diff", failed.name, well.name, *at]) == 0
    assert main(["report", failed.name, "--to", str(tmp_path / "draft.html"), *at]) == 0
    capsys.readouterr()
    assert main(["verify", *at]) == (0 if beside else 6)
    text = capsys.readouterr().out
    assert Path(name).name in text or beside
    assert text == errors.plain(text)


def test_verify_prints_a_damaged_name_in_the_log_of_seals_without_its_control_characters(
    copied, capsys
):
    log = copied[0].parent / "seals.log"
    log.write_bytes(log.read_bytes()[:-7] + bytes(7))
    assert main(["verify", "--runs", str(log.parent)]) == 6
    text = capsys.readouterr().out
    assert text == errors.plain(text) and "removed: seals.log has its seal" in text


@pytest.mark.parametrize("kind", SOME)
def test_a_damaged_run_is_resumed_without_what_cannot_be_read(copied, capsys, kind):
    failed, _ = copied
    for name in ALL:
        if name not in ("events.jsonl", "params.yaml"):
            damage(failed / name, kind)
    ended = main(["resume", failed.name, "--runs", str(failed.parent)])
    output = capsys.readouterr()
    assert "without what cannot be read: " in output.out
    if kind == "folder":  # a stage says what is in the way, and goes on without it
        assert ended == 1 and "journal.jsonl is in the way" in output.out
        for name in ("journal.jsonl", "facts.jsonl", "api.jsonl"):
            shutil.rmtree(failed / name)
        ended = main(["resume", failed.name, "--runs", str(failed.parent)])
        output = capsys.readouterr()
    assert ended == 1 and "ZeroDivisionError" in output.out


@pytest.mark.parametrize("kind", [*DAMAGES, "pipe"])
@pytest.mark.parametrize("name", ["events.jsonl", "params.yaml"])
def test_a_run_that_lost_what_a_resume_needs_says_how_to_go_on(copied, capsys, name, kind):
    failed, _ = copied
    damage(failed / name, kind)
    ended = main(["resume", failed.name, "--runs", str(failed.parent)])
    output = capsys.readouterr()
    assert ended == 2 or (name == "events.jsonl" and kind in ("cut", "bytes"))
    assert ended == 1 or (name in output.err and "it does only what is left" in output.err)


@pytest.mark.parametrize("kind", SOME)
def test_damage_beside_a_run_stops_it_in_no_stage(built, copied, capsys, kind):
    failed, _ = copied
    for name in ALL:
        damage(failed / name, kind)
    at = ["--notebooks", str(built / "n"), "--runs", str(failed.parent)]
    assert main(["run", "-p", "size=4", *at]) == 0


def expected(folder: Path) -> float:
    """Return how many seconds a step should take that is estimated at seven."""
    cloud = SimpleNamespace(folder=folder, profile=SimpleNamespace(time_scale=1))
    return jobs.known(cloud, jobs.Job("1", "createVolume", expect=7))


@pytest.mark.parametrize("kind", DAMAGES)
def test_stages_read_the_damaged_files_of_runs(copied, kind):
    failed, well = copied
    for name in ("journal.jsonl", "history.json"):
        damage(failed / name, kind)
    assert [e.what for _, e in earlier.left_open(well, "here")] in ([], ["disk"])
    assert expected(failed) == 7
    assert [e.what for e in journal.Journal(failed, "here").every()] in ([], ["disk"])


@pytest.mark.parametrize("figures", ["5", '{"seconds": []}', "[" * 10**4])
def test_figures_that_are_none_are_not_expected(tmp_path, figures):
    (tmp_path / "history.json").write_text(f'{{"createVolume": {figures}}}')
    assert expected(tmp_path) == 7


def test_a_run_that_never_began_is_removed_by_the_next_command(run_beside, tmp_path):
    remains = tmp_path / "runs" / "20250102-030405-dead"
    remains.mkdir()
    (remains / ledger.FILE).touch()
    (remains / "params.yaml").touch()
    other = tmp_path / "runs" / "20250102-030405-mine"
    other.mkdir()
    (other / "notes.txt").touch()
    with ledger.Ledger(remains):  # another driver begins it
        abandoned.sweep(tmp_path / "runs")
    assert remains.exists()
    assert run_beside() == 0
    assert not remains.exists() and other.exists()
    assert main(["verify", remains.name, "--runs", str(tmp_path / "runs")]) == 2


def test_keys_do_not_outlive_their_driver(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folders = {}
    drivers = {"dead": "999999999-", "mine": f"{os.getpid()}-"}
    for kind in ("dead", "mine", "unnamed", "new", "in use", "other"):
        folders[kind] = Path(tempfile.mkdtemp(prefix=SCRATCH + drivers.get(kind, "")))
        name = "notes.txt" if kind == "other" else "1.json"
        (folders[kind] / name).write_text("{}")
        if kind in ("unnamed", "in use", "other"):
            os.utime(folders[kind], (1, 1))
    monkeypatch.setattr(abandoned.ledger, "LINGERING", 3600)
    kernel = subprocess.Popen(["sh", "-c", "sleep 60; :", "x", f"{folders['in use']}/1.json"])
    abandoned.sweep(tmp_path / "runs")
    kernel.kill()
    kernel.wait()
    left = {kind for kind, folder in folders.items() if folder.exists()}
    assert left == {"mine", "new", "in use", "other"}


def test_a_line_of_a_journal_without_a_change_is_ignored(tmp_path):
    book = journal.Journal(tmp_path, "here")
    book.intend("createVolume", "disk", {}, None)
    with open(book.path, "ab") as file:
        file.write(b'1\n{}\n{"n": 7, "state": "done"}\n')
    again = journal.Journal(tmp_path, "here")
    again.intend("createVolume", "other", {}, None)
    assert [entry.what for entry in again.every()] == ["disk", "other"]


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
