"""Events: what happens in a run, told to whoever listens (the terminal, the ledger)."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """Something that happened in a run: its kind, the stage it belongs to, and plain data.

    Kinds and data: run (folder, stages, resumed), stage (attempt), cell (index, cell, heading),
    message (message), cell-end (index, cell, cause, seconds, error), interrupt, end (result),
    done (results).
    """

    kind: str
    stage: str = ""
    data: dict = field(default_factory=dict)


Tell = Callable[[Event], None]
