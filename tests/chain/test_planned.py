"""A plan is shown, approved and carried out; a run does no more than it."""

import os
import subprocess
from contextlib import suppress

import pytest

from lib.commands.main import main
from lib.record import jsonl, plans, provenance
from lib.record.journal import ROOT
from lib.record.plans import Plan, Planned

from .conftest import RUNBOOK

STEP = Planned("make", "createVolume", "disk", size="40 GB", details={"size": "40", "zoneid": "z"})
LATER = Planned("change", "attachVolume", "disk", later={"id": ["the disk", "10"]})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([STEP, LATER], [STEP, LATER], []),
        ([LATER], [Planned("change", "attachVolume", "disk", details={"id": "7"})], []),
        ([STEP], [], ["10: no longer planned: make disk (createVolume, 40 GB)"]),
        ([], [STEP], ["10: new: make disk (createVolume, 40 GB)"]),
        ([STEP], [STEP, STEP], ["10: new: make disk (createVolume, 40 GB)"]),
        (
            [STEP],
            [Planned("make", "createVolume", "disk", details={"size": "50", "zoneid": "z"})],
            ["10: new: make disk (createVolume): size was 40, is 50"],
        ),
    ],
)
def test_two_plans_are_compared_by_what_was_known_of_each_step(old, new, expected):
    assert plans.difference({"10": Plan("10", old)}, {"10": Plan("10", new)}) == expected


def test_a_later_attempt_at_a_stage_replaces_its_plan(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNBOOK_RUN", str(tmp_path))
    monkeypatch.setenv("RUNBOOK_STAGE", "90")
    plans.add([STEP])
    plans.add([LATER])
    assert plans.read(tmp_path)["90"].steps == [STEP, LATER]
    monkeypatch.setattr("lib.record.plans.this_process", lambda: "1/2.0")
    plans.add([LATER], [{"name": "disk"}])
    assert plans.read(tmp_path) == {"90": Plan("90", [LATER], [{"name": "disk"}])}
    with jsonl.opened(tmp_path / plans.FILE) as file:
        jsonl.append(file, {"stage": "90", "process": "1/2.0", "steps": [{"what": 5}, 7]})
    assert plans.read(tmp_path)["90"].steps[-1].what == "?"


CELLS = """\
from pathlib import Path
from lib.record import plans
name = Path("{folder}/name").read_text()
plans.add([plans.Planned("make", "createVolume", name, size="40 GB")] if name else [])
assert name != "bad"
if mode == "apply": Path("{folder}/made").write_text(name)
"""


def test_exactly_the_approved_plan_is_carried_out(book, notebooks, tmp_path, capsys, monkeypatch):
    book(notebooks / "10-one.ipynb", CELLS.format(folder=tmp_path), parameters='mode: str = "plan"')
    name, created, runs = tmp_path / "name", tmp_path / "made", ["--runs", str(tmp_path / "runs")]
    name.write_text("disk")
    words = ["plan", "--detailed-exitcode", "--notebooks", str(notebooks), *runs]
    assert main(words) == 7
    output = capsys.readouterr().out
    assert (
        "Plan: 1 to make, 0 to change, 0 to remove\n  + createVolume  disk  40 GB  in 10" in output
    )
    first = next((tmp_path / "runs").glob("2*"))
    assert output.splitlines()[-1].endswith(f"apply {first}")

    name.write_text("other")
    assert main(["apply", first.name, *runs]) == 1
    output = capsys.readouterr().out
    assert "10-one: new: make other (createVolume, 40 GB)" in output and not created.exists()

    name.write_text("disk")
    assert main(["apply", first.name, "--approved-by", "Ann", *runs]) == 0
    assert created.read_text() == "disk"
    last = max((tmp_path / "runs").glob("2*"), key=lambda p: p.stat().st_mtime_ns)
    (line,) = [ln for ln in jsonl.read(last / "events.jsonl")[0] if ln["event"] == "approved"]
    assert (line["by"], line["plan"]) == ("Ann", first.name) and line["at"]

    (first / plans.FILE).write_text("")  # an edited plan is none
    for run, why in ((first.name, "its record was changed"), (last.name, "this run was no plan")):
        assert main(["apply", run, *runs]) == 2
        output = capsys.readouterr().err
        assert why in output
        assert f"Make a new plan: runbook plan {tmp_path}/runs/{run}/params.yaml" in output

    name.write_text("bad")  # looking goes on after a failure
    book(notebooks / "20-two.ipynb", "1")
    assert main(words) == 1
    output = capsys.readouterr().out
    assert "20-two  ok" in output and "1 of 2 stages ok." in output
    assert main(["apply", "latest", *runs]) == 2
    output = capsys.readouterr().err
    assert "ended as failed. Make a new plan: runbook plan" in output and "--stages" not in output
    name.write_text("")
    assert main([*words, "--stages", "10"]) == 0
    assert plans.sentence(plans.read(first).values()).startswith("Plan: 0 to make")


def test_on_a_terminal_a_run_shows_its_plan_and_asks(book, notebooks, tmp_path):
    cell = 'mode: str = "plan"\nprofile: str = "env"'
    book(notebooks / "10-one.ipynb", CELLS.format(folder=tmp_path), parameters=cell)
    (tmp_path / "name").write_text("disk")
    named = {"ENDPOINT": "http://cloud", "KEY": "key", "SECRET": "secret"}
    env = os.environ | {f"CLOUDSTACK_{name}": value for name, value in named.items()}
    words = ["run", "--mode", "apply", "--notebooks", notebooks, "--runs", tmp_path / "runs"]
    outside, inside = os.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), inside)
    with subprocess.Popen([*RUNBOOK, *words], cwd=ROOT, env=env, **streams) as process:
        os.close(inside)
        text = b""
        while b"Apply this plan? [y/N]" not in text:
            text += os.read(outside, 4096)
        assert b"+ createVolume  disk" in text and not (tmp_path / "made").exists()
        os.write(outside, b"y\n")
        with suppress(OSError):  # the end of a terminal
            while os.read(outside, 4096):
                pass
    os.close(outside)
    assert process.returncode == 0 and (tmp_path / "made").exists()
    first, second = sorted((tmp_path / "runs").glob("2*"))
    (line,) = [ln for ln in jsonl.read(second / "events.jsonl")[0] if ln["event"] == "approved"]
    assert (line["plan"], line["by"]) == (first.name, provenance.user())
