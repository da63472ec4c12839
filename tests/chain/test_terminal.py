import io
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from lib.chain.results import Result, Run, alike
from lib.chain.summary import changed, sentence
from lib.chain.terminal import WAIT, Terminal, Waiting
from lib.record.events import Event
from lib.record.journal import Journal
from lib.report.console import console, invoked, one_line, plain


def step(command, what, outcome="done"):
    return {"outcome": outcome, "command": command, "what": what}


def display(waiting, shown="1", kind="update_display_data"):
    facts = {WAIT: {"waiting": waiting, "seconds": 1.5}}
    return {"msg_type": kind, "content": {"data": facts, "transient": {"display_id": shown}}}


def stdout(text):
    return {"msg_type": "stream", "content": {"name": "stdout", "text": text}}


OK = Result("10-create", "ok", 1.25, [step("createVolume", "disk [bold]x[/bold]")])
WHERE = (Path("runs/x/20.ipynb"), "Apply")
BAD = Result("20-write", "failed", 2.5, [], *WHERE, "Refused: no [i]\x1b[2J")
NOT = Result("30-install", "not-run")
RUN = Run(Path("runs/x"), [OK, BAD, NOT])


def shown(*, terminal, run=RUN, seconds=0, is_plan=False, after=""):
    """Everything printed for a run, as it reaches the terminal or a log.

    So many seconds pass whenever the time is asked for.
    """
    file, clock = io.StringIO(), itertools.count(step=seconds)
    console = Console(file=file, force_terminal=terminal, width=140)
    with Terminal(console, clock.__next__) as listener:
        facts = {"folder": run.folder, "profile": "prod", "cluster": "web", "is_plan": is_plan}
        listener(Event("run", data=facts | {"stages": [r.stage for r in run.results]}))
        for result in run.results:
            listener(Event("stage", result.stage))
            listener(Event("cell", result.stage, {"index": 0, "heading": "Before"}))
            for _ in range(2):
                listener(Event("message", result.stage, {"message": display("job [b]of disk")}))
            listener(Event("end", result.stage, {"result": result}))
    listener.sum_up(run, lambda option: f"again {option}".strip(), after)
    return file.getvalue()


def test_without_a_terminal_a_stage_is_one_plain_line():
    text = shown(terminal=False)
    assert "\x1b" not in text
    head, record, begun, ended, *_ = text.splitlines()
    assert head == "Cluster web at prod, changing what is left to do, stages 10 20 30."
    assert record == "Record: runs/x"
    assert re.fullmatch(r"\d\d:\d\d:\d\d … 10-create", begun)
    done = r"1\.2 s  createVolume disk \[bold\]x\[/bold\]"
    assert re.fullmatch(rf"\d\d:\d\d:\d\d ✓ 10-create\s+ok\s+{done}", ended)
    assert "job [b]of disk" not in text


def test_without_a_terminal_a_wait_is_printed_once_a_minute():
    assert (
        len(re.findall(r"… 10-create\s+job \[b\]of disk", shown(terminal=False, seconds=35))) == 1
    )


def test_the_machines_are_listed_with_how_to_log_in(tmp_path):
    machine = {"name": "web-1", "address": "10.1.0.5", "login": "ssh core@10.1.0.5"}
    (tmp_path / "facts.jsonl").write_text(json.dumps({"machines": [machine]}))
    lines = shown(terminal=False, run=replace(RUN, folder=tmp_path)).splitlines()
    assert lines[lines.index("Machines:") + 1] == "  web-1  10.1.0.5  ssh core@10.1.0.5"


def test_a_run_of_another_machine_is_told_once_when_it_is_known(tmp_path):
    (tmp_path / "facts.jsonl").write_text(json.dumps({"underway": ["that\x1b[2J has not ended"]}))
    lines = shown(terminal=False, run=replace(RUN, folder=tmp_path)).splitlines()
    text = "! that has not ended: it is at work on this cluster, or was cut off."
    assert lines.count(text) == 1 and lines.index(text) < 6


def test_on_a_terminal_the_line_shows_the_wait():
    text = shown(terminal=True)
    assert "job [b]of disk" in text
    assert "\x1b[2J" not in text


def test_the_run_ends_with_failure_command_record_and_a_sentence():
    lines = shown(terminal=False).splitlines()
    assert lines[-5:] == [
        '20-write failed under "Apply": Refused: no [i]',
        "Its notebook: runs/x/20.ipynb",
        "To continue: again  (it checks the cloud and does only what is left)",
        "Report: runs/x/report.html",
        "Stopped after 3.8 s: 20-write failed; 1 of 3 stages ok, not run: 30.",
    ]


HELD = "name taken: `runbook run` with the same parameters and `-p first_number=4` goes on at once"
ADVICE = {
    "ParamsError: size: wanted less, found 9": "does only what is left: again -p size=VALUE",
    f"Refused: (431) {HELD}": "does only what is left: again -p first_number=4",
    "NotOne: wanted exactly one zone": "With another value: again -p NAME=VALUE",
    "ParamsError: ssh_key_file /x.pub: no file": "With another value: again -p ssh_key_file=VALUE",
    "CheckFailed: zone x: none. Set zone.\n y: Set keep.": "again -p zone=VALUE -p keep=VALUE",
}


@pytest.mark.parametrize("error", ADVICE)
def test_after_a_wrong_parameter_the_corrected_command_is_offered(error):
    output = shown(terminal=False, run=Run(Path("runs/x"), [replace(BAD, error=error)]))
    assert ADVICE[error] in output
    assert ("To continue: again" in output) == ("With another value" in output)
    assert "To continue: again" not in output.partition("With another value")[0]


@pytest.mark.parametrize("is_plan", [False, True])
def test_only_a_run_that_made_something_ends_with_what_removes_it(is_plan, tmp_path):
    run = Run(tmp_path, [OK])
    output = shown(terminal=False, run=run, is_plan=is_plan, after="To remove it: x")
    assert ("To remove it: x" in output) != is_plan
    assert "Nothing was left to do" not in output


@pytest.mark.parametrize("is_plan", [False, True])
def test_a_run_that_changed_nothing_says_that_nothing_was_left_to_do(is_plan, tmp_path):
    run = Run(tmp_path, [replace(OK, steps=[])])
    output = shown(terminal=False, run=run, is_plan=is_plan)
    assert ("Nothing was left to do: no stage changed anything." in output) != is_plan


def test_a_plan_that_needs_another_value_is_not_continued(tmp_path):
    run = Run(tmp_path, [replace(BAD, error="NotOne: wanted exactly one zone")])
    output = shown(terminal=False, run=run, is_plan=True)
    assert "With another value: again -p NAME=VALUE" in output and "To continue" not in output


def test_a_stage_that_failed_in_plan_mode_says_why_on_its_line(tmp_path):
    failed = replace(BAD, error="NotOne: no zone x; there are:\n  y")
    output = shown(terminal=False, run=Run(tmp_path, [failed]), is_plan=True)
    assert re.search(r"✗ 20-write\s+failed .* s  NotOne: no zone x; there are:$", output, re.M)


def test_changes_with_unknown_outcome_are_printed(tmp_path):
    journal = Journal(tmp_path, "http://cloud")
    for what in ("this", "that"):
        entry = journal.intend("createVolume", what, {"name": what}, None)
    journal.ended(entry, "done")
    lines = shown(terminal=False, run=replace(RUN, folder=tmp_path)).splitlines()
    text = [line for line in lines if line.startswith("Outcome unknown")]
    assert text == ["Outcome unknown: createVolume this"]


def test_the_last_sentence_says_how_the_run_ended():
    assert sentence(Run(Path("x"), [OK])) == "Done: 1 of 1 stages ok in 1.2 s."
    stopped = "Stopped after 1.2 s: interrupted between stages; 1 of 2 stages ok, not run: 30."
    assert sentence(Run(Path("x"), [OK, NOT], signal=2)) == stopped


@pytest.mark.parametrize(
    "steps, expected",
    [
        ([], "nothing"),
        ([step("createVolume", "disk")], "createVolume disk"),
        ([step("deploy", "a"), step("deploy", "b"), step("tag", "a")], "2 × deploy, tag a"),  # noqa: RUF001
        ([step("deploy", "a"), step("deploy", "b", "failed")], "deploy a; failed: deploy b"),
        ([step("deploy", "a", "failed")] * 2, "failed: 2 × deploy"),  # noqa: RUF001
        ([step("deploy", "a\n\x1b[2Jb")], "deploy a b"),
    ],
)
def test_changes_are_summed_up_in_a_few_words(steps, expected):
    assert changed(steps) == expected


def test_waiting_is_the_named_wait_else_the_last_line_else_the_heading():
    waiting = Waiting()
    waiting.cell("Apply")
    assert str(waiting) == "Apply"
    waiting.hear(stdout("one\ntwo\n\n"))
    waiting.hear(stdout("\n"))
    assert str(waiting) == "two"
    waiting.hear(display("job of disk", kind="display_data"))
    waiting.hear(stdout("three\n"))
    waiting.hear(display("job of machine", "2"))
    assert str(waiting) == "job of disk, job of machine"
    waiting.hear(display("", "1"))
    waiting.hear(display("", "2"))
    assert str(waiting) == "three"
    waiting.cell("Verify")
    assert str(waiting) == "Verify"


def test_other_messages_do_not_change_the_wait():
    waiting = Waiting()
    waiting.cell("Apply")
    for kind, content in (
        ("status", {"execution_state": "busy"}),
        ("stream", {"name": "stderr", "text": "noise"}),
        ("display_data", {"data": {WAIT: "odd"}, "transient": None}),
        ("error", {"ename": "X", "evalue": "y", "traceback": []}),
    ):
        waiting.hear({"msg_type": kind, "content": content})
        assert str(waiting) == "Apply"


def test_texts_lose_escape_codes_and_control_characters():
    assert plain("a\x1b[1;31mb\x1b]0;title\x07c\x1b]8;;http://x\x1b\\d\x9b\x00\te\n") == "abcd e\n"


def test_a_name_keeps_its_ideographic_space():
    assert one_line("東京\u3000一\t\n  x ") == "東京\u3000一 x"


def test_a_pipe_gets_no_escape_codes_even_if_colours_are_forced(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    console().print("[red]plain[/red]")
    assert capsys.readouterr().out == "plain\n"


@pytest.mark.parametrize(
    "called, there, elsewhere",
    [
        ("{project}/.venv/bin/runbook", ".venv/bin/runbook", "{project}/.venv/bin/runbook"),
        ("/opt/bin/runbook", "/opt/bin/runbook", "/opt/bin/runbook"),
        ("pytest", "runbook", "runbook"),
        ("{project}/lib/__main__.py", "python -m lib", "python -m lib"),
    ],
)
def test_a_command_is_written_as_it_can_be_typed(called, there, elsewhere, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/none")
    monkeypatch.setattr("sys.argv", [called.format(project=tmp_path)])
    assert " ".join(invoked(tmp_path)) == there
    assert " ".join(invoked()) == elsewhere.format(project=tmp_path)


def test_failures_that_differ_in_the_command_and_the_time_alone_are_told_once():
    text = "Refused: {} was refused (401): unable to verify user credentials; here it is 0{}:00:00"
    words = [("listZones", 1), ("listVolumes", 2)]
    found = [Result(f"{n}0-a", "failed", error=text.format(command, n)) for command, n in words]
    other = Result("30-a", "failed", error="ShellFailed: no")
    assert alike([*found, other]) == [found, [other]]
