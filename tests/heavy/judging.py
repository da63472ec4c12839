"""What is a fault, and how a text or a file is damaged by chance."""

import contextlib
import io
import json
import random
import re
from collections.abc import Callable, Iterator

from lib.commands.main import main

# Errors of Python and its library that no operator should have to read.
RAW = re.compile(
    r"Traceback \(most recent|\b(Key|Type|Value|Attribute|Index|Unicode\w*|Recursion|Overflow|Name|"
    r"Assertion|JSONDecode|NotJSON|Validation|Database|Memory)Error\b|'NoneType'|has no attribute"
)
NASTY = [
    *("", "null", "[]", "{}", "true", "NaN", "-1", "0", "1e999", "9" * 40, '"', "'", "\\", "%s"),
    *("\0", "\r\n", "\n", "\t", "\x1b[31m\x07", "\u202e", "\ufeff", "\ud800", "\xff\xfe", "é"),
    *("[" * 2000, '{"a":' * 2000, "x" * 20_000, "../../etc/passwd", "/dev/zero", "$(id)", "; id"),
    *("x'$(id)'", "<script>", "&amp;", "!!python/object:os.system", "*a", "&a", "---", "? ", "- "),
    *("2014-13-45", "22:22", "012", "0x1f", "no", "~", "1_000", ".inf", "-", "--mode", "=", ":"),
]


class Fault(Exception):
    """A case found a fault: its text says which."""


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return data with one to three changes: cut, doubled, removed, zeroed, replaced, flipped."""
    for _ in range(chance.randint(1, 3)):
        start = chance.randint(0, len(data))
        end = min(len(data), start + int(chance.expovariate(1 / 20)))
        nasty = chance.choice(NASTY).encode("utf-8", "surrogatepass")
        way = chance.randrange(7)
        if way == 0:
            data = data[:start]
        elif way == 1:
            data = data[:end] + data[start:]
        elif way == 2:
            data = data[:start] + data[end:]
        elif way == 3:
            data = data[:start] + bytes(end - start) + data[end:]
        elif way == 4 and start < len(data):
            data = (
                data[:start] + bytes([data[start] ^ 1 << chance.randrange(8)]) + data[start + 1 :]
            )
        else:
            data = data[:start] + nasty + data[end if way == 5 else start :]
    return data


def damaged(data: bytes, how: list) -> bytes:
    """Return what a crash, a full disk or a person leaves of a file; `how` is from `damage`."""
    kind, at = how
    if kind in ("mutated", "field"):
        return (mutated if kind == "mutated" else _other_field)(data, random.Random(at))
    cut = at if kind == "at" else int(at * len(data))
    ends = {
        "cut": b"",
        "at": b"",
        "zeros": bytes(len(data) - cut),
        "null": b"null",
        "list": b"[]\n",
    }
    return ends[kind] if kind in ("null", "list") else data[:cut] + ends[kind]


def _other_field(data: bytes, chance: random.Random) -> bytes:
    """Return JSON, or lines of it, with one field of an object taken away or of another type."""
    whole = _object(data)
    lines = [data] if whole else data.split(b"\n")
    places = [n for n, line in enumerate(lines) if _object(line)]
    if not places:
        return data
    place = chance.choice(places)
    row = _object(lines[place])
    name = chance.choice([*row])
    old, new = row.pop(name), chance.choice([None, 5, "x", [], {}, [5], {"a": 5}, ...])
    if new is not ...:
        row[name] = new if type(new) is not type(old) else None
    lines[place] = json.dumps(row).encode()
    return b"\n".join(lines)


def _object(text: bytes) -> dict:
    try:
        row = json.loads(text)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def damage(chance: random.Random) -> list:
    """Return a way to damage a file, as plain data."""
    kinds = ["cut", "cut", "cut", "zeros", "mutated", "mutated", "field", "field", "null", "list"]
    kind = chance.choice(kinds)
    seeded = kind in ("mutated", "field")
    return [kind, chance.randrange(10**9) if seeded else round(chance.random(), 6)]


def demand_clean(text: str, secrets: list[str]) -> None:
    """Raise Fault where an output holds a raw Python error, a control character or a secret."""
    if found := RAW.search(text):
        line = text[text.rfind("\n", 0, found.start()) + 1 :].partition("\n")[0]
        raise Fault(f"raw error {found[0]}: {line[:300]}")
    if found := re.search(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202e]", text):
        raise Fault(f"control character {found[0]!r}: {text[max(0, found.start() - 80) :][:160]!r}")
    if any(secret in text for secret in secrets):
        raise Fault("a secret in the output")


def ran(*words: str) -> tuple[int, str]:
    """Run a command in this process; return its exit code and what it printed."""
    with printed() as output:
        code = main(words)
    return code, output()


@contextlib.contextmanager
def printed() -> Iterator[Callable[[], str]]:
    """Catch what is printed in the block; give a function that returns it."""
    file = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")
    with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        yield lambda: (file.flush(), file.buffer.getvalue().decode())[1]
