import nbformat
import pandas as pd
import pytest
from folders import book, printed, shown
from nbformat import v4

from lib.record import reading, whole
from lib.tables import changes, table

ROWS = [
    {"name": "disk", "size": 5 << 30, "created": "2026-11-23T20:38:16+0100", "id": "0042"},
    {"name": "root", "size": 80 << 30, "deviceid": 0, "id": "7"},
]


def saved(tmp_path, **cells):
    return reading.tables(book(tmp_path, "10-one", **cells))


def test_a_table_comes_back_as_it_was(tmp_path):
    before = table(ROWS, "name size deviceid created id")
    back = saved(tmp_path, before=[shown(before)])["before"]
    assert [str(t) for t in back.dtypes][:3] == ["str", "float64", "Int64"]
    pd.testing.assert_frame_equal(back, before, check_dtype=False)


def test_times_come_back_with_their_zone_and_ids_as_text(tmp_path):
    back = saved(tmp_path, before=[shown(table(ROWS, "created id"))])["before"]
    assert back["created"][0] == pd.Timestamp("2026-11-23T19:38:16Z")
    assert str(back["created"].dt.tz) == "UTC"
    assert pd.isna(back["created"][1])
    assert list(back["id"]) == ["0042", "7"]


def test_all_types_that_pandas_writes_come_back(tmp_path):
    frame = pd.DataFrame(
        {
            "whole": [1, 2],
            "gaps": pd.array([1, None], dtype="Int64"),
            "part": [0.5, None],
            "truth": [True, False],
            "doubt": pd.array([True, None], dtype="boolean"),
            "kind": pd.Categorical(["a", "b"], ["b", "a"], ordered=True),
            "when": pd.to_datetime(["2026-01-01", "2026-01-02"]),
            "tokyo": pd.to_datetime(["2026-01-01", "2026-01-02"]).tz_localize("Asia/Tokyo"),
            "took": pd.to_timedelta(["1h", "2s"]),
        },
        index=pd.Index(["x", "y"], name="key"),
    )
    back = saved(tmp_path, after=[shown(frame)])["after"]
    pd.testing.assert_frame_equal(back, frame, check_dtype=False, check_index_type=False)


def test_an_empty_table_keeps_its_columns(tmp_path):
    back = saved(tmp_path, before=[shown(table([], "name size id"))])["before"]
    assert list(back) == ["name", "size GiB", "id"]
    assert len(back) == 0


def test_tables_are_found_by_cell_and_know_their_heading(tmp_path):
    one, two = shown(table(ROWS, "name")), shown(table(ROWS, "id"))
    found = saved(tmp_path, before=[one, printed("words\n"), two], after=[one])
    assert list(found) == ["before", "before.2", "after"]
    assert found["before.2"].attrs == {"cell": "before", "heading": "Before"}


def test_a_table_that_was_cut_short_has_its_full_length(tmp_path):
    output = shown(pd.DataFrame({"n": range(3)}))
    output["data"]["text/plain"] += "\n\n[250 rows x 1 columns]"
    assert saved(tmp_path, before=[output])["before"].attrs["rows"] == 250


def test_an_output_whose_data_were_masked_is_no_table(tmp_path):
    output = v4.new_output("display_data", {reading.MIME: "***", "text/plain": "***"})
    assert saved(tmp_path, before=[output]) == {}


def test_a_masked_value_leaves_its_column_as_text(tmp_path):
    output = shown(table(ROWS, "name deviceid created"))
    output["data"][reading.MIME]["data"][1] |= {"deviceid": "***", "created": "***"}
    back = saved(tmp_path, before=[output])["before"]
    assert back["deviceid"].tolist() == [None, "***"]
    assert back["created"].tolist()[1] == "***"


def test_a_notebook_without_cell_ids_is_read_too(tmp_path):
    path = book(tmp_path, "10-one", before=[shown(table(ROWS, "name"))])
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        del cell["id"]
    notebook.nbformat_minor = 4
    nbformat.write(notebook, path)
    assert len(reading.tables(path)) == 1


def test_a_difference_shows_what_is_new_changed_and_gone():
    before = pd.DataFrame({"name": ["a", "b"], "state": ["Ready", "Ready"], "id": ["1", "2"]})
    after = pd.DataFrame({"name": ["a", "c"], "state": ["Gone", "New"], "id": ["1", "3"]})
    assert reading.difference(before, after).values.tolist() == [
        ["new", "c", "3", "state New"],
        ["changed", "a", "1", "state: Ready → Gone"],
        ["gone", "b", "2", "state Ready"],
    ]


def test_rows_without_ids_are_compared_by_their_first_column():
    before = pd.DataFrame({"path": ["/dev/vda"], "fstype": [""]})
    after = pd.DataFrame({"path": ["/dev/vda", "/dev/vdb"], "fstype": ["ext4", ""]})
    found = reading.difference(before, after)
    assert found["name"].tolist() == ["/dev/vdb", "/dev/vda"]
    assert found["details"].tolist() == ["", "fstype: none → ext4"]


def test_equal_tables_do_not_differ_though_a_template_is_listed_once_a_zone():
    one = pd.DataFrame({"name": ["t", "t"], "zone": ["a", "b"], "id": ["1", "1"]})
    for equal in (one, table([], "name id")):
        assert len(reading.difference(equal, equal)) == 0


def test_the_changes_between_equal_tables_are_one_row_that_says_so():
    one = table([{"name": "a", "id": "1"}], "name id")
    assert changes(one, one).values.tolist() == [["none", "", "", "nothing changed"]]
    assert changes(table([], "name id"), one).values.tolist() == [["new", "a", "1", ""]]


LARGE = f"a: 1{':00' * 200}.5"  # a number of base 60


@pytest.mark.parametrize(
    "text",
    ["[", "a: 2026-99-99", 'a: !!int ""', "a: !!bool x", "a: !!timestamp x", "[" * 9999, LARGE],
)
def test_each_text_that_is_no_yaml_is_refused_in_one_way(text):
    with pytest.raises(ValueError, match=r"^not YAML: "):
        whole.from_yaml(text)
