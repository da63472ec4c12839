"""Pages that are compared as a whole, after their markup is stripped."""

import os
import re
import time
from html import unescape
from pathlib import Path

import pytest

PAGES = Path(__file__).with_name("pages")


def words_of(html):
    """Return the text of a page, a line for each block, links before their texts."""
    html = re.sub(r"<style>.*?</style>", "", html, flags=re.S)
    html = re.sub(r'<a [^>]*?href="([^"]*)"[^>]*>', r"[\1] ", html)
    html = re.sub(r"\s+|</?(a|b|br|code|em|small|span|td|th)\b[^>]*>", " ", html)
    lines = unescape(re.sub(r"<[^>]+>", "\n", html)).split("\n")
    return "\n".join(filter(None, (" ".join(line.split()) for line in lines))) + "\n"


@pytest.fixture(scope="session")
def words():
    return words_of


@pytest.fixture
def reads_as(tmp_path, monkeypatch):
    """Return a check that a page made in UTC reads as the file pages/NAME.txt.

    RUNBOOK_WRITE_PAGES=1 rewrites these files; read the diff then.
    """

    def check(name, make):
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "UTC")
            time.tzset()
            text = words_of(make()).replace(str(tmp_path), "RUNS")
        time.tzset()
        expected = PAGES / f"{name}.txt"
        if os.environ.get("RUNBOOK_WRITE_PAGES"):
            expected.write_text(text, "utf-8")
        assert text == expected.read_text("utf-8")

    return check
