"""Checks: say what was found, and stop with what to do next when it is not what is wanted."""

import pandas as pd

from lib.errors import CheckFailed


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


def not_allowed(command: str) -> str:
    """Say in a row that its question was refused."""
    return f"not known: this account may not call {command}"


def ticks(rows: list[dict]) -> pd.DataFrame:
    """Return the table of ticks made by `tick`."""
    return pd.DataFrame(rows, columns=["ok", "what", "wanted", "found", "next"])


def check_ticks(rows: list[dict], mode: str = "apply") -> None:
    """Raise CheckFailed naming every row that is not as wanted, or print how many there are.

    In plan mode they are only told: what makes them right may not have run yet.
    """
    bad = [r for r in rows if r["ok"] == "✗"]
    if bad and mode == "plan":
        return print(f"plan mode: {len(bad)} of {len(rows)} not as wanted yet")
    if bad:
        listed = "\n".join(
            f"  {r['what']}: wanted {r['wanted']}, found {r['found']}. {r['next']}" for r in bad
        )
        raise CheckFailed("the checks", "all ✓", f"{len(bad)} of {len(rows)} not:\n{listed}")
    asked = [r for r in rows if r["ok"] == "✓"]
    left = f"; {len(rows) - len(asked)} could not be asked" if len(asked) < len(rows) else ""
    print(f"✓ all {len(asked)} are as wanted{left}")
