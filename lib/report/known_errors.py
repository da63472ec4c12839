"""Known errors: what a cloud's error code means, what to do, and whether trying again is safe.

Errors of this project say that themselves; `known_errors.yaml` adds what CloudStack's words leave
open, and what a run that stopped without an error may have left.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

MENDED = "Yes, once that is mended; what stopped the stage changed nothing."
LOOKS = "Yes: a stage looks at the cloud before it acts; what is done already costs only a look."
WAIT = "Yes, but not at once: let what is still running come to its end first."
JOB = (
    "Yes, once that is mended. The job may have changed something before it failed, but the stage "
    "looks at the cloud before it acts."
)
ANEW = (
    "Not with the same parameters: correct the one that is named and start the run anew; it does "
    "only what is left."
)
# By the class of an error, which tells what may have changed; see `lib.errors`.
SAFE = {
    "ParamsError": ANEW,
    "ProfileError": MENDED,
    "NotOne": MENDED,
    "CheckFailed": MENDED,
    "Refused": MENDED,
    "Incomplete": MENDED,
    "TooManyRows": MENDED,
    "JobFailed": JOB,
    "JobTimeout": WAIT,
    "OutOfSight": WAIT,
    "ShellFailed": LOOKS,
    "Unreachable": LOOKS,
}


@dataclass(frozen=True)
class Known:
    """What an error means and what to do, "" where it says so itself, and if to try again."""

    means: str
    do: str
    again: str

    @property
    def anew(self) -> bool:
        """Tell whether only a new run helps, as a run keeps its parameters."""
        return self.again == ANEW


UNKNOWN = Known(
    "This error is not one that the runbook foresees; its own words are all there is.",
    "Read the last cells of the stage below. If they do not tell, run the stage with --mode plan: "
    "that changes nothing and shows what it finds.",
    LOOKS,
)


def explain(cause: str, error: str) -> Known:
    """Return what is known of an error's text, or else of the cause of the stop."""
    kind = error.partition(":")[0]
    row = next((row for row in _table()["errors"] if _fits(row, error)), None)
    if row is None:
        row = {} if kind in SAFE else _table()["causes"].get(cause)
    if row is None:
        return UNKNOWN
    again = row.get("again")
    words = {"wait": WAIT, "looks": LOOKS, None: SAFE.get(kind, LOOKS)}
    return Known(row.get("means", ""), row.get("do", ""), words.get(again, again))


def _fits(row: dict, error: str) -> bool:
    code = rf"(refused|failed) \(({row['code']})\)" if "code" in row else ""
    return bool(re.search(f"{code}.*({row.get('text', '')})", error, re.I | re.S))


@cache
def _table() -> dict:
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
