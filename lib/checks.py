"""Checks: say what was found, and stop with what to do next when it is not what is wanted."""

import pandas as pd

from lib.errors import CheckFailed

LATER = "…"


def check(what: str, found: object, wanted: object = True, next_step: str = "") -> None:
    """Print that `found` is as wanted; raise CheckFailed when it is not."""
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


def tick(what: str, wanted: object, found: object, ok: bool | None, next_step: str = "") -> dict:
    """Return one row for `ticks`; with None for `ok` it could not be asked, and has a dash."""
    return {
        "ok": "-" if ok is None else "✓" if ok else "✗",
        "what": what,
        "wanted": str(wanted),
        "found": str(found),
        "next": "" if ok else next_step,
    }


def later(what: str, wanted: object, found: object, next_step: str) -> dict:
    """Return a row for `ticks` of what an earlier stage has yet to bring about."""
    return tick(what, wanted, found, False, next_step) | {"ok": LATER}


def not_allowed(command: str) -> str:
    """Say in a row that its question was refused."""
    return f"not known: this account may not call {command}"


def ticks(rows: list[dict]) -> pd.DataFrame:
    """Return the table of ticks made by `tick`."""
    return pd.DataFrame(rows, columns=["ok", "what", "wanted", "found", "next"])


def check_ticks(rows: list[dict], mode: str = "apply") -> None:
    """Raise CheckFailed naming every row that is wrong, or print how many rows hold.

    What is not there yet is wrong in apply mode only: in plan mode its stage may not have run.
    """
    missing = [r for r in rows if r["ok"] == LATER]
    bad = [r for r in rows if r["ok"] == "✗"] + (missing if mode == "apply" else [])
    if bad:
        listed = "\n".join(
            f"  {r['what']}: wanted {r['wanted']}, found {r['found']}. {r['next']}" for r in bad
        )
        raise CheckFailed("the checks", "all ✓", f"{len(bad)} of {len(rows)} not:\n{listed}")
    if missing:
        return print(f"… {len(missing)} of {len(rows)} are not there yet; nothing is wrong")
    asked = [r for r in rows if r["ok"] == "✓"]
    left = f"; {len(rows) - len(asked)} could not be asked" if len(asked) < len(rows) else ""
    print(f"✓ all {len(asked)} are as wanted{left}")
