"""The manifest of a run: the sha256 of every file, and a link to the run that was sealed before.

`sha256sum -c MANIFEST.sha256` reads it too. It reveals edits and prevents none: only a signature,
or a hash stored elsewhere, reveals an edit of a file together with the newest manifest.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

FILE = "MANIFEST.sha256"
SIGNATURE = f"{FILE}.sig"
TITLE = "# The files of a run and their sha256: check them with `runbook verify`."
_LINE = re.compile(r"(\\?)([0-9a-f]{64})  (.+)")
_HEAD = re.compile(
    re.escape(TITLE) + r"\n# run: (.+)\n# sealed: (\S+)\n# before: (?:none|(\S+)  (.+))\n"
    r"# files: (\d+)\n"
)


@dataclass(frozen=True)
class Manifest:
    """A run, the time of its seal, the sha256 of its files, and the run sealed before it.

    `before` is the name of that run, `link` the sha256 of its manifest; both are "" for the first.
    """

    run: str
    sealed: str
    files: dict[str, str]
    before: str = ""
    link: str = ""


def as_text(manifest: Manifest) -> str:
    """Return the manifest as text; there is only one way to write it."""
    before = f"{manifest.link}  {manifest.before}" if manifest.before else "none"
    head = [TITLE, f"# run: {manifest.run}", f"# sealed: {manifest.sealed}", f"# before: {before}"]
    lines = [_line(name, manifest.files[name]) for name in sorted(manifest.files)]
    return "\n".join([*head, f"# files: {len(lines)}", *lines]) + "\n"


def read(path: Path) -> Manifest:
    """Read a manifest; raise ValueError unless `as_text` could have written it."""
    if not plain(path):
        raise ValueError("not a plain file")
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    head = _HEAD.match(text)
    lines = [_LINE.fullmatch(line) for line in text[head.end() if head else 0 :].splitlines()]
    if not head or not all(lines):
        raise ValueError("not a manifest")
    run, sealed, link, before, _ = head.groups()
    found = Manifest(run, sealed, {_name(m): m[2] for m in lines}, before or "", link or "")
    if as_text(found) != text:
        raise ValueError("not as it was written")
    return found


def plain(path: Path) -> bool:
    """Return whether a path is a regular file, not a link or a pipe."""
    return path.is_file() and not path.is_symlink()


def digest(path: Path) -> str:
    """Return the sha256 of a plain file, "" for anything else."""
    if not plain(path):
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content(folder: Path) -> dict[str, Path]:
    """Return the content of a run's folder by name, without its manifest and the signature.

    Folders count only where they are empty.
    """
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*")}
    leaves = {
        n: p for n, p in found.items() if p.is_symlink() or not p.is_dir() or not [*p.iterdir()]
    }
    return {n: p for n, p in leaves.items() if n not in (FILE, SIGNATURE)}


def earlier(folder: Path) -> list[Path]:
    """Return the manifests of earlier seals of a run, the oldest first."""
    numbered = [(re.fullmatch(r"MANIFEST\.(\d+)\.sha256", p.name), p) for p in folder.iterdir()]
    return [p for _, p in sorted((int(m[1]), p) for m, p in numbered if m and plain(p))]


def every(folder: Path) -> list[Path]:
    """Return the manifests of all seals of a run, the newest last."""
    return [*earlier(folder), *filter(plain, [folder / FILE])]


def now() -> str:
    """Return the current time in the format of a manifest."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _line(name: str, hashed: str) -> str:
    """Return a line in the format of sha256sum, which marks escaped names."""
    safe = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if safe == name else chr(92)}{hashed}  {safe}"


def _name(line: re.Match[str]) -> str:
    if not line[1]:
        return line[3]
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), line[3])
