"""Checks: print what is found, and stop with what to do next when something else is wanted."""

from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO

import pandas as pd

from lib.errors import CheckFailed, NotOne, ParamsError, RunbookError

LATER = "…"
NOT_ASKED = "could not be asked"


def check(what: str, found: object, wanted: object = True, next_step: str = "") -> None:
    """Print what is found; raise CheckFailed when that is not `wanted`."""
    if found != wanted:
        raise CheckFailed(what, _short(wanted), _short(found), next_step)
    print(f"✓ {what}: {_short(found)}")


def _short(value: object) -> str:
    """Say a value in a few words: a plan by its steps, the rest as it is."""
    if value is True:
        return "yes"
    if isinstance(value, list) and (not value or hasattr(value[0], "why")):
        return "; ".join(f"{s.command} {s.what}" for s in value) or "nothing"
    return str(value)


@dataclass(frozen=True)
class Tick:
    """What one question found, beside what is wanted.

    `ok` is a sign: ✓ holds; ✗ is wrong, and `next` gives the next step; … (LATER) is not there
    yet; a dash could not be asked. `of` names the machine that the question is about, if it is.
    """

    ok: str
    what: str
    wanted: str
    found: str
    next: str = ""
    of: str = ""

    @property
    def title(self) -> str:
        """The question with the machine."""
        return f"{self.what} of {self.of}" if self.of else self.what

    def __str__(self) -> str:
        found = self.found.rstrip(".")
        return f"{self.title}: wanted {self.wanted}, found {found}. {self.next}".rstrip()


def tick(
    what: str, wanted: object, found: object, ok: bool | None, next_step: str = "", of: str = ""
) -> Tick:
    """Return a row for `ticks`; None for `ok` says that it could not be asked."""
    sign = "-" if ok is None else "✓" if ok else "✗"
    return Tick(sign, what, str(wanted), str(found), "" if ok else next_step, of)


def later(what: str, wanted: object, found: object, next_step: str, of: str = "") -> Tick:
    """Return a row for `ticks` on what an earlier stage has yet to bring about."""
    return Tick(LATER, what, str(wanted), str(found), next_step, of)


def asked(what: str, look: Callable[..., object], *args: object, **more: object) -> list[Tick]:
    """Return a row with what `look` returns or prints, or with a ✗ and the error that it raises.

    Where it returns rows they are the answer.
    """
    try:
        with redirect_stdout(StringIO()) as printed:
            found = look(*args, **more)
    except RunbookError as error:
        return [_failed(what, error)]
    if isinstance(found, list) and all(isinstance(row, Tick) for row in found):
        return found
    text = printed.getvalue().strip().removeprefix("✓ ") if found is None else found
    return [tick(what, "usable", text, True)]


def _failed(what: str, error: RunbookError) -> Tick:
    """Return the row of an error, with what it expected and what to do next where it says so."""
    if isinstance(error, NotOne):
        if error.kind == "zone":  # which has a row of its own
            return tick(what, "usable", "not asked: no such zone", None)
        return tick(what, *error.sides, False, error.next_step)
    if isinstance(error, ParamsError):
        name = error.name.partition(" ")[0]
        what = error.name if name == what else what  # a file's name follows the parameter's
        found = error.got if error.got is not None else error.text or error
        return tick(
            what, error.wanted or "usable", "none" if found == "" else found, False, f"Set {name}."
        )
    if isinstance(error, CheckFailed) and not error.text:
        wanted = error.wanted if error.what == what else f"{error.what}: {error.wanted}"
        return tick(what, wanted, error.got, False, error.next_step)
    text = getattr(error, "text", "") or str(error)
    next_step = getattr(error, "next_step", "")
    return tick(what, "usable", text, False, next_step if next_step not in text else "")


def not_allowed(command: str) -> str:
    """Say in a row that its question was refused."""
    return f"not known: this account may not call {command}"


def ticks(rows: list[Tick]) -> pd.DataFrame:
    """Return the rows as a table."""
    cells = [(r.ok, r.title, r.wanted, r.found, r.next) for r in rows]
    return pd.DataFrame(cells, columns=["ok", "what", "wanted", "found", "next"])


def check_ticks(rows: list[Tick], mode: str = "apply") -> None:
    """Raise CheckFailed naming every row that is wrong, or print how many rows hold.

    What is not there yet is wrong in apply mode only: in plan mode its stage may not have run.
    """
    missing = [r for r in rows if r.ok == LATER]
    bad = [r for r in rows if r.ok == "✗"] + (missing if mode == "apply" else [])
    if bad:
        listed = "\n".join(f"  {r}" for r in bad)
        raise CheckFailed("the checks", "all ✓", f"{len(bad)} of {len(rows)} not:\n{listed}")
    if missing:
        return print(f"… {len(missing)} of {len(rows)} are not there yet; nothing is wrong")
    asked = [r for r in rows if r.ok == "✓"]
    left = f"; {len(rows) - len(asked)} could not be asked" if len(asked) < len(rows) else ""
    print(f"✓ all {len(asked)} are as expected{left}")
