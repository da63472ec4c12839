import folders
import pytest
from folders import at, stage

from lib.__main__ import main
from lib.record.faults import BadInput
from lib.report import index, past, report


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


def test_a_run_without_its_driver_is_listed_as_abandoned(runs, capsys):
    assert main(["list", "--runs", str(runs)]) == 0
    said = capsys.readouterr().out
    assert "✗ abandoned" in said
    assert "The run 20260306-050607-web was abandoned" in said


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
