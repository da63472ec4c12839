"""Words: how causes and moments are said, on pages and on the terminal."""

from datetime import datetime

MARKS = {"ok": "✓", "skipped": "–", "not-run": "·", "running": "…"}  # noqa: RUF001
TONES = {"ok": "ok", "running": "warn", "skipped": "off", "not-run": "off"}
COLOURS = {"ok": "green", "warn": "yellow", "bad": "red", "off": "dim"}


def mark(cause: str) -> str:
    """Return the sign of a cause; a colour alone tells nothing in print."""
    return MARKS.get(cause, "✗")


def tone(cause: str) -> str:
    """Return the class by which pages colour a cause."""
    return TONES.get(cause, "bad")


def colour(cause: str) -> str:
    """Return the style in which the terminal shows a cause."""
    return COLOURS[tone(cause)]


def clock(moment: datetime | None, *, seconds: bool = True) -> str:
    """Say a moment in local time, "" for none."""
    form = "%Y-%m-%d %H:%M:%S %Z" if seconds else "%Y-%m-%d %H:%M %Z"
    return f"{moment.astimezone():{form}}" if moment else ""
