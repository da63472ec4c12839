"""Unbuilt: parameters of CloudStack that this cloud does not implement.

A call with one of them is refused: otherwise a filter would match all rows, and a setting would be
lost silently. Parameters unknown to CloudStack are ignored, as it does.
"""

from functools import cache
from pathlib import Path

from ..state.refusals import DIRECT, ApiError
from ..state.registry import Command


@cache
def parameters(dialect: str) -> dict[str, frozenset[str]]:
    """Return the names of a dialect's unbuilt parameters by command, as its source has them."""
    text = Path(__file__).with_name(f"unbuilt-{dialect}.txt").read_text("utf-8")
    found: dict[str, frozenset[str]] = {}
    for line in text.replace("\n    ", " ").splitlines():
        commands, _, names = line.partition(": ")
        found |= {command: frozenset(names.split()) for command in commands.split()}
    return found


def check(dialect: str, command: Command, given: dict) -> None:
    """Refuse a call (431) with a parameter of CloudStack that is not implemented here."""
    for name in parameters(dialect).get(command.name, frozenset()).intersection(given):
        raise ApiError(
            431,
            f"The local cloud has no parameter {name} of {command.name}, which CloudStack knows: "
            "leave it out here.",
            DIRECT,
        )
