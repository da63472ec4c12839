"""Folders of runs, written by the formats of the record, for tests that need one without a run."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pandas as pd
import yaml
from nbformat import v4

BEGAN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ID = "49e09ddc-aa3e-4b64-b9f1-0c55c375be1a"
JOB = "331a2b35-a5bd-41a5-9ba7-9ac2123a0556"
PARAMS = {"profile": "prod", "mode": "apply", "cluster_name": "web", "volume_name": "web_disk"}


def at(seconds: float) -> str:
    """Return the time so many seconds after the start, in the format of ledgers."""
    return (BEGAN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def shown(frame: pd.DataFrame) -> dict:
    """Return the output of a table in a notebook, which holds the first 200 rows of a long one."""
    with pd.option_context("display.html.table_schema", True, "display.max_rows", 200):
        data = {"application/vnd.dataresource+json": frame._repr_data_resource_()}
        # pandas gives no HTML when the option is on outside of IPython; reports do not use it.
        return v4.new_output("display_data", data | {"text/plain": repr(frame)})


def planned(folder: Path, stage: str, *steps: tuple[str, ...], there: Sequence[dict] = ()) -> None:
    """Write the record of a stage's plan: effect, command, what, why, size, offering, where."""
    names = ("effect", "command", "what", "why", "size", "offering", "where")
    rows = [dict(zip(names, step, strict=False)) for step in steps]
    later = {"later": {"templateid": ["template web-tpl", "42-create-template"]}}
    rows = [row | (later if row["command"].startswith("deploy") else {}) for row in rows]
    line = {"at": at(0), "stage": stage, "process": "1/1", "steps": rows, "there": list(there)}
    with (folder / "plan.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def large(runs: Path, count: int = 1000) -> Path:
    """Write a run that was to deploy `count` machines, of which three failed."""
    bad = {n for n in (7, 400, 999) if n < count}
    names = [f"web-{n}" for n in range(1, count + 1)]
    entries, steps = [], []
    for number, name in enumerate(names, 1):
        (intent, accepted, done), wrong = journal(number, 3, "deployVirtualMachine"), number in bad
        whose = {"n": number, "what": name, "stage": "50-deploy"}
        ends = {"state": "failed", "text": "no room"} if wrong else {"resource": f"id-{number}"}
        entries += [line | whose for line in (intent, accepted, done | ends)]
        entries[-2]["resource"] = f"id-{number}"
        state = "failed" if wrong else "done"
        steps.append({"outcome": state, "command": "deployVirtualMachine", "what": name})
    events = stage("50-deploy", 0, 4000, "failed", error="JobFailed: no room", steps=steps)
    folder = run(runs, "20260304-050607-web", events, ended="failed")
    write_lines(folder / "journal.jsonl", entries)
    write_lines(folder / "api.jsonl", [call("listVirtualMachines", n) for n in range(5 * count)])
    columns = ["name", "state", "serviceofferingname", "nic", "id"]
    before = pd.DataFrame([("desk", "Running", "S", "10.0.0.1", "i")], columns=columns, dtype="str")
    plan = [("deployVirtualMachine", name, f"there is no machine {name}") for name in names]
    planned(folder, "50-deploy", *(("make", *step) for step in plan))
    plan = pd.DataFrame(plan, columns=["command", "what", "why"], dtype="str")
    words = "state Running, serviceofferingname S, nic 10.0"
    good = [(n, name) for n, name in enumerate(names, 1) if n not in bad]
    after = [("new", name, f"id-{n}", f"{words}.{n // 256}.{n % 256}") for n, name in good]
    after = pd.DataFrame(after, columns=["change", "name", "id", "details"], dtype="str")
    applied = [step(s["command"], s["what"], s["outcome"]) for s in steps]
    cells = {"before": [shown(before)], "plan": [shown(plan)], "apply": applied}
    book(folder, "50-deploy", **cells, after=[shown(after)])
    return folder


def printed(text: str) -> dict:
    """Return the output of a print in a notebook."""
    return v4.new_output("stream", name="stdout", text=text)


def step(command: str, what: str, outcome: str = "done") -> dict:
    """Return the output of a step."""
    facts = {"outcome": outcome, "command": command, "what": what}
    text = f"{'✓' if outcome == 'done' else '✗'} {outcome}: {command} {what} (why)"
    data = {"application/vnd.runbook.step+json": facts, "text/plain": text}
    return v4.new_output("display_data", data)


def book(folder: Path, stage: str, **cells: list[dict]) -> Path:
    """Write an executed notebook: for each heading a code cell with these outputs."""
    notebook = [v4.new_markdown_cell(f"# {stage}\n\nWhat it does.", id="title")]
    for name, outputs in cells.items():
        notebook.append(
            v4.new_markdown_cell(f"## {name.title()}\n\nRead *this*.", id=f"{name}-words")
        )
        code = v4.new_code_cell(f"look({name!r})", outputs=outputs, id=name, execution_count=1)
        notebook.append(code)
    path = folder / f"{stage}.ipynb"
    nbformat.write(v4.new_notebook(cells=notebook), path)
    return path


def volumes(*rows: tuple[str, str, str]) -> dict:
    """Return the output of a table of volumes: name, state, id."""
    return shown(pd.DataFrame(rows, columns=["name", "state", "id"], dtype="str"))


def write_lines(path: Path, lines: list[dict]) -> None:
    """Write a ledger."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def stage(name: str, start: float, seconds: float, cause: str = "ok", **more: object) -> list[dict]:
    """Return the lines of a ledger for one attempt at a stage."""
    whose = {"stage": name, "attempt": more.pop("attempt", 1)}
    end = {"event": "stage-ended", "cause": cause, "seconds": seconds, "steps": []}
    return [
        {"at": at(start), "event": "stage-started", **whose},
        {"at": at(start + seconds), **end, **whose, **more},
    ]


def run(runs: Path, name: str, events: list[dict], *, ended: str = "ok", **params: object) -> Path:
    """Write the folder of a run with its parameters and its ledger; ended="" leaves it open."""
    folder = runs / name
    folder.mkdir(parents=True)
    lines = [f"{yaml.safe_dump({k: v}).strip()}  # my.yaml\n" for k, v in (PARAMS | params).items()]
    (folder / "params.yaml").write_text("".join(lines), "utf-8")
    stages = list(dict.fromkeys(e["stage"] for e in events if "stage" in e))
    first = {"at": at(0), "event": "run-started", "pid": 1, "stages": stages}
    last = [{"at": at(99), "event": "run-ended", "cause": ended}] if ended else []
    write_lines(folder / "events.jsonl", [first, *events, *last])
    return folder


def good(runs: Path, name: str = "20260304-050607-web") -> Path:
    """Write a run that made a volume in one stage and looked at it in the next."""
    done = [{"outcome": "done", "command": "createVolume", "what": "web_disk"}]
    events = stage("10-make", 0, 4, steps=done) + stage("60-look", 4, 2)
    folder = run(runs, name, events)
    before, after = volumes(("root", "Ready", "1")), ("web_disk", "Allocated", ID)
    applied = [step("createVolume", "web_disk")]
    after_all = volumes(("root", "Ready", "1"), after)
    book(folder, "10-make", before=[before], apply=applied, after=[after_all])
    book(folder, "60-look", before=[after_all])
    write_lines(folder / "journal.jsonl", journal(1))
    write_lines(folder / "api.jsonl", [call("listVolumes", 0.5), call("createVolume", 1, 120)])
    return folder


def journal(start: float, seconds: float = 2, command: str = "createVolume") -> list[dict]:
    """Return the lines of a journal for one change that was accepted and done."""
    whose = {"n": 1, "command": command, "what": "web_disk", "stage": "10-make"}
    return [
        {"at": at(start), "state": "intent", **whose},
        {"at": at(start), "n": 1, "state": "accepted", "job": JOB, "resource": ID},
        {"at": at(start + seconds), "n": 1, "state": "done", "text": ""},
    ]


def call(command: str, start: float, ms: float = 20, code: int | None = None) -> dict:
    """Return a line of the log of requests."""
    line = {"at": at(start), "command": command, "params": {}, "status": 200, "ms": ms}
    return line | {"code": code, "job": None, "bytes": 10}
