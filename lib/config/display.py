"""How a configuration is shown: by its size, in full, or by the lines that differ."""

import difflib
from collections.abc import Sequence
from html import escape

from lib.config.discovery import masked
from lib.config.written import read
from lib.workstation.files import sha256
from lib.workstation.shell import Shell

PAGE = "font-family:monospace;line-height:1.3;white-space:pre-wrap"
DIFFERS = ": differs from what is there"
COLOURS = {"+": "#e6ffec", "-": "#ffebe9", "@": "#eaeef2"}  # GitHub's, of a difference


class Text(str):
    """A configuration in a plan: whole as text, by its size where it is merely shown.

    `secrets` are the operator's own in it, beside the discovery token.
    """

    secrets: tuple[str, ...]

    def __new__(cls, text: str, secrets: tuple[str, ...] = ()) -> "Text":
        """Return the text with its secrets."""
        new = super().__new__(cls, text)
        new.secrets = secrets
        return new

    def __repr__(self) -> str:
        return f"{len(self.splitlines())} lines, sha256 {sha256(self)[:16]}…"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


def difference(expected: str, found: str, names: Sequence[str] = ("wanted", "found")) -> str:
    """Return the lines that differ, as `diff -u` shows them, tokens and secrets masked."""
    texts = [masked(t).splitlines() for t in (expected, found)]
    lines = difflib.unified_diff(*texts, *names, lineterm="", n=1)
    return "\n".join(lines) or "(only a token, a secret or the line ends)"


class Preview:
    """Texts under headings, secrets masked; lines of a difference have colours in a notebook."""

    def __init__(self, parts: dict[str, str]):
        self.parts = parts

    def __repr__(self) -> str:
        return "\n\n".join(f"── {heading}\n{text.rstrip()}" for heading, text in self.parts.items())

    def _repr_html_(self) -> str:
        return "".join(
            f'<b>{escape(heading)}</b><pre style="{PAGE}">{_coloured(text, heading)}</pre>'
            for heading, text in self.parts.items()
        )


def _coloured(text: str, heading: str) -> str:
    """Return a text as HTML; of a difference the lines that come, go, and where have colours."""
    colours = COLOURS if heading.endswith(DIFFERS) else {}
    lines = []
    for line in map(escape, text.rstrip().splitlines()):
        if colour := colours.get(line[:1]):
            line = f'<span style="background:{colour};color:#1f2328">{line}</span>'
        lines.append(line)
    return "\n".join(lines)


def preview(shell: Shell, work_dir: str, config) -> Preview:
    """Return the texts of a `Config`: in full, or how they differ from what is there."""
    parts = {}
    for name in config.texts():
        there = read(shell, work_dir, name)
        expected = config.texts(there.url)[name]
        if there.text in ("", expected):
            state = "as it is there" if there.text else "absent, to be written"
            parts[f"{there.where}: {state}"] = masked(expected)
        else:
            shown = difference(there.text, expected, ("there", "by the parameters"))
            parts[there.where + DIFFERS] = shown
    return Preview(parts)
