"""Tables as people see them in notebooks."""

import re

import pandas as pd
import pytest

from lib.record import shown
from lib.tables import table

ID = "49e09ddc-aa3e-4b64-b9f1-0c55c375be1a"
ROWS = [
    {"name": "other", "size": 2**30, "created": "2026-03-04T05:06:07+0000", "id": ID},
    {"name": "our <disk>", "size": 2**31, "isready": True, "tags": [{"key": "runbook"}]},
]


def cells(html: str, tag: str) -> list[str]:
    return re.findall(rf"<{tag}(?: [^>]*)?>(.*?)</{tag}>", html)


def test_a_table_is_for_people():
    html = shown.html(table(ROWS, "name isready size created zonename id"))
    assert cells(html, "th") == ["name", "ready", "size GiB", "created", "zone", "id"]
    assert 'title="zonename"' in html and "onclick" not in html
    ours, other = html.split("<tbody>")[1].split("</tr>")[:2]  # ours first
    assert cells(ours, "td") == ["our &lt;disk&gt;", "yes", "2", "", "", ""]
    assert cells(other, "td")[2] == "1" and cells(other, "td")[-1] == ID
    (when,) = [c for c in cells(other, "td") if c.startswith("2026-03-04")]
    there = pd.Timestamp("2026-03-04T05:06:07Z").to_pydatetime().astimezone()
    assert when == f"{there:%Y-%m-%d %H:%M:%S %Z}" and 'title="2026-03-04 05:06:07 UTC"' in other
    assert other.count("white-space:nowrap") == 6 and other.count("text-align:right") == 1


def test_many_rows_sort_and_those_left_out_are_counted():
    html = shown.html(pd.DataFrame({"n": range(300)}).sort_values("n", ascending=False))
    assert "click to sort" in html and "onclick" in html
    with pd.option_context("display.max_rows", 200):
        assert "<p>100 more rows are not shown.</p>" in shown.html(pd.DataFrame({"n": range(300)}))
    assert "<p>no rows</p>" in shown.html(table([], "name id"))
    assert cells(shown.html(pd.DataFrame({"a": [1]}, index=["x"])), "td") == ["x", "1"]


@pytest.mark.parametrize(
    "columns, message",
    [
        ("name id", ""),
        ("nam", "No row has a column nam. Did you mean name?\n"),
        ("isredy", "No row has a column isredy. Did you mean isready?\n"),
        ("volumename hosttags xyz", ""),  # of rows that lack what others have
    ],
)
def test_a_misspelt_column_is_reported_with_the_nearest(columns, message, capsys):
    table(ROWS, columns)
    assert capsys.readouterr().out == message


def test_a_table_of_answers_is_a_map_by_its_colours():
    row = {"machine": "a", "up": "✓", "etcd": "✗ no answer", "image": "…", "user": "-", "n": "-x"}
    found = re.findall(r"<td([^>]*)>", shown.html(pd.DataFrame([row])))
    tints = [style.partition("background:")[2].rstrip('"') for style in found]
    assert tints == ["", *(shown.TINTS[sign] for sign in "✓✗…-"), ""]
