"""Secrets are found and masked in every form that the README names, wherever they stand."""

import base64
import csv
import html
import io
import json
import quopri
import random
import shlex
from itertools import product
from urllib.parse import quote, quote_plus

import pytest

from lib.record.search import Search

TOKEN = "217d781a5ad5c7c4660bfbbc239bd0c0"
SECRETS = {
    "token": TOKEN,
    "key": "q8-Rk_" * 14 + "zZ",
    "signature": "tV3y1Kd53/IOALnI9P6r8+iQLnE=",
    "odd": "p\"a\\ss<w&o>rd'é☃1 $%",
    "signs": "!?!?++//'&\"<",
    "emoji": "aaaaaaaaaaaa1😀2345",
    "line end": "nothing\\new5",
    "not ASCII": "Sommer2024Zürich",
    "with a quote": "it's-4-secret",
    "six": "pW3x9q",
}


def each_byte(written: str):
    return lambda v: "".join(written.format(byte) for byte in v.encode())


def each_character(written: str):
    return lambda v: "".join(written.format(ord(char)) for char in v)


def quote_all(v: str) -> str:
    return "".join(chr(b) if chr(b).isalnum() and b < 128 else f"%{b:02X}" for b in v.encode())


def utf16_escapes(v: str) -> str:
    raw = v.encode("utf-16-be")
    return "".join(f"\\u{raw[at]:02X}{raw[at + 1]:02X}" for at in range(0, len(raw), 2))


def csv_row(v: str) -> str:
    file = io.StringIO()
    csv.writer(file).writerow([1, v])
    return file.getvalue()


def in_base64(before: str, encode=base64.b64encode, encoding="utf-8"):
    return lambda v: encode(f"{before}{v}, and more".encode(encoding)).decode()


QUOTED = {
    "as it is": str,
    "URL": lambda v: quote(v, safe=""),
    "URL with slashes": quote,
    "URL of a form": quote_plus,
    "encodeURIComponent": lambda v: quote(v, safe="!'()*"),
    "HTML": html.escape,
    "HTML of Jinja": lambda v: html.escape(v).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    "JSON": json.dumps,
    "JSON in UTF-8": lambda v: json.dumps(v, ensure_ascii=False),
    "repr": repr,
    "repr of bytes": lambda v: repr(v.encode()),
    "ascii": ascii,
    "shell": shlex.quote,
    "CSV": csv_row,
    "SQL": lambda v: "insert '" + v.replace("'", "''") + "'",
    "URL, all but letters": quote_all,
    "upper case": str.upper,
}
DEEPER = {
    "URL twice": lambda v: quote(quote(v, safe=""), safe=""),
    "HTML twice": lambda v: html.escape(html.escape(v)),
    "JSON twice": lambda v: json.dumps(json.dumps({"a": v})),
    "JSON of PHP": lambda v: json.dumps(v).replace("/", "\\/"),
    "repr of repr": lambda v: repr(repr(v)),
    "quoted-printable": lambda v: quopri.encodestring(f"{'x' * 60} {v}".encode()).decode(),
    "hex": lambda v: v.encode().hex(),
    "HEX with colons": lambda v: v.encode().hex(":").upper(),
    "hex with blanks": lambda v: v.encode().hex(" "),
    r"\x": each_byte("\\x{:02x}"),
    "%": each_byte("%{:02X}"),
    "=": each_byte("={:02X}"),
    "octal": each_byte("\\{:03o}"),
    "octal of echo": each_byte("\\0{:03o}"),
    "&#": each_character("&#{};"),
    "&#x": each_character("&#x{:X};"),
    r"\u": utf16_escapes,
    "base64": in_base64(""),
    "base64 after one": in_base64("x"),
    "base64 after two": in_base64("xy"),
    "base64 for URLs": in_base64("xy", base64.urlsafe_b64encode),
    "base64 wrapped": in_base64("x" * 62, base64.encodebytes),
    "base64 of UTF-16": in_base64("x", encoding="utf-16-le"),
    "base64 of UTF-16, big-endian": in_base64("xy", encoding="utf-16-be"),
    "base64 in a URL": lambda v: quote(in_base64("")(v), safe=""),
}
WAYS = QUOTED | DEEPER
PLACES = {
    "alone": lambda text: text,
    "between words": lambda text: f"before {text} after",
    "after a sign": lambda text: f"key={text}&",
    "in a line of JSON": lambda text: json.dumps({"a": ["x", f"one\n{text}\nthree\\"]}),
    "in a page": lambda text: f"<td>{html.escape(text)}</td>",
    "coloured": lambda text: f"\x1b[31m{text}\x1b[0m",
    "in a URL": lambda text: f"http://x/?a={quote(text, safe='')}&b=c",
    "twice": lambda text: f"{text} {text}",
}
# A letter that is not ASCII is another one in upper case; deeper quoting in URLs is not looked for.
UNLIKE = {("upper case", name, place) for name in ("odd", "not ASCII") for place in PLACES}
UNLIKE |= {(way, name, "in a URL") for way in DEEPER for name in SECRETS}


@pytest.fixture(scope="module")
def searches() -> dict[str, Search]:
    return {name: Search([secret]) for name, secret in SECRETS.items()}


@pytest.mark.parametrize("way", WAYS)
def test_secrets_are_masked_in_every_form_and_place(searches, way):
    write, left = WAYS[way], []
    for name, place in product(SECRETS, PLACES):
        if (way, name, place) in UNLIKE:
            continue
        masked = searches[name].text(PLACES[place](write(SECRETS[name])))
        rest = len(masked) - len(PLACES[place](write("")))  # quotes, and the edges of base64
        if "***" not in masked or rest > 16 * masked.count("***"):
            left.append((name, place, masked))
    assert left == []


@pytest.mark.parametrize("name", ["token", "key", "signature"])
def test_line_ends_and_colours_within_a_secret_are_looked_through(searches, name):
    secret = SECRETS[name]
    for joint in ("\x1b[38;5;28;01m", "\n      ", "\r\n"):
        text = f"a {secret[:9]}{joint}{secret[9:]} b"
        assert searches[name].text(text) == "a *** b"
        assert searches[name].text(json.dumps([text, "b"])) == '["a *** b", "b"]'


def test_only_the_secret_is_masked(searches):
    assert searches["token"].text(f"at {TOKEN}, {TOKEN.upper()}!") == "at ***, ***!"
    assert searches["line end"].text("C:\\nothing\\new5\nmore") == "C:\\***\nmore"
    assert searches["odd"].text(json.dumps(["é", SECRETS["odd"], 1])) == '["\\u00e9", "***", 1]'


@pytest.mark.parametrize("text", ["Sommer2024Zörich", "Sommer2024Z", "Sommer2024Z\ud83d", "é☃" * 9])
def test_a_text_that_resembles_a_secret_stays_as_it_is(searches, text):
    assert searches["not ASCII"].text(text) == text
    assert searches["odd"].text(text) == text


def test_text_without_secrets_is_unchanged():
    search = Search(SECRETS.values())
    text = f"{TOKEN[:10]} \ud800 é\r\n\x1b[31mred\x1b[0m \\n base64= %41 &amp; \\x41" * 50
    assert search.text(text) == text
    assert Search([]).text(TOKEN) == TOKEN
    assert Search(["", "12345"]).spans(b"12345") == []


def test_random_bytes_are_no_secrets():
    noise = base64.b64encode(random.Random(1).randbytes(3_000_000))
    assert Search(SECRETS.values()).spans(noise) == []


def test_a_long_key_that_was_cut_short_is_masked_but_for_some_characters(searches):
    key = SECRETS["key"]
    for text in (f"{key[:47]}…", f"{key[:24]}...", f"…{key[-47:]}"):
        assert len(searches["key"].text(text).replace("***", "")) < 20


def test_short_secrets_count_as_whole_words_only(searches):
    masked = searches["six"].text("it is pW3x9q, (pW3x9q) tiny\\npW3x9q")
    assert masked == "it is ***, (***) tiny\\n***"
    assert searches["six"].text("pW3x9qz and 1pW3x9q") == "pW3x9qz and 1pW3x9q"


def test_each_line_of_a_private_key_is_a_secret():
    begin, end = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
    key = f"{begin}\nMIIabcdef123\nGHIJKL456789\n{end}\n"
    search = Search([key])
    assert search.text("MIIabcdef123") == "***"
    assert "GHIJKL" not in search.text(json.dumps(key))
    assert search.text(begin) == begin


def test_a_secret_in_a_large_text_is_found_where_it_stands():
    line = "a line of a log, and one more\n"
    text = f"{line * 20_000}{TOKEN}\n{line * 20_000}{TOKEN[:9]}\n  {TOKEN[9:]}\n"
    assert Search([TOKEN]).text(text) == f"{line * 20_000}***\n{line * 20_000}***\n"
