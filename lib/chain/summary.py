"""The texts on a run as it begins and ends, for the terminal."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from lib.chain.results import Result, Run
from lib.record import jsonl
from lib.record.provenance import FACTS
from lib.report.console import one_line
from lib.report.words import colour


def changed(steps: Sequence[dict]) -> str:
    """Return a short text on the changes of the steps, and on those that failed.

    >>> changed([{"outcome": "done", "command": "createVolume", "what": "disk"}])
    'createVolume disk'
    """
    done = _grouped([s for s in steps if s.get("outcome") == "done"])
    failed = _grouped([s for s in steps if s.get("outcome") != "done"])
    return one_line("; ".join(filter(None, [done, failed and f"failed: {failed}"]))) or "nothing"


def _grouped(steps: Sequence[dict]) -> str:
    groups: dict[str, list[str]] = {}
    for step in steps:
        groups.setdefault(step.get("command", "?"), []).append(step.get("what", ""))
    return ", ".join(_group(command, names) for command, names in groups.items())


def _group(command: str, names: Sequence[str]) -> str:
    one = f"{command} {names[0]}"
    return one if len(names) == 1 else f"{len(names)} × {command}"  # noqa: RUF001, read by people


def head(data: dict) -> str:
    """Return a line on what runs where, and where its record is."""
    what = f"Cluster {data['cluster']} at {data['profile']}, " if data.get("cluster") else ""
    numbers = " ".join(stage[:2] for stage in data["stages"])
    how = "only looking" if data.get("is_plan") else "changing what is left to do"
    return f"{what}{how}, stages {numbers}. Record: {near(data['folder'])}"


def machines(folder: Path) -> list[str]:
    """Return a line for each machine that the run has seen: name, address and how to log in."""
    found = [line["machines"] for line in jsonl.read(folder / FACTS)[0] if "machines" in line]
    last = found[-1] if found and isinstance(found[-1], list) else []
    rows = [[str(m.get(k, "")) for k in ("name", "address", "login")] for m in last]
    return ["Machines:", *(f"  {'  '.join(row)}" for row in rows)] if rows else []


def table(results: Sequence[Result]) -> Table:
    table = Table()
    table.add_column("stage", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("seconds", no_wrap=True, justify="right")
    table.add_column("what changed", overflow="fold")
    for result in results:
        ran = result.outcome != "not-run"
        table.add_row(
            Text(result.stage),
            Text(result.outcome, style=colour(result.outcome)),
            f"{result.seconds:.1f}" if ran else "",
            Text(changed(result.steps) if ran else ""),
        )
    return table


def sentence(run: Run) -> str:
    """Return a sentence on how the run ended."""
    spent = sum(result.seconds for result in run.results)
    count = Counter(result.outcome for result in run.results)
    ran = f"{count['ok']} of {len(run.results)} stages ok"
    if run.exit_code == 0:
        return f"Done: {ran} in {spent:.1f} s."
    last = next((r for r in run.results if r.outcome not in ("ok", "not-run")), None)
    how = f"{last.stage} {last.outcome}" if last else _otherwise(run)
    word = "Stopped" if count["not-run"] or run.signal else "Ended"
    return f"{word} after {spent:.1f} s: {how}; {ran}, {count['not-run']} not run."


def _otherwise(run: Run) -> str:
    """Return the fault of a run without a failed stage."""
    if run.signal:
        return "interrupted between stages"
    return "the record contains a secret" if run.leaks else "the record is not signed"


def near(path: Path) -> str:
    """Return a path relative to the working directory if it is below it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
