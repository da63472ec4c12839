"""The texts on a run as it begins and ends, for the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.text import Text

from lib.chain.results import Run
from lib.record import jsonl, plans
from lib.record.plans import Plan
from lib.record.provenance import FACTS
from lib.record.texts import translated
from lib.report.console import one_line
from lib.report.grouping import first_and_last

SHOWN = 20  # machines
SIGNS = {"make": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}


def changed(steps: Sequence[dict]) -> str:
    """Return a short text on the changes of the steps, and on those that failed.

    >>> changed([{"outcome": "done", "command": "createVolume", "what": "disk"}])
    'createVolume disk'
    """
    done = _grouped([s for s in steps if s.get("outcome") == "done"])
    failed = _grouped([s for s in steps if s.get("outcome") != "done"])
    return one_line("; ".join(filter(None, [done, failed and f"failed: {failed}"]))) or translated(
        "nothing"
    )


def _grouped(steps: Sequence[dict]) -> str:
    groups = _by_command((s.get("command", "?"), s.get("what", "")) for s in steps)
    return ", ".join(_group(command, names) for command, names in groups.items())


def _by_command(steps: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return what the steps are about, by their commands."""
    groups: dict[str, list[str]] = {}
    for command, what in steps:
        groups.setdefault(command, []).append(what)
    return groups


def _group(command: str, names: Sequence[str]) -> str:
    one = f"{command} {names[0]}"
    return one if len(names) == 1 else f"{len(names)} × {command}"  # noqa: RUF001, read by people


def head(data: dict) -> str:
    """Return a line on what runs where, and one on where its record is."""
    what = (
        translated("Cluster {} at {}, ", data["cluster"], str(data["profile"]).partition("?")[0])
        if data.get("cluster")
        else ""
    )
    numbers = " ".join(stage[:2] for stage in data["stages"])
    how = translated("only looking" if data.get("is_plan") else "changing what is left to do")
    return what + translated("{}, stages {}.\nRecord: {}", how, numbers, near(data["folder"]))


def plan_lines(found: Mapping[str, Plan]) -> list[Text]:
    """Return the lines on the plans of the stages: the counts, the steps, and what is known."""
    steps = [(stage, s) for stage, plan in found.items() for s in plan.steps]
    places = [translated("in {}", stage[:2]) for stage, _ in steps]
    rows = [(s.command, s.what, s.size, s.offering, s.where) for _, s in steps]
    rows = [(*row, place) for row, place in zip(rows, places, strict=True)]
    lines = [Text(plans.sentence(found.values()), style="bold")]
    for (_, step), row in zip(steps, _aligned(rows), strict=True):
        sign, style = SIGNS.get(step.effect, SIGNS["change"])
        lines.append(Text(f"  {sign} {row}", style=style))
    there = [(r.get("name"), r.get("state")) for plan in found.values() for r in plan.there]
    names = [" ".join(map(str, filter(None, row))) for row in there]
    lines += _under(translated("There already:"), names)
    later = [translated("{}, from {}", *pair) for _, s in steps for pair in s.later.values()]
    lines += _under(translated("Not known yet:"), later)
    return lines


def plan_in_words(plan: Plan) -> str:
    """Return a plan of a stage in a few words.

    >>> plan_in_words(Plan("50", [plans.Planned("make", "deploy", w) for w in "ab"]))
    'would deploy a, b'
    """
    groups = _by_command((step.command, step.what) for step in plan.steps)
    words = "; ".join(f"{command} {', '.join(names)}" for command, names in groups.items())
    return one_line(translated("would {}", words) if words else translated("nothing to do"))


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the rows as lines with aligned columns; empty columns are left out."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True) if w) for row in cells]
    return [line.rstrip() for line in lines]


def _under(head: str, found: list[str]) -> list[Text]:
    lines = dict.fromkeys(map(one_line, found))
    return [Text(line) for line in (head, *(f"  {line}" for line in lines))] if found else []


def machines(folder: Path) -> list[str]:
    """Return a line for each machine that the run has seen: name, address and how to log in.

    Of more than SHOWN the first ones and the last: `report.csv` has all.
    """
    last = [m for m in _listed(folder, "machines") if isinstance(m, dict)]
    rows = [[str(m.get(k, "")) for k in ("name", "address", "login")] for m in last]
    shown = first_and_last(rows, lambda row: "machine", SHOWN)
    wide = [max((len(row[n]) for row in rows), default=0) for n in (0, 1)]
    lines = [
        f"  … {more}" if more else f"  {row[0]:{wide[0]}}  {row[1]:{wide[1]}}  {row[2]}"
        for row, more in shown
    ]
    if isinstance(outside := _last(folder, "outside"), dict):
        lines.append(f"  {outside.get('login')}  ({translated('from outside')})")
    return [translated("Machines:"), *lines] if lines else []


def others(folder: Path) -> list[str]:
    """Return a line for each run of another machine that may be at work on the cluster."""
    text = "! {}: it is at work on this cluster, or was cut off."
    return [translated(text, other) for other in _listed(folder, "underway")]


def _listed(folder: Path, name: str) -> list:
    last = _last(folder, name)
    return last if isinstance(last, list) else []


def _last(folder: Path, name: str) -> object:
    """Return the last fact of that name of a run, None without one."""
    found = [line[name] for line in jsonl.read(folder / FACTS)[0] if name in line]
    return found[-1] if found else None


def sentence(run: Run) -> str:
    """Return a sentence on how the run ended."""
    spent = f"{sum(result.seconds for result in run.results):.1f} s"
    good = sum(result.outcome == "ok" for result in run.results)
    left = [result.stage[:2] for result in run.results if result.outcome == "not-run"]
    ran = translated("{} of {} stages ok", good, len(run.results))
    if run.exit_code == 0:
        return translated("Done: {} in {}.", ran, spent)
    last = next((r for r in run.results if r.outcome not in ("ok", "not-run")), None)
    how = f"{last.stage} {last.outcome}" if last else translated(_otherwise(run))
    ran += translated(", not run: {}", " ".join(left)) if left else ""
    word = "Stopped after {}: {}; {}." if left or run.signal else "Ended after {}: {}; {}."
    return translated(word, spent, how, ran)


def _otherwise(run: Run) -> str:
    """Return the fault of a run without a failed stage."""
    if run.signal:
        return "interrupted between stages"
    return "the record contains a secret" if run.leaks else "the record is not signed"


def near(path: Path) -> str:
    """Return a path relative to the working directory if it is below it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
