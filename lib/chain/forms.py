"""Forms: all the ways in which a secret may be written, and how each is found in bytes.

What survives every escaping is a run of letters and digits. So of each way of writing, one such run
is the *needle*, which is searched for; around it stands the rest, each character as itself or
escaped for URLs, HTML, JSON or Python, any number of times. Case never matters.
"""

import base64
import html.entities
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

SHORTEST = 6  # characters of a secret
WHOLE_WORD = 8  # what is shorter counts only where no letter or digit adjoins
LEAST = 4  # characters of a needle; without one, all ways are looked for at once
NEEDLE = 8  # characters of a needle at most
SURE = 12  # so many characters from the needle on are a secret's, whatever is around them
LONG = 32  # characters of a secret that may be shown cut short; needles at ENDS find it then, too
ENDS = (slice(16), slice(-16, None))
WIDEST = 24  # bytes that one escaped character may take
_NAMES: dict[str, list[str]] = {}
for _name, _char in html.entities.html5.items():
    _NAMES.setdefault(_char, []).append(_name.lower().rstrip(";"))


@dataclass
class Form:
    """A text to be found, all in lower case, and the needle at `at` in it, b"" if it has none."""

    text: str
    needle: bytes
    at: int = 0
    word: bool = False
    before: bool = False  # a base64 character that holds some of the secret's bits stands before it
    after: bool = False

    def __post_init__(self):
        self._raw = self.text.encode()
        self._edged = self.word or self.before or self.after

    @cached_property
    def whole(self) -> re.Pattern[bytes]:
        """The expression for all of it."""
        return re.compile(_any_way(self.text))

    @cached_property
    def _left(self) -> re.Pattern[bytes]:
        text = self._raw[: self.at].decode("utf-8", "replace")
        edge = b"(?<![a-z0-9])" if self.word else b"[a-z0-9+/_-]?" if self.before else b""
        return re.compile(edge + _any_way(text) + rb"\Z")

    @cached_property
    def _right(self) -> re.Pattern[bytes]:
        text = self._raw[self.at + len(self.needle) :].decode("utf-8", "replace")
        edge = b"(?![a-z0-9])" if self.word else b"[a-z0-9+/_-]?" if self.after else b""
        return re.compile(_any_way(text) + edge)

    def span(self, data: bytes, start: int, end: int) -> tuple[int, int] | None:
        """Return where the form stands around a needle found in lower-case data, None if not.

        Of a secret cut short that still has enough characters: what is left of it.
        """
        begin = start - self.at
        if not self._edged and begin >= 0 and data.startswith(self._raw, begin):
            return begin, begin + len(self._raw)
        reach = WIDEST * len(self.text) + 1
        left = self._left.search(data, max(0, start - reach), start)
        right = self._right.match(data, end, end + reach)
        if left and right:
            return left.start(), right.end()
        if self.word:
            return None
        before, after = self._raw[: self.at][::-1], self._raw[self.at + len(self.needle) :]
        told = data[max(0, begin) : start][::-1]
        first = left.start() if left else start - _alike(before, told)
        last = right.end() if right else end + _alike(after, data[end : end + len(after)])
        return (first, last) if last - first >= SURE else None


def forms(value: str) -> list[Form]:
    """Return the forms of a secret; none of one that is too short to be told from other text."""
    lines = [line.strip() for line in value.splitlines() if not line.startswith("-----")]
    return [form for line in lines if len(line) >= SHORTEST for form in _of_line(line)]


def _of_line(value: str) -> Iterator[Form]:
    text = "".join(c.lower() if c.isascii() else c for c in value)
    yield Form(text, *_needle(text), word=len(value) < WHOLE_WORD)
    ends = [_needle(text, part) for part in ENDS] if len(text) > LONG else []
    yield from (Form(text, needle, at) for needle, at in ends if needle)
    if len(value) >= WHOLE_WORD:
        for written in dict.fromkeys(_written(value)):
            for skip in range(3):
                yield _in_base64(written.encode(), skip)


def _written(value: str) -> Iterator[str]:
    """Yield a value as it may stand in a text that is then encoded as a whole."""
    yield value
    yield quote(value, safe="")
    yield json.dumps(value)[1:-1]


def _in_base64(value: bytes, skip: int) -> Form:
    """Return the characters that a value surely has in base64 of a text that it is part of.

    `skip` is how many bytes of a group of three come before it.
    """
    encoded = base64.b64encode(b"\0" * skip + value).decode().rstrip("=")
    first = (skip * 8 + 5) // 6
    last = (skip + len(value)) * 8 // 6
    text = encoded[first:last].lower()
    partial = (skip + len(value)) % 3 != 0
    return Form(text, *_needle(text), before=skip > 0, after=partial)


def _needle(text: str, part: slice = slice(None)) -> tuple[bytes, int]:
    """Return the start of the longest run of letters and digits in a part of the text, and where.

    It is b"" if no run is long enough.
    """
    raw = text.encode()
    first, last, _ = part.indices(len(raw))
    runs = re.compile(rb"[a-z0-9]+").finditer(raw, first, last)
    longest = max(runs, key=lambda run: len(run[0]), default=None)
    if not longest or len(longest[0]) < LEAST:
        return b"", 0
    return longest[0][:NEEDLE], longest.start()


def _alike(wanted: bytes, found: bytes) -> int:
    """Return in how many bytes from their start two texts are alike."""
    pairs = enumerate(zip(wanted, found, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(wanted), len(found)))


def _any_way(text: str) -> bytes:
    return b"".join(map(_char, text))


def _char(char: str) -> bytes:
    """Return an expression for a character as it may be written, in lower case."""
    if char.isascii() and char.isalnum():
        return char.encode()
    raw, point = char.encode(), ord(char)
    units = char.encode("utf-16-be")
    pairs = [units[i : i + 2].hex() for i in range(0, len(units), 2)]
    ways = [
        rb"\\*" + re.escape(raw),
        b"".join(b"%%(?:25)*%02x" % byte for byte in raw),
        b"".join(rb"\\+x%02x" % byte for byte in raw),
        b"".join(rb"\\+u" + pair.encode() for pair in pairs),
        rb"\\+x%02x" % point if point < 256 else rb"\\+u%08x" % point,
        rb"&(?:amp;)*(?:#0*%d|#x0*%x);" % (point, point),
        *(b"&(?:amp;)*" + name.encode() + b";?" for name in _NAMES.get(char, [])),
    ]
    ways += {"+": [b"-"], "/": [b"_"], " ": [rb"\+"]}.get(char, [])  # base64 for URLs; forms
    return b"(?:" + b"|".join(ways) + b")"
