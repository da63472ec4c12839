"""Words: how durations and moments are said, on pages and on the terminal."""

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


def span(seconds: float) -> str:
    """Say a duration as people do.

    >>> span(4.21), span(59.97), span(190), span(7300)
    ('4.2 s', '1m00s', '3m10s', '2h01m')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"


def clock(moment: datetime | None, *, seconds: bool = True) -> str:
    """Say a moment in local time, "" for none."""
    form = "%Y-%m-%d %H:%M:%S %Z" if seconds else "%Y-%m-%d %H:%M %Z"
    return f"{moment.astimezone():{form}}" if moment else ""
