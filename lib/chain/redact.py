"""Redaction: known secrets are found by value, in every form, and masked before they are written.

Everything is searched without its joints (line ends, colours), as these may cut a secret in two.
"""

import bisect
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path

from ahocorasick_rs import BytesAhoCorasick, Implementation

from lib import lines
from lib.chain import joints
from lib.chain.forms import Form, forms
from lib.chain.joints import Span

MASK = "***"
LARGE = 1 << 18  # bytes from which on it pays to search once, for everything


class Known:
    """The known secrets: a file that only we can read, to which other processes add.

    The file is outside of what is kept, and gone after `close`.
    """

    def __init__(self, path: Path):
        self.path = path
        self.values: dict[str, None] = {}
        self._handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._read = 0  # bytes of whole lines

    @classmethod
    def create(cls) -> "Known":
        """Return one with a new file in a new folder."""
        return cls(Path(tempfile.mkdtemp(prefix="runbook-")) / "secrets")

    def add(self, values: Iterable[str]) -> None:
        """Add values, for all who share the file."""
        text = "".join(json.dumps(value) + "\n" for value in values)
        lines.append(self._handle, text.encode())

    def fresh(self) -> list[str]:
        """Return what was added by anyone since the last call."""
        more = os.pread(self._handle, 1 << 24, self._read)
        *lines, rest = more.split(b"\n")
        self._read += len(more) - len(rest)
        new = [v for v in map(json.loads, lines) if v not in self.values]
        self.values.update(dict.fromkeys(new))
        return new

    def close(self) -> None:
        """Remove the file and its folder."""
        os.close(self._handle)
        shutil.rmtree(self.path.parent)

    def __enter__(self) -> "Known":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Hit:
    """A secret that stands in a file: where, never which."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path.name}, line {self.line}"


class _Search:
    """Looks for all of some forms at once. `fast` pays for large data, as it takes long to make."""

    def __init__(self, wanted: list[Form], fast: bool = False):
        self.forms, self.fast = wanted, fast
        self._by_needle: dict[bytes, list[Form]] = {}
        self._without = [form.whole for form in wanted if not form.needle]
        for form in wanted:
            if form.needle:
                self._by_needle.setdefault(form.needle, []).append(form)
        self._needles = list(self._by_needle)
        kind = Implementation.DFA if fast else None
        self._automaton = BytesAhoCorasick(self._needles, implementation=kind)

    @cached_property
    def hidden(self) -> "_Search":
        """The search for those that a sign before them makes begin like a line end."""
        return _Search([form for form in self.forms if joints.may_begin(form.text)], self.fast)

    def spans(self, low: bytes) -> Iterator[Span]:
        """Yield where the forms are in lower-case data."""
        for pattern in self._without:
            yield from (found.span() for found in pattern.finditer(low))
        for number, start, end in self._automaton.find_matches_as_indexes(low, overlapping=True):
            for form in self._by_needle[self._needles[number]]:
                if span := form.span(low, start, end):
                    yield span


class Redactor:
    """Masks the known secrets in texts, messages of kernels, and notebooks; finds them in files."""

    def __init__(self, known: Known):
        self.known = known
        self.masked = 0  # so many times something was masked
        self._searches: list[_Search] = []
        self._scanned: dict[Path, tuple[tuple, list[Hit]]] = {}
        self._book: object = None
        self._seen: dict[int, tuple] = {}

    def text(self, text: str) -> str:
        """Return the text with every secret masked."""
        return self._pieces([text])[0]

    def data(self, data: bytes) -> bytes:
        """Return bytes with every secret masked."""
        found = self.spans(data)
        return _cut(data, 0, found)

    def message(self, msg: dict) -> dict:
        """Mask the secrets in what a kernel sent, in place, and return it."""
        for part in ("content", "metadata"):
            if part in msg:
                msg[part] = self._mapped(msg[part])
        if msg.get("buffers"):
            msg["buffers"] = [self.data(bytes(buffer)) for buffer in msg["buffers"]]
        return msg

    def notebook(self, notebook: dict) -> dict:
        """Mask the secrets in a notebook, in place, and return it.

        Each cell's streams are also looked at as one text, each for itself and both together.
        Of a notebook that comes again only cells that changed are looked at, unless more is known.
        """
        self._learn()
        if notebook is not self._book:
            self._book, self._seen = notebook, {}
        notebook["metadata"] = self._mapped(notebook["metadata"])
        for cell in notebook["cells"]:
            if self._seen.get(id(cell)) != self._state(cell):
                self._cell(cell)
                self._seen[id(cell)] = self._state(cell)
        return notebook

    def scan(self, path: Path) -> list[Hit]:
        """Return where in a file secrets stand. Asked again, it looks only at what changed."""
        self._learn()
        now = path.stat()
        state = (now.st_size, now.st_mtime_ns, now.st_ino, len(self.known.values))
        if self._scanned.get(path, ((), []))[0] != state:
            data = path.read_bytes()
            hits = [Hit(path, data.count(b"\n", 0, at) + 1) for at, _ in self.spans(data)]
            self._scanned[path] = (state, hits)
        return self._scanned[path][1]

    def spans(self, data: bytes) -> list[Span]:
        """Return where secrets stand in the data, in order, none touching another."""
        self._learn()
        if len(data) > LARGE and not all(search.fast for search in self._searches):
            every = [form for search in self._searches for form in search.forms]
            self._searches = [_Search(every, fast=True)]
        joined = joints.joined(data)
        low = joined.lower()
        found = [span for search in self._searches for span in search.spans(low)]
        if len(joined) < len(data):
            found = joints.mapped_back(found, data)
            if b"\\" in data or b"%" in data:
                low = data.lower()
                found += [span for s in self._searches for span in s.hidden.spans(low)]
        return _merged(found)

    def _learn(self) -> None:
        """Take in what is newly known. Searches double in size, so that few are built anew."""
        wanted = [form for value in self.known.fresh() for form in forms(value)]
        if not wanted:
            return
        while self._searches and len(self._searches[-1].forms) <= 2 * len(wanted):
            wanted = self._searches.pop().forms + wanted
        self._searches.append(_Search(wanted))

    def _cell(self, cell: dict) -> None:
        for key in [k for k in cell if k != "outputs"]:
            cell[key] = self._mapped(cell[key])
        outputs = cell.get("outputs", [])
        streams = [o for o in outputs if o["output_type"] == "stream"]
        names = {o["name"] for o in streams}
        for name in names:
            self._joined([o for o in streams if o["name"] == name])
        if len(names) > 1:  # a secret may begin in one stream and end in the other
            self._joined(streams)
        for output in outputs:
            if output["output_type"] != "stream":
                self._mapped(output)

    def _joined(self, flushes: list[dict]) -> None:
        """Mask the secrets in streams' outputs, also one that a flush has cut in two."""
        texts = self._pieces([output["text"] for output in flushes])
        for output, text in zip(flushes, texts, strict=True):
            output["text"] = text

    def _state(self, cell: dict) -> tuple:
        return len(self.known.values), *(_size(output) for output in cell.get("outputs", []))

    def _pieces(self, texts: list[str]) -> list[str]:
        """Return pieces of one text with every secret masked, also one that spans two pieces."""
        pieces = [text.encode("utf-8", "surrogatepass") for text in texts]
        found = self.spans(b"".join(pieces))
        if not found:
            return texts
        self.masked += len(found)
        cut, start = [], 0
        for piece in pieces:
            cut.append(_cut(piece, start, found).decode("utf-8", "surrogatepass"))
            start += len(piece)
        return cut

    def _mapped(self, node: object) -> object:
        """Return a structure with the texts in it masked; its lists and mappings stay the same."""
        if isinstance(node, str):
            return self.text(node)
        if isinstance(node, list):
            node[:] = [self._mapped(item) for item in node]
        elif isinstance(node, dict):
            for key in list(node):
                value = self._mapped(node.pop(key))
                node[self.text(key) if isinstance(key, str) else key] = value
        return node


def _size(output: dict) -> tuple:
    data = output.get("text") or output.get("data") or output.get("traceback") or ""
    sizes = [len(v) for v in data.values()] if isinstance(data, dict) else [len(data)]
    return output["output_type"], *sizes


def _cut(piece: bytes, start: int, spans: list[Span]) -> bytes:
    """Return a piece, which begins at `start`, without the spans; the mask is where one begins."""
    end, at, parts = start + len(piece), start, []
    here = bisect.bisect_right(spans, start, key=itemgetter(1))
    while here < len(spans) and spans[here][0] < end:
        first, last = spans[here]
        parts.append(piece[at - start : max(first - start, 0)])
        parts.append(MASK.encode() if first >= start else b"")
        at, here = last, here + 1
    return b"".join(parts) + piece[at - start :]


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
