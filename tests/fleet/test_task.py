"""What a task of a fleet is retried for, and the report of a fleet."""

from datetime import UTC, datetime

import folders
import pytest
from folders import stage

from lib.chain import resume
from lib.commands.main import main
from lib.errors import JobFailed, Refused, Unreachable
from lib.fleet import task
from lib.report import report


def ledger_text(error: Exception) -> str:
    """Return the text of an error in the ledger."""
    return f"{type(error).__name__}: {error}"


LOST = Unreachable("deployVirtualMachine", "http://c/", "reset", may_have_changed=True)


@pytest.mark.parametrize(
    ("code", "error", "passing"),
    [
        (1, ledger_text(LOST), True),
        (1, ledger_text(JobFailed("createVolume", "j", 530, "no")), True),
        (1, ledger_text(Refused("listZones", 429, "The given user has reached his limit")), True),
        (1, ledger_text(Refused("createVolume", 431, "Disk size must be larger than 0")), False),
        (1, "CheckFailed: /dev/sdd is not blank.", False),
        (2, "", False),
        (3, "", True),
        (5, "", False),
        (143, "", True),
    ],
)
def test_a_task_is_tried_again_where_a_second_look_may_help(code, error, passing):
    assert task.is_passing(code, error) is passing


def test_all_tasks_of_a_cluster_name_the_same_record_and_those_of_another_file_another():
    since = datetime(2026, 3, 4, 5, 6, 7, 999, UTC)
    assert task.run_name("/srv/web.yaml", since) == "20260304-050607-web"
    files = ("a-b", "a b", "a  b", "-a-b", "日本", "ñ" * 90, "ñ" * 91, "!", "run")
    names = {task.run_name(f"/srv/{file}.yaml", since) for file in files}
    assert len(names) == len(files) and all(map(resume.NAME.fullmatch, names))


def test_the_report_of_a_fleet_has_a_line_for_each_file(tmp_path, capsys):
    files, runs = tmp_path / "fleet", tmp_path / "runs"
    files.mkdir()
    for name, text in {"web": "web", "db": "d<b>b", "new": "new"}.items():
        (files / f"{name}.yaml").write_text(f"cluster_name: {text}\n")
    (files / "odd.yaml").write_text('cluster_name: !!int ""\n')
    report.write(folders.good(runs, "20260304-050607-web"))
    bad = stage("10-make", 0, 4) + stage("50-deploy", 4, 3, "failed", error="no <room>\nmore")
    folders.run(runs, "20260305-050607-db", bad, ended="failed", cluster_name="d<b>b")
    copy = folders.run(runs, "20260306-050607-web", bad, ended="failed", cluster_name="web")
    with (copy / "params.yaml").open("a") as params:
        params.write("profile: local?seed=x  # rehearsal\n")
    assert main(["fleet", "report", str(files), "--runs", str(runs)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
    words = [[w.strip() for w in line.strip("│").split("│")][:2] for line in lines]
    assert words == [
        ["d<b>b", "✗ failed"],
        ["new", "✗ no run"],
        ["odd", "✗ unreadable"],
        ["web", "✓ ok"],
    ]
    page = (runs / "fleet.html").read_text()
    assert '<a href="20260304-050607-web/report.html">web</a>' in page
    assert "no &lt;room&gt;" in page and "d<b>b" not in page and "more" not in page
    assert main(["fleet", "report", str(files), "--runs", str(runs / "not yet")]) == 0
    assert main(["fleet", "report", str(runs / "none"), "--runs", str(runs)]) == 2
    assert "expected parameter files (*.yaml), found none" in capsys.readouterr().err
