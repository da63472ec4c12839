"""Faults in what was given: found before anything starts, and told all at once."""

from collections.abc import Iterable


class BadInput(Exception):
    """What was given cannot be used and nothing was started; `faults` lists all that is wrong."""

    def __init__(self, faults: Iterable[str]):
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))
