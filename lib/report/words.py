"""Marks, colours and times, for pages and for the terminal."""

from collections.abc import Mapping
from datetime import datetime

REHEARSAL = "rehearsal"  # the local cloud; every other profile is a real one
MARKS = {"ok": "✓", "skipped": "–", "not-run": "·", "running": "…"}  # noqa: RUF001
TONES = {"ok": "ok", "running": "warn", "skipped": "off", "not-run": "off"}
COLOURS = {"ok": "green", "warn": "yellow", "bad": "red", "off": "dim"}


def mark(cause: str) -> str:
    """Return the mark of a cause, which prints without colours too."""
    return MARKS.get(cause, "✗")


def tone(cause: str) -> str:
    """Return the CSS class of a cause."""
    return TONES.get(cause, "bad")


def colour(cause: str) -> str:
    """Return the colour of a cause on the terminal."""
    return COLOURS[tone(cause)]


def cloud_of(params: Mapping[str, object]) -> str:
    """Return the profile of a run's cloud, or REHEARSAL."""
    profile = str(params.get("profile") or "")
    return REHEARSAL if profile.partition("?")[0] == "local" else profile


def joined(*parts: object, by: str = ", ") -> str:
    """Return the parts that hold something as one text."""
    return by.join(str(part) for part in parts if part)


def clock(moment: datetime | None, *, seconds: bool = True) -> str:
    """Return a moment in local time as text, "" for none."""
    form = "%Y-%m-%d %H:%M:%S %Z" if seconds else "%Y-%m-%d %H:%M %Z"
    return f"{moment.astimezone():{form}}" if moment else ""
