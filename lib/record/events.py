"""Events of a run, passed to its listeners: the terminal and the ledger."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """An event of a run: its kind, its stage, and plain data.

    Kinds and data: run (folder, stages, resumed), stage (attempt), cell (index, cell, heading),
    message (message), cell-end (index, cell, cause, seconds, error), interrupt, end (result),
    done (results).
    """

    kind: str
    stage: str = ""
    data: dict = field(default_factory=dict)


Listener = Callable[[Event], None]
