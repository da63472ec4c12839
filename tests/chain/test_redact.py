import base64
import html
import json
import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import nbformat
import pytest
from nbformat import v4

from lib.chain.forms import forms
from lib.chain.redact import Known, Redactor

SIGNATURE = "tV3y1Kd53/IOALnI9P6r8+iQLnE="
TOKEN = "217d781a5ad5c7c4660bfbbc239bd0c0"
ODD = "p\"a\\ss<w&o>rd'é☃1 $%"
SIGNS = "!?!?++//'&\"<"
VALUES = [SIGNATURE, TOKEN, ODD, SIGNS, "aaaaaaaaaaaa1😀2345", "x_-.--.--.--yz12", "nothing\\new5"]
WAYS = {
    "as it is": str,
    "URL-quoted": lambda v: quote(v, safe=""),
    "URL-quoted, slashes kept": quote,
    "URL-quoted as in forms": quote_plus,
    "URL-quoted in lower case": lambda v: lower_hex(quote(v, safe="")),
    "URL-quoted twice": lambda v: quote(quote(v, safe=""), safe=""),
    "HTML-escaped": html.escape,
    "HTML-escaped twice": lambda v: html.escape(html.escape(v)),
    "as decimal entities": lambda v: entities(v, "&#{};"),
    "as hexadecimal entities": lambda v: entities(v, "&#x{:X};"),
    "in JSON": json.dumps,
    "in JSON with UTF-8": lambda v: json.dumps(v, ensure_ascii=False),
    "in JSON in JSON": lambda v: json.dumps(json.dumps({"a": v})),
    "in JSON in JSON in JSON": lambda v: json.dumps(json.dumps(json.dumps([v]))),
    "in HTML in JSON": lambda v: json.dumps(html.escape(v)),
    "in JSON with escaped slashes": lambda v: json.dumps(v).replace("/", "\\/"),
    "as repr": repr,
    "as repr of bytes": lambda v: repr(v.encode()),
    "as ascii": ascii,
    "as repr of repr": lambda v: repr(repr(v)),
}


def lower_hex(text: str) -> str:
    pieces = text.split("%")
    return "%".join([pieces[0], *(piece[:2].lower() + piece[2:] for piece in pieces[1:])])


def entities(value: str, written: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else written.format(ord(c)) for c in value)


@pytest.fixture
def redactor(tmp_path: Path) -> Iterator[Redactor]:
    with Known.create() as known:
        known.add(VALUES)
        yield Redactor(known)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_masked_however_it_is_written(redactor, value, way):
    quotes = way in ("in JSON", "in JSON with UTF-8", "as repr", "as ascii")
    written = WAYS[way](value)
    masked = redactor.text(f"before {written} after")
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    rest = masked.removeprefix("before ").removesuffix(" after")
    assert rest in ("***", '"***"', "'***'") if quotes else len(rest) < 24
    assert "***" in rest


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes])
@pytest.mark.parametrize("way", ["as it is", "URL-quoted", "in JSON"])
@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_masked_within_base64(redactor, value, way, encode, before):
    written = WAYS[way](value).strip('"')
    text = encode(f"{before * 20}{written} and so on".encode()).decode()
    masked = redactor.text(text)
    left = masked.replace("\n", "").split("***")
    kept = sum(len(part) for part in left)
    assert len(left) == 2
    assert kept <= 4 * (len(before) * 20 + len(" and so on") + 2) // 3 + 6
    assert redactor.text(quote(text, safe="")) != quote(text, safe="")


@pytest.mark.parametrize("value", [SIGNATURE, TOKEN])
def test_colours_and_wrapped_lines_within_a_value_are_looked_through(redactor, value):
    coloured = f"{value[:9]}\x1b[38;5;28;01m{value[9:]}"
    for text in (coloured, f"{value[:9]}\n      {value[9:]}", f"{value[:9]}\r\n{value[9:]}"):
        assert redactor.text(f"a {text} b") == "a *** b"
        assert redactor.text(json.dumps([text, "b"])) == '["***", "b"]'


def test_case_does_not_matter(redactor):
    assert redactor.text(SIGNATURE.lower() + TOKEN.upper()) == "***"


def test_a_value_cut_short_is_masked_when_enough_of_it_is_left(redactor):
    assert redactor.text(f"token {TOKEN[:14]}… of 32") == "token ***… of 32"
    assert redactor.text(f"token {TOKEN[:4]}… of 32") == f"token {TOKEN[:4]}… of 32"


@pytest.mark.parametrize("seed", range(20))
def test_both_ends_of_a_long_key_are_masked_where_its_middle_is_left_out(seed):
    letters = random.Random(seed).choices("abcdefghijkABCDEFGHIJK0123456789_-", k=86)
    key = "".join(letters)
    with Known.create() as known:
        known.add([key])
        redactor = Redactor(known)
        for text in (f"{key[:47]}...", f"...{key[-47:]}", f"{key[:24]}...{key[-24:]}"):
            masked = redactor.text(text)
            assert masked.replace("***", "").strip(".") == ""


def test_a_secret_after_a_backslash_is_no_line_end(redactor):
    assert redactor.text("C:\\nothing\\new5\nmore") == "C:\\***\nmore"
    assert redactor.text(json.dumps("C:\\nothing\\new5\nmore")) == '"C:\\\\***\\nmore"'


def test_short_secrets_count_as_whole_words_only():
    with Known.create() as known:
        known.add(["pW3x9q", "tiny"])
        redactor = Redactor(known)
        assert redactor.text("it is pW3x9q, (pW3x9q) tiny") == "it is ***, (***) tiny"
        assert redactor.text("pW3x9qz and 1pW3x9q") == "pW3x9qz and 1pW3x9q"


def test_each_line_of_a_private_key_is_a_secret():
    begin, end = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
    key = f"{begin}\nMIIabcdef123\nGHIJKL456789\n{end}\n"
    with Known.create() as known:
        known.add([key])
        redactor = Redactor(known)
        assert redactor.text("MIIabcdef123") == "***"
        assert "GHIJKL" not in redactor.text(json.dumps(key))
        assert redactor.text(begin) == begin


def test_what_is_no_secret_stays_as_it_is(redactor):
    text = f"{TOKEN[:10]} {SIGNATURE[:8]} \ud800 é\r\n\x1b[31mred\x1b[0m \\n base64=" * 50
    assert redactor.text(text) is text
    assert redactor.masked == 0


def test_values_are_known_from_the_moment_another_process_adds_them(redactor):
    assert redactor.text("later-added-value") == "later-added-value"
    with redactor.known.path.open("a") as file:
        file.write('"later-add')
        file.flush()
        assert redactor.text("later-added-value") == "later-added-value"
        file.write('ed-value"\n')
    assert redactor.text("later-added-value") == "***"


def test_the_file_of_known_values_is_ours_alone_and_goes():
    with Known.create() as known:
        assert known.path.stat().st_mode & 0o777 == 0o600
        assert known.path.parent.stat().st_mode & 0o777 == 0o700
    assert not known.path.parent.exists()


def test_every_part_of_a_message_is_masked(redactor):
    error = {"ename": "E", "evalue": TOKEN, "traceback": [f"\x1b[31m{TOKEN}\x1b[0m", "line"]}
    table = {"data": {"text/html": f"<td>{html.escape(ODD)}</td>", "application/x": {TOKEN: [1]}}}
    comm = {"comm_id": "c", "data": {"state": {"value": SIGNATURE}}}
    for content in (
        error,
        table | {"metadata": {"k": TOKEN}},
        comm,
        {"name": "stdout", "text": TOKEN},
    ):
        message = redactor.message({"content": content, "buffers": [TOKEN.encode()]})
        shown = repr(message)
        assert not any(value in shown for value in (TOKEN, SIGNATURE, html.escape(ODD)))
        assert "***" in shown
        assert message["buffers"] == [b"***"]
    assert table["data"]["application/x"] == {"***": [1]}


def test_a_value_split_over_flushes_is_masked_where_it_began(redactor):
    texts = ["a " + TOKEN[:5], TOKEN[5:20], TOKEN[20:] + " z", "no more"]
    outputs = [v4.new_output("stream", name="stdout", text=text) for text in texts]
    outputs.insert(1, v4.new_output("stream", name="stderr", text="between"))
    book = v4.new_notebook(cells=[v4.new_code_cell("x", outputs=outputs)])
    assert redactor.notebook(book) is book
    nbformat.validate(book)
    told = [output.text for output in book.cells[0].outputs]
    assert told == ["a ***", "between", "", " z", "no more"]


def test_a_value_split_over_both_streams_is_masked(redactor):
    pieces = [("stdout", f"a {TOKEN[:9]}"), ("stderr", TOKEN[9:20]), ("stdout", f"{TOKEN[20:]} z")]
    outputs = [v4.new_output("stream", name=name, text=text) for name, text in pieces]
    book = redactor.notebook(v4.new_notebook(cells=[v4.new_code_cell("x", outputs=outputs)]))
    assert [output.text for output in book.cells[0].outputs] == ["a ***", "", " z"]


def test_sources_metadata_and_attachments_of_a_notebook_are_masked(redactor):
    cell = v4.new_markdown_cell(f"see {TOKEN}", attachments={"a.txt": {"text/plain": TOKEN}})
    book = v4.new_notebook(cells=[cell], metadata={"papermill": {"parameters": {"p": TOKEN}}})
    redactor.notebook(book)
    nbformat.validate(book)
    assert TOKEN not in nbformat.writes(book)


def test_a_cell_is_looked_at_again_when_it_or_what_is_known_grew(redactor):
    first = v4.new_output("stream", text="later-told-value\n")
    book = redactor.notebook(v4.new_notebook(cells=[v4.new_code_cell("x", outputs=[first])]))
    redactor.known.add(["later-told-value"])
    assert redactor.notebook(book).cells[0].outputs[0].text == "***\n"
    book.cells[0].outputs.append(v4.new_output("stream", text=TOKEN))
    assert redactor.notebook(book).cells[0].outputs[1].text == "***"


def test_a_scan_names_file_and_line_and_never_the_value(redactor, tmp_path):
    book = v4.new_notebook(cells=[v4.new_code_cell("x")])
    book.cells[0].outputs = [v4.new_output("stream", text="line\n" * 9 + SIGNATURE)]
    path = tmp_path / "n.ipynb"
    nbformat.write(book, path)
    (hit,) = redactor.scan(path)
    lines = path.read_text().splitlines()
    assert SIGNATURE in lines[hit.line - 1]
    assert str(hit) == f"n.ipynb, line {hit.line}"
    path.write_bytes(b"\xff\xfe nothing")
    assert redactor.scan(path) == []


def test_a_large_text_is_searched_as_a_small_one_is(redactor):
    line = "a line of a log, and one more\n"
    text = f"{line * 20_000}{TOKEN}\n{line * 20_000}{SIGNATURE[:9]}\n  {SIGNATURE[9:]}\n"
    assert redactor.text(text) == f"{line * 20_000}***\n{line * 20_000}***\n"


def test_forms_of_what_is_too_short_are_none():
    assert forms("12345") == []
    assert forms("") == []
