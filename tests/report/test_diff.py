import json

import folders
from folders import book, stage, volumes

from lib.commands.main import main
from lib.report import diff

OTHER = "8d8d4497-afcc-45d0-839c-3e6f123ccf6b"


def compared(one, other):
    """Return the tables that are not empty, as lists."""
    tables = diff.compare(one, other)
    return {title: [list(row) for row in rows] for title, rows in tables.items() if rows}


def test_two_like_runs_do_not_differ_though_their_ids_and_times_do(tmp_path):
    one, other = folders.good(tmp_path, "20260304-050607-web"), folders.good(tmp_path, "b")
    for folder, identity in ((one, folders.ID), (other, OTHER)):
        book(
            folder, "10-make", before=[volumes()], after=[volumes(("web_disk", "Ready", identity))]
        )
    assert compared(one, other) == {}


def test_different_parameters_outcomes_and_resources_are_listed(tmp_path):
    one = folders.good(tmp_path, "a")
    events = stage("10-make", 0, 4, "failed", error="no")
    other = folders.run(tmp_path, "b", events, ended="failed", volume_name="big_disk", size=5)
    book(other, "10-make", before=[volumes()], after=[volumes(("big_disk", "Allocated", OTHER))])
    assert compared(one, other) == {
        "parameters": [["volume_name", "web_disk", "big_disk"], ["size", "–", "5"]],  # noqa: RUF001
        "outcome of the stages": [["10-make", "ok", "failed"], ["60-look", "ok", "–"]],  # noqa: RUF001
        "resources": [
            ["10-make: new web_disk", "state Allocated", "–"],  # noqa: RUF001
            ["10-make: new big_disk", "–", "state Allocated"],  # noqa: RUF001
        ],
        "durations": [["the run", "6.0 s", "4.0 s (0.67 times A)"]],
    }


def test_a_notably_longer_stage_is_listed(tmp_path):
    one = folders.run(tmp_path, "a", stage("10-make", 0, 10) + stage("60-look", 10, 2))
    other = folders.run(tmp_path, "b", stage("10-make", 0, 30) + stage("60-look", 30, 2.1))
    assert compared(one, other)["durations"] == [
        ["10-make", "10.0 s", "30.0 s (3.00 times A)"],
        ["the run", "12.0 s", "32.1 s (2.68 times A)"],
    ]


def test_different_versions_are_listed_and_times_are_not(tmp_path):
    one, other = (folders.run(tmp_path, name, stage("10-make", 0, 4)) for name in "ab")
    for folder, version in ((one, "3.0"), (other, "3.1")):
        facts = {"started": version, "pid": version, "packages": {"pandas": version, "rich": "15"}}
        (folder / "run.json").write_text(json.dumps(facts))
    found = compared(one, other)
    assert found == {"versions and circumstances": [["packages pandas", "3.0", "3.1"]]}


def test_different_files_are_listed_by_name(tmp_path):
    one, other = (folders.run(tmp_path, name, stage("10-make", 0, 4)) for name in "ab")
    for folder, count in ((one, 1), (other, 13)):
        hashes = {f"{n:02}.py": "0" * 64 for n in range(count)}
        (folder / "run.json").write_text(json.dumps({"lib": hashes}))
    ((what, _, names),) = compared(one, other)["versions and circumstances"]
    assert what == "lib: 12 other files"
    assert names.startswith("01.py, 02.py") and names.endswith("10.py and 2 more")


def test_the_command_prints_differences_and_equal_tables(tmp_path, capsys):
    folders.run(tmp_path, "a", stage("10-make", 0, 4))
    folders.run(tmp_path, "b", stage("10-make", 0, 4), size="[red]5")
    assert main(["diff", "a", "b", "--runs", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "size" in output
    assert "[red]5" in output
    assert "No difference in: outcome of the stages, resources, durations" in output


def test_a_run_that_is_missing_is_bad_input(tmp_path, capsys):
    assert main(["diff", "a", "b", "--runs", str(tmp_path)]) == 2
    output = capsys.readouterr().err
    assert "there is no such run" in output and output.startswith("runbook diff: 1 fault.")
