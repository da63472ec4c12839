"""Stages: the notebooks `NN-name.ipynb` of a folder, and which of them a run takes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.record.faults import BadInput

ON_REQUEST = 70  # from here on stages change or remove a finished cluster


@dataclass(frozen=True)
class Stage:
    """One notebook of the procedure: its number, its name (with the number) and its file."""

    number: int
    name: str
    path: Path


def find(folder: Path) -> list[Stage]:
    """Return the stages of a folder in the order of their names; raise `BadInput` if none."""
    paths = sorted(folder.glob("[0-9][0-9]-*.ipynb"))
    if not paths:
        raise BadInput([f"{folder}: there is no notebook `NN-name.ipynb` in it"])
    return [Stage(int(path.name[:2]), path.stem, path.resolve()) for path in paths]


def choose(stages: Sequence[Stage], requested: str | None = None) -> list[Stage]:
    """Return the stages that a list like `10,20,50-60` names, or all below 70 for None.

    Raises `BadInput` naming every part that fits no stage; a list that names none is such a fault.
    """
    if requested is None:
        return [stage for stage in stages if stage.number < ON_REQUEST]
    parts = [part.strip() for part in requested.split(",")]
    fitting = {part: [stage for stage in stages if _fits(part, stage)] for part in parts}
    known = ", ".join(f"{stage.number:02}" for stage in stages)
    faults = [
        f"--stages {requested}: {_why_none(part)}; there are {known}"
        for part, found in fitting.items()
        if not found
    ]
    if faults:
        raise BadInput(faults)
    return [stage for stage in stages if any(stage in found for found in fitting.values())]


def _why_none(part: str) -> str:
    """Return why a part of a list of stages names none."""
    span = re.fullmatch(r"(\d{1,2})-(\d{1,2})", part)
    if span and int(span[1]) > int(span[2]):
        return f"{part} goes backwards: write {span[2]}-{span[1]}"
    if span:
        return f"there is no stage from {span[1]} to {span[2]}"
    return f"{part or 'an empty part'} is no stage"


def _fits(part: str, stage: Stage) -> bool:
    span = re.fullmatch(r"(\d{1,2})(?:-(\d{1,2}))?", part)
    if not span:
        return part == stage.name
    first, last = int(span[1]), int(span[2] or span[1])
    return first <= stage.number <= last
