import io
import json
import os
from concurrent.futures import ThreadPoolExecutor, wait

import folders
import pytest
from folders import at, stage
from registries import until
from rich.console import Console

from lib.chain import abandoned, seal
from lib.commands.main import main
from lib.record import jsonl, ledger, whole
from lib.record.faults import BadInput
from lib.report import console, index, past, report


@pytest.fixture
def runs(tmp_path):
    """Three runs: one that ended well, one that failed, and one whose driver is gone."""
    report.write(folders.good(tmp_path, "20260304-050607-web"))
    events = stage("10-make", 0, 4) + stage("50-deploy", 4, 3, "failed", error="no")
    folders.run(tmp_path, "20260305-050607-web", events, ended="failed", cluster_name="db")
    folders.run(tmp_path, "20260306-050607-web", stage("10-make", 0, 200)[:1], ended="")
    (tmp_path / "interactive").mkdir()
    return tmp_path


def test_the_page_lists_the_runs_newest_first_with_links_to_the_reports_there_are(runs, reads_as):
    reads_as("index", lambda: index.write(runs).read_text("utf-8"))


def test_runs_that_end_at_once_write_the_page_one_after_the_other_and_all_stand_in_it(runs):
    with ThreadPoolExecutor(8) as pool:
        with whole.alone(runs):
            writers = [pool.submit(index.write, runs) for _ in range(40)]
            assert not wait(writers, timeout=0.5).done
            folders.run(runs, "20260307-050607-late", stage("10-make", 0, 4))
        assert {writer.result() for writer in writers} == {runs / index.FILE}
    assert "20260307-050607-late" in (runs / index.FILE).read_text("utf-8")


def test_a_file_that_many_write_at_once_is_one_of_theirs_and_nothing_else_is_left(tmp_path):
    texts = [str(n) * 100_000 for n in range(10)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: whole.write(tmp_path / "a", text, lasting=False), texts * 10))
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() in texts and (tmp_path / "a").stat().st_mode & 0o77 == 0


def test_a_run_without_its_driver_is_listed_as_abandoned(runs, capsys):
    assert main(["list", "--runs", str(runs)]) == 0
    output = capsys.readouterr().out
    assert "✗ abandoned" in output
    assert "The run 20260306-050607-web was abandoned" in output


def test_a_run_that_was_resumed_and_ended_is_not_abandoned(tmp_path):
    events = stage("10-make", 0, 4, "failed", error="no")
    events += [{"at": at(5), "event": "run-resumed", "pid": 1}, *stage("10-make", 5, 1, attempt=2)]
    folders.run(tmp_path, "20260304-050607-web", events)
    assert [line.outcome for line in index.lines(tmp_path)] == ["ok"]


def test_names_of_others_do_not_become_markup(tmp_path):
    name = '20260304-050607-"><b>x'
    folders.run(tmp_path, name, stage("10-make", 0, 4), cluster_name="<b>x</b>")
    assert "<b>" not in index.write(tmp_path).read_text("utf-8")


def test_an_empty_folder_has_no_runs(tmp_path, capsys):
    assert main(["list", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"There are no runs in {tmp_path}.\n"


def test_a_run_is_found_by_its_folder_or_its_name(runs):
    name = "20260304-050607-web"
    assert past.named(name, runs) == past.named(str(runs / name), runs / "no")
    with pytest.raises(BadInput, match=f"did you mean {name}"):
        past.named("20260304-050607-wed", runs)


def test_a_report_can_be_written_for_a_run_that_has_none(runs, capsys):
    assert main(["report", "20260306-050607-web", "--runs", str(runs)]) == 0
    assert capsys.readouterr().out.strip() == str(runs / "20260306-050607-web/report.html")


def test_the_list_is_filtered_and_printed_for_programs(runs, capsys):
    def listed(*words):
        assert main(["list", "--json", *words, "--runs", str(runs)]) == 0
        return [row["run"][:8] for row in json.loads(capsys.readouterr().out)]

    assert listed() == ["20260306", "20260305", "20260304"]
    assert listed("--failed") == ["20260306", "20260305"]
    assert listed("--cluster", "db") == ["20260305"]
    assert listed("-n", "1", "--cluster", "web") == ["20260306"]
    assert listed("--mode", "plan") == [] and len(listed("--mode", "apply", "--real")) == 3
    assert main(["list", "--cluster", "no", "--runs", str(runs)]) == 0
    assert capsys.readouterr().out == f"There are no such runs in {runs}.\n"


def test_the_list_says_why_a_run_was_made_and_whether_it_was_a_rehearsal(tmp_path):
    for name, profile in (
        ("20260304-050607-a", "local?time_scale=0"),
        ("20260305-050607-b", "idcf"),
    ):
        folder = folders.run(tmp_path, name, stage("10-make", 0, 4), profile=profile, mode="plan")
        (folder / "run.json").write_text(json.dumps({"reason": f"ticket {name[-1]}"}))
    seen = [
        (ln.words["cloud"], ln.words["mode"], ln.words["reason"]) for ln in index.lines(tmp_path)
    ]
    assert seen == [("idcf", "plan", "ticket b"), ("rehearsal", "plan", "ticket a")]
    real = index.Choice(real=True).of(index.lines(tmp_path))
    assert [line.folder.name for line in real] == ["20260305-050607-b"]


@pytest.mark.parametrize(
    ("width", "head"),
    [(40, "outcome run"), (60, "outcome run mode cloud"), (200, " ".join(index.HEAD))],
)
def test_a_terminal_shows_the_columns_that_fit_and_folds_no_name(runs, monkeypatch, width, head):
    console = Console(width=width, file=io.StringIO())
    monkeypatch.setattr("lib.report.console.console", lambda: console)
    assert main(["list", "--runs", str(runs)]) == 0
    lines = console.file.getvalue().splitlines()
    assert " ".join(lines[1].replace("┃", " ").split()) == head
    for name in ("20260304-050607-web", "20260305-050607-web"):
        assert any(name in line for line in lines)


def test_latest_stands_for_the_newest_run(runs, capsys):
    assert past.named("latest", runs).name == "20260306-050607-web"
    assert main(["verify", "latest", "--runs", str(runs)]) == 6
    assert "✗ 20260306-050607-web: not sealed" in capsys.readouterr().out


def test_the_report_of_a_run_is_opened_or_missed(runs, capfd, monkeypatch, tmp_path):
    browser, page = tmp_path / "xdg-open", f"{runs}/20260304-050607-web/report.html"
    browser.write_text('#!/bin/sh\necho "noise $1" >&2; echo "$1" > "$0.a"; mv "$0.a" "$0.read"\n')
    browser.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    command = ["open", "20260304-050607-web", "--runs", str(runs)]
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert main(command) == 0
    assert capfd.readouterr().out.startswith(f"{page}\nNo browser can be opened from here")
    monkeypatch.setenv("DISPLAY", ":0")
    assert main(command) == 0
    asked = tmp_path / "xdg-open.read"
    until(asked.exists, "the browser")
    assert asked.read_text() == f"{page}\n"
    assert capfd.readouterr() == (f"{page}\n", "")
    assert main(["open", "latest", "--runs", str(runs)]) == 2
    assert f"`runbook report {runs}/20260306-050607-web`" in capfd.readouterr().err


@pytest.fixture
def many(tmp_path):
    """Runs that are over and sealed, one that is not sealed, and one whose driver is gone."""
    for n in range(5):
        seal.seal(folders.run(tmp_path, f"2026030{n}-050607-web", stage("10-make", 0, 4)))
    folders.run(tmp_path, "20260305-050607-web", stage("10-make", 0, 4))
    folders.run(tmp_path, "20260306-050607-web", stage("10-make", 0, 200)[:1], ended="")
    return tmp_path


def opened(monkeypatch) -> list[str]:
    """Return the names of the runs whose ledgers are read from now on, as they are."""
    names, plain = [], jsonl.read
    reads = lambda path: names.append(path.parent.name) or plain(path)  # noqa: E731
    monkeypatch.setattr(jsonl, "read", reads)
    return names


def test_a_run_that_is_over_is_read_once_and_again_when_its_ledger_changes(many, monkeypatch):
    first = index.lines(many)
    read = opened(monkeypatch)
    assert index.lines(many) == first
    assert set(read) == {"20260306-050607-web"}, "only the open one"
    assert [p.name for p in abandoned.find(many)] == ["20260305-050607-web", "20260306-050607-web"]
    assert "20260304-050607-web" not in read
    changed = many / "20260302-050607-web" / ledger.FILE
    changed.write_text(changed.read_text() + json.dumps({"at": at(99), "event": "run-resumed"}))
    read.clear()
    assert index.lines(many)[4].outcome == "abandoned" and "20260302-050607-web" in read
    assert "20260302-050607-web" in [p.name for p in abandoned.find(many)]


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"head": 1}', "cut", "words", "state", "outcome"]
)
def test_a_damaged_index_is_rebuilt(many, damage):
    first, file = index.lines(many), many / index.KEPT
    held = json.loads(file.read_text())
    row = held["runs"]["20260302-050607-web"]
    match damage:
        case "cut":
            file.write_bytes(file.read_bytes()[:-40])
        case "words":
            row["words"] = row["words"][1:]
        case "state":
            row["of"] = [[1, 2]]
        case "outcome":
            row["outcome"] = None
        case _:
            file.write_text(damage)
    if damage in ("words", "state", "outcome"):
        file.write_text(json.dumps(held))
    assert index.lines(many) == first
    assert len(abandoned.find(many)) == 2
    assert json.loads(file.read_text())["runs"].keys() == held["runs"].keys()


def test_a_terminal_and_the_page_show_the_newest_of_many(many, capsys, monkeypatch):
    monkeypatch.setattr(index, "LISTED", 3)
    monkeypatch.setattr(index, "NEWEST", 4)
    assert main(["list", "--runs", str(many)]) == 0
    assert "4 older ones are not shown: `-n 7` shows all." in capsys.readouterr().out
    assert "3 older runs are not on this page" in index.write(many).read_text()
    assert main(["list", "-n", "7", "--runs", str(many)]) == 0
    output = capsys.readouterr().out
    assert "older ones" not in output and "│" not in output
    assert output.count("-050607-web  web ") == 7


def test_a_long_table_is_aligned_by_the_cells_of_a_terminal():
    rows = [["東京", "5", "x"], ["a", "100", ""], ["abcdef", "20", "yz"]]
    names = ("cluster", "took", "reason")
    lines = console.long_grid(names, rows, right=("took",)).splitlines()
    assert lines[1:] == ["東京        5  x", "a         100", "abcdef     20  yz"]
    assert lines[0] == "cluster  took  reason"
