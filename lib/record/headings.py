"""What people call the fields of CloudStack's answers, and how values read in a table."""

import json
from datetime import datetime
from pathlib import Path

import pandas as pd

from lib.record import reading

# The words for fields; the field itself shows on hover.
HEADINGS = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
WORDS = {"True": "yes", "False": "no"}


def local(value: object) -> str:
    """Return a value as a person here would write it: times in local time with its zone."""
    text = reading.text(value)
    if isinstance(value, datetime) and text:
        return f"{pd.Timestamp(value).to_pydatetime().astimezone():%Y-%m-%d %H:%M:%S %Z}"
    return WORDS.get(text, text)
