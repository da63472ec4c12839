"""What a run in plan mode would do, as it is printed when the run ends."""

from collections.abc import Mapping

from rich.text import Text

from lib.record import plans
from lib.record.plans import Plan
from lib.record.texts import translated
from lib.report.console import one_line

SIGNS = {"make": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}


def texts(planned: Mapping[str, Plan]) -> list[Text]:
    """Return the lines on the plans of the stages: the counts, the steps, and what is known."""
    steps = [(stage, s) for stage, plan in planned.items() for s in plan.steps]
    places = [translated("in {}", stage[:2]) for stage, _ in steps]
    rows = [(s.command, s.what, s.size, s.offering, s.where) for _, s in steps]
    rows = [(*row, place) for row, place in zip(rows, places, strict=True)]
    lines = [Text(plans.sentence(planned.values()), style="bold")]
    for (_, step), row in zip(steps, _aligned(rows), strict=True):
        sign, style = SIGNS.get(step.effect, SIGNS["change"])
        lines.append(Text(f"  {sign} {row}", style=style))
    there = [(r.get("name"), r.get("state")) for plan in planned.values() for r in plan.there]
    names = [" ".join(map(str, filter(None, row))) for row in there]
    lines += _listed(translated("There already:"), names)
    later = [translated("{}, from {}", *pair) for _, s in steps for pair in s.later.values()]
    lines += _listed(translated("Not known yet:"), later)
    return lines


def in_short(plan: Plan) -> str:
    """Return a plan of a stage in a few words.

    >>> in_short(Plan("50", [plans.Planned("make", "deploy", w) for w in "ab"]))
    'would deploy a, b'
    """
    groups: dict[str, list[str]] = {}
    for step in plan.steps:
        groups.setdefault(step.command, []).append(step.what)
    words = "; ".join(f"{command} {', '.join(names)}" for command, names in groups.items())
    return one_line(translated("would {}", words) if words else translated("nothing to do"))


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the rows as lines with aligned columns; empty columns are left out."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True) if w) for row in cells]
    return [line.rstrip() for line in lines]


def _listed(head: str, found: list[str]) -> list[Text]:
    lines = dict.fromkeys(map(one_line, found))
    return [Text(line) for line in (head, *(f"  {line}" for line in lines))] if found else []
