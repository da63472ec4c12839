"""Search: finds secrets in a text, in any of their forms, and masks them."""

import re
from collections.abc import Iterable
from pathlib import Path

from ahocorasick_rs import BytesAhoCorasick

from lib.record import forms

MASK = "***"
Span = tuple[int, int]
# Right before a word stands no letter or digit, unless it ends an escape.
_BEGIN = re.compile(rb"(?:^|[^a-z0-9]|\\[nrt]|%[0-9a-f]{2}|\[[0-9;]*m)\Z")
_ESCAPE = 12  # bytes of the longest escape


class Search:
    """Searches for several secrets at once."""

    def __init__(self, secrets: Iterable[str]):
        found = {form: word for secret in secrets for form, word in forms.forms_of(secret).items()}
        self._words = list(found.values())
        self._automaton = BytesAhoCorasick(list(found)) if found else None

    def spans(self, data: bytes) -> list[Span]:
        """Return the spans of secrets in the data, in order; adjoining ones are merged."""
        low = data.lower()
        joined = forms.joined(low) if self._automaton else low
        found = self._found(low, words=True)
        if len(joined) < len(low):
            found += forms.mapped_back(self._found(joined, words=False), low)
        return _merged(found)

    def text(self, text: str) -> str:
        """Return the text with every secret masked."""
        return self.data(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def data(self, data: bytes) -> bytes:
        """Return bytes with every secret masked."""
        parts, at = [], 0
        for start, end in self.spans(data):
            parts += [data[at:start], MASK.encode()]
            at = end
        return b"".join([*parts, data[at:]])

    def places(self, path: Path) -> list[str]:
        """Return the places of secrets in a file, as `api.jsonl, line 3`."""
        data = path.read_bytes()
        lines = (data.count(b"\n", 0, at) + 1 for at, _ in self.spans(data))
        return [f"{path.name}, line {line}" for line in lines]

    def _found(self, low: bytes, *, words: bool) -> list[Span]:
        """Return the spans of forms in lower-case data; whole words only with `words`."""
        if not self._automaton:
            return []
        found = self._automaton.find_matches_as_indexes(low, overlapping=True)
        return [
            (start, end)
            for form, start, end in found
            if not self._words[form] or (words and _is_word(low, start, end))
        ]


def _is_word(low: bytes, start: int, end: int) -> bool:
    before = _BEGIN.search(low[max(0, start - _ESCAPE) : start])
    return bool(before) and not low[end : end + 1].isalnum()


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
