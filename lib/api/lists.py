"""Lists: what was asked within a run, for as long as it counts, and left to the next stage."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from lib.record import asked

CAPABILITIES, ZONES = '["listCapabilities"]', '["listZones"]'  # questions
LASTING = 3600.0  # seconds that their answers count


@dataclass
class Lists:
    """The lists of a client, by its questions; `of` is the cloud that those left here are of."""

    clock: Callable[[], float]
    folder: Path
    of: str = ""
    found: asked.Lists = field(default_factory=dict)

    def rows(self, question: str, seconds: float, ask: Callable[[], list[dict]]) -> list[dict]:
        """Return what was answered to a question so many seconds ago at most, or ask it."""
        at, rows = self.found.get(question, (-inf, []))
        if not 0 <= self.clock() - at < seconds:
            rows = ask()
            self.found[question] = self.clock(), rows
        return rows

    def forget(self) -> None:
        """Forget all but what lasts, as something changes or others may change it."""
        for question in self.found.keys() - {CAPABILITIES, ZONES}:
            del self.found[question]
        if self.of:
            asked.forget(self.folder)

    def take_up(self, of: str) -> None:
        """Take up what the stage before has asked of a cloud."""
        self.of = of
        self.found |= asked.take(self.folder, of)

    def leave(self, *_: object) -> None:
        """Leave what was asked to the next stage."""
        asked.leave(self.folder, self.of, self.found)
