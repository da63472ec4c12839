"""Known errors: their meaning, what to do, and whether a retry is safe.

Our own errors say this themselves. `known_errors.yaml` adds the meaning of CloudStack's errors, and
advice for a run that stopped without an error.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from lib import errors
from lib.errors import CHECKS, WAIT

NEW_RUN = (
    "Not with the same parameters: correct the one named above and start a new run; it does only "
    "what is left."
)
# By the class of an error, which says what may have changed; see `lib.errors`.
SAFE = {
    name: kind.again
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.RunbookError)
} | {"ParamsError": NEW_RUN}


@dataclass(frozen=True)
class Known:
    """The meaning of an error, what to do ("" where the error says it), and if a retry is safe."""

    means: str
    do: str
    again: str
    option: str = ""  # for a new run, where resuming with the same parameters fails again
    other: str = ""  # for a new run, where another value may help as well


UNKNOWN = Known(
    "The runbook does not know this error; its text above is all there is.",
    "Read the last cells of the stage below. If they do not help, run the stage with --mode plan: "
    "that changes nothing and shows the state of the cloud.",
    CHECKS,
)


def explain(cause: str, error: str) -> Known:
    """Return the entry for an error's text, or else for the cause of the stop."""
    kind = error.partition(":")[0]
    row = next((row for row in _table()["errors"] if _fits(row, error)), None)
    if row is None:
        row = {} if kind in SAFE else _table()["causes"].get(cause)
    if row is None:
        return UNKNOWN
    again = row.get("again")
    words = {"wait": WAIT, "looks": CHECKS, None: SAFE.get(kind, CHECKS)}
    means, do = row.get("means", ""), row.get("do", "")
    return Known(means, do, words.get(again, again), corrected(error), another(error))


def corrected(error: str) -> str:
    """Return the option that corrects a parameter of which an error tells, "" without one.

    >>> corrected("ParamsError: size: wanted less, found 9"), corrected("with `-p first_number=4`")
    ('-p size=VALUE', '-p first_number=4')
    """
    wrong, better = re.match(r"ParamsError: (\w+): ", error), re.search(r"`(-p \w+=\w+)`", error)
    return better[1] if better else f"-p {wrong[1]}=VALUE" if wrong else ""


def another(error: str) -> str:
    """Return the options for a new run where other values may help as well, "" if they cannot.

    >>> another("found none of that name. Set zone."), another("Refused: busy")
    ('-p zone=VALUE', '')
    >>> another("ParamsError: ssh_key_file x.pub: it cannot be read")  # or that file is mended
    '-p ssh_key_file=VALUE'
    >>> another("NotOne: x\\nNotOne: y"), another("NotOne: x\\nSet zone.\\nor set work_dir.")
    ('-p NAME=VALUE', '-p zone=VALUE -p work_dir=VALUE')
    """
    found = re.findall(r"\b[Ss]et ([a-z_]+)\.|^ParamsError: (\w+) ", error, re.M)
    named = dict.fromkeys(first or second for first, second in found)
    otherwise = "-p NAME=VALUE" if re.search(r"^NotOne\b", error, re.M) else ""
    return " ".join(f"-p {name}=VALUE" for name in named) or otherwise


def _fits(row: dict, error: str) -> bool:
    code = rf"(refused|failed) \(({row['code']})\)" if "code" in row else ""
    return bool(re.search(f"{code}.*({row.get('text', '')})", error, re.I | re.S))


@cache
def _table() -> dict:
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
