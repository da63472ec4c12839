"""Joints: what may stand between two characters of a secret without being part of it.

These are line ends, as where base64 is wrapped, and the colours of a traceback, both also escaped.
"""

import bisect
import re
from collections.abc import Callable
from itertools import accumulate

Span = tuple[int, int]

# All begin with one of a set of characters, which lets `re` skip what lies between them.
_JOINTS = re.compile(
    rb"[\x1b\\\r\n%](?:"
    rb"(?<=\x1b)\[[0-?]*[ -/]*[@-~]"  # a colour
    rb"|(?<=\\)\\*(?:u001b|x1b)\[[0-?]*[ -/]*[@-~]"  # a colour, escaped
    rb"|(?<=\\)\\*[nr](?:\",\s*\")?[ \t]*"  # a line end, escaped, also in a list of lines
    rb"|(?<=%)(?:25)*0[ADad]"  # a line end in a URL
    rb"|(?<=[\r\n])\s*)"  # a line end, and how far the next line is indented
)
_SIGNS = (b"\\", b"\x1b", b"%")  # what joints but plain line ends begin with
# The commonest joints in what nbformat writes: of sources, of streams, of other outputs.
_NOTEBOOK_LINES = [b'\\n",\n%b"' % (b" " * indent) for indent in (4, 6, 7)]
_LIKE_LINE_END = re.compile(r"^([nr]|0[ad])|\\[nr]")


def may_begin(text: str) -> bool:
    r"""Tell whether a sign before a text, in lower case, may make its beginning look like a joint.

    >>> may_begin("nothing"), may_begin("anything")
    (True, False)
    """
    return bool(_LIKE_LINE_END.search(text))


def joined(data: bytes) -> bytes:
    r"""Return the data without its joints.

    >>> joined(b"ab\n  cd\x1b[31mef")
    b'abcdef'
    """
    if not _has_signs(data):
        first, *lines = data.splitlines() or [b""]
        return first + b"".join(map(bytes.lstrip, lines))
    for line_end in _NOTEBOOK_LINES:
        data = data.replace(line_end, b"")
    return _JOINTS.sub(b"", data)


def mapped_back(spans: list[Span], data: bytes) -> list[Span]:
    """Return spans of `joined(data)` as spans of the data."""
    if not spans:
        return []
    starts, original = _signed_pieces(data) if _has_signs(data) else _lines(data)

    def back(at: int) -> int:
        piece = bisect.bisect_right(starts, at) - 1
        return original(piece) + at - starts[piece]

    return [(back(start), back(end - 1) + 1) for start, end in spans]


def _has_signs(data: bytes) -> bool:
    return any(sign in data for sign in _SIGNS)


def _signed_pieces(data: bytes) -> tuple[list[int], Callable[[int], int]]:
    """Return where the pieces between joints begin in the joined data, and a function for where
    the piece of that number begins in the data itself.
    """
    starts, originals, gone = [0], [0], 0
    for joint in _JOINTS.finditer(data):
        starts.append(joint.start() - gone)
        originals.append(joint.end())
        gone += len(joint[0])
    return starts, originals.__getitem__


def _lines(data: bytes) -> tuple[list[int], Callable[[int], int]]:
    """Do the same where the only joints are line ends."""
    whole = data.splitlines(keepends=True)
    begins = list(accumulate(map(len, whole), initial=0))
    first, *rest = data.splitlines()
    bare = [first, *map(bytes.lstrip, rest)]

    def original(number: int) -> int:
        line = whole[number]
        return begins[number] + (len(line) - len(line.lstrip()) if number else 0)

    return list(accumulate(map(len, bare), initial=0)), original
