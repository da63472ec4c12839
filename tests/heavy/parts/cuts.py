"""Files of a run that failed, cut at each of their bytes: all commands read what is left."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

from heavy.parts import records

# run.json is left to the part `records`: 28 kB, nearly all of it the list of packages.
LEFT_OUT = (".html", "run.json")
STRIDE = 7919  # a prime, so that each byte has its turn once, and all files have one early


@contextlib.contextmanager
def part(folder: Path) -> Iterator["Cuts"]:
    """Give the part of the fuzz."""
    with records.part(folder) as created:
        yield Cuts(created)


class Cuts:
    """Cuts one file after the other, as a power cut does."""

    def __init__(self, created: records.Records):
        self.made, self.tried = created, 0
        first = [n for n in created.files if n.startswith(created.names[0]) or "/" not in n]
        sizes = {n: (created.built / n).stat().st_size for n in first if not n.endswith(LEFT_OUT)}
        self.bytes = [(name, at) for name, size in sizes.items() for at in range(size)]

    def case(self, chance: random.Random) -> dict:
        """Return the next file and the byte at which it is cut."""
        name, at = self.bytes[self.tried * STRIDE % len(self.bytes)]
        self.tried += 1
        return {"place": self.made.place(name), "how": ["at", at], "resume": False}

    def attempt(self, case: dict) -> None:
        """Cut a copy, and run the commands."""
        self.made.attempt(case)
