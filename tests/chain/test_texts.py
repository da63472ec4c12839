"""The texts of reports and of the terminal, in English and in Japanese."""

import ast
import re
from pathlib import Path

import pytest

from lib.chain.results import Result, Run
from lib.chain.summary import sentence
from lib.record import texts
from lib.report import index

LIB = Path(texts.__file__).parent.parent
# Texts that reach the table by a name: facts of the first page, columns, and what a run did.
NAMED = set(index.HEAD) | {"failed"}


def strings(node):
    """Return the literal texts in a piece of code; what has a low line is a name."""
    found = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
    return {text for text in found if isinstance(text, str) and "_" not in text}


def asked():
    """Return the literal texts that are given to `translated`, or to `t` in a template."""
    found = set()
    for path in LIB.rglob("*.py"):
        calls = (n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call))
        for call in calls:
            if getattr(call.func, "id", "") == "translated":
                found |= strings(call.args[0])
    for path in LIB.rglob("*.j2"):
        found |= set(re.findall(r'\bt\("([^"]+)"', path.read_text("utf-8")))
    return found


def literals():
    """Return the literal texts of modules that show some, and the templates."""
    modules = [p.read_text("utf-8") for p in LIB.rglob("*.py")]
    found = set().union(*(strings(ast.parse(m)) for m in modules if "translated" in m))
    return found, "".join(p.read_text("utf-8") for p in LIB.rglob("*.j2"))


def test_every_text_has_a_japanese_one_and_none_is_left_over():
    known = set(texts.table())
    assert asked() - known == set()
    code, pages = literals()
    assert [text for text in known - code - NAMED if f'"{text}"' not in pages] == []


def test_a_japanese_text_takes_the_same_values_as_the_english_one():
    for english, japanese in texts.table().items():
        values = [f"<{n}>" for n in range(english.count("{}"))]
        shown = japanese.format(*values)
        assert all(shown.count(value) == 1 for value in values), english
        assert "{" not in shown, english


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "ja_JP.eucJP", "LC_MESSAGES": "C"}, "en"),
        ({"LANG": "C.UTF-8", "LC_ALL": "ja_JP.SJIS"}, "ja"),
        ({"LANG": "ja_JP.UTF-8", "LC_ALL": ""}, "ja"),
        ({}, "en"),
    ],
)
def test_the_language_is_that_of_the_locale(environment, expected, monkeypatch):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert texts.language() == expected


def test_the_terminal_ends_in_japanese(monkeypatch):
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    run = Run(Path("x"), [Result("10-create", "ok", 1.2), Result("20-write", "failed", 1)])
    assert sentence(run) == "2.2 s で終了: 20-write failed。2 ステージ中 1 が成功。"
