"""Faults: planned failures, and the record of calls."""

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

# refuse: an error at once. fail-job: accepted, then failed; `result:none` without a word.
# drop-before, drop-after: the connection ends before or after the command ran. html: an HTML page
# instead. slow: answered later. lose-job: accepted, and nobody knows the job. hang-job: it never
# ends. malformed: the command runs and half of the answer comes. refuse-after: it runs, and is
# answered with an error all the same.
FAULTS = "refuse fail-job drop-before drop-after html slow lose-job hang-job malformed refuse-after"
# Never recorded: secrets, private texts, and the parts of a signature.
HIDDEN = """apikey signature userdata password publickey command response signatureversion
    expires sessionkey"""
CALLS, PARAMS, LONGEST = 5000, 50, 500  # kept: calls, parameters of each, characters of a value


class Call(NamedTuple):
    """One request as recorded; `changed` says that it may have changed something."""

    command: str
    params: dict[str, str]
    changed: bool
    status: int


@dataclass
class Fault:
    """A failure of the next `count` calls of a command, after `skip` other ones."""

    command: str
    kind: str
    count: int = 1
    skip: int = 0
    code: int = 0
    text: str = ""
    seconds: float = 0
    result: str = ""

    def hits(self, command: str) -> bool:
        """Return whether the fault applies to this call, and count the call."""
        if self.command not in (command, "*") or self.count <= 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.count -= 1
        return True


@dataclass
class Faults:
    """The planned faults and the last calls; neither survives a restart."""

    planned: list[Fault] = field(default_factory=list)
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=CALLS))

    def take(self, command: str) -> Fault | None:
        """Return the fault for this call."""
        return next((f for f in self.planned if f.hits(command)), None)

    def record(self, command: str, params: dict[str, str], changed: bool, status: int) -> None:
        """Note a call; what must not be seen is left out."""
        hidden = HIDDEN.split()
        shown = ((k.lower(), v) for k, v in params.items() if k.lower() not in hidden)
        kept = {k[:LONGEST]: v[:LONGEST] for k, v in islice(shown, PARAMS)}
        self.calls.append(Call(command[:LONGEST], kept, changed, status))

    def reset(self) -> None:
        """Forget faults and calls."""
        self.planned.clear()
        self.calls.clear()
