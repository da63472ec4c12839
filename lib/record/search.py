"""Search: where secrets stand, whatever form they have there, and the text without them."""

import re
from collections.abc import Iterable

from ahocorasick_rs import BytesAhoCorasick

from lib.record import forms

MASK = "***"
Span = tuple[int, int]
# What may stand right before a word: anything but a letter or digit, or the end of an escape.
_BEGIN = re.compile(rb"(?:^|[^a-z0-9]|\\[nrt]|%[0-9a-f]{2}|\[[0-9;]*m)\Z")
_ESCAPE = 12  # bytes that it takes at most


class Search:
    """Looks for all of some secrets at once."""

    def __init__(self, secrets: Iterable[str]):
        found = {form: word for secret in secrets for form, word in forms.written(secret).items()}
        self._words = list(found.values())
        self._automaton = BytesAhoCorasick(list(found)) if found else None

    def spans(self, data: bytes) -> list[Span]:
        """Return where secrets stand in the data, in order, none touching another."""
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

    def _found(self, low: bytes, *, words: bool) -> list[Span]:
        """Return where forms stand in lower-case data; those of whole words only with `words`."""
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
