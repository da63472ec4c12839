"""Sealing: a last look for secrets, then the manifest, chained to that of the run before.

Every seal is also noted in a log beside the runs, so that the newest run is missed, too.
"""

import fcntl
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from lib.chain.redact import Hit, scan
from lib.record import manifest, whole
from lib.record.faults import BadInput
from lib.record.manifest import FILE, SIGNATURE, Manifest
from lib.record.search import Search

NAMESPACE = "runbook"  # of signatures: one made here is good for nothing else
LOG = "seals.log"
PENDING = f".{FILE}.next"  # a manifest, until its seal stands in the log
_LINE = re.compile(r"(\S+)  ([0-9a-f]{64})  (.+)")


class Noted(NamedTuple):
    """A line of the log: when a run was sealed, and the sha256 of its manifest."""

    sealed: str
    hashed: str
    run: str


def seal(folder: Path, secrets: Iterable[str] = (), key: Path | None = None) -> list[Hit]:
    """Seal a run's folder, and return where in it secrets stand; sealed it is in any case.

    An older manifest is kept under a number and covered by the new one. With `key` (an SSH key) the
    new one is signed: raises `BadInput` when that fails.
    """
    with alone(folder.parent):
        _tidy(folder)
        files = {n: p for n, p in sorted(manifest.content(folder).items()) if manifest.plain(p)}
        search = Search(secrets)
        hits = [hit for path in files.values() for hit in scan(path, search)]
        hashes = {name: manifest.digest(path) for name, path in files.items()}
        made = Manifest(folder.name, manifest.now(), hashes, *last(folder.parent))
        pending = folder / PENDING
        whole.write(pending, manifest.written(made), lasting=True, errors="surrogateescape")
        _note(folder.parent / LOG, made.sealed, pending)
        pending.rename(folder / FILE)
    if key:
        whole.write(folder / SIGNATURE, _signature(folder / FILE, key), lasting=True)
    return hits


def _tidy(folder: Path) -> None:
    """Make a run ready to be sealed: whole lines, for its owner alone, an older seal numbered."""
    complete(folder)
    (folder / PENDING).unlink(missing_ok=True)
    for name, path in manifest.content(folder).items():
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        elif manifest.plain(path):
            path.chmod(0o600)
            if name.endswith(".jsonl"):
                _end_line(path)
    folder.chmod(0o700)
    number = len(manifest.earlier(folder)) + 1
    for name in (FILE, SIGNATURE):
        if (folder / name).exists():
            (folder / name).rename(folder / name.replace(".", f".{number}.", 1))


def _end_line(path: Path) -> None:
    """End a last line that a power cut tore, before the file is sealed: more may be appended."""
    with path.open("r+b") as file:
        if file.seek(0, os.SEEK_END) and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
            file.write(b"\n")


def complete(folder: Path) -> None:
    """Put a manifest in its place whose sealing was cut off after its line was in the log."""
    pending = folder / PENDING
    if manifest.plain(pending):
        hashed = manifest.digest(pending)
        if hashed in {line.hashed for line in noted(folder.parent)[0]}:
            pending.rename(folder / FILE)


def last(runs: Path) -> tuple[str, str]:
    """Return the run that was sealed last and the sha256 of its manifest, "" and "" if none was.

    It is the head of the chain: noted elsewhere, it shows later that no run is missing.
    """
    sealed = []
    for path in runs.glob(f"*/{FILE}"):
        with suppress(ValueError):  # one that was tampered with is for `verify` to tell
            sealed.append((manifest.read(path).sealed, path))
    if not sealed:
        return "", ""
    path = max(sealed)[1]
    return path.parent.name, manifest.digest(path)


def noted(runs: Path) -> tuple[list[Noted], list[int]]:
    """Return the seals in the log, and the numbers of its lines that are none."""
    path = runs / LOG
    texts = path.read_text("utf-8", "surrogateescape").splitlines() if manifest.plain(path) else []
    found = [_LINE.fullmatch(text) for text in texts]
    bad = [number for number, line in enumerate(found, 1) if not line]
    return [Noted(*line.groups()) for line in found if line], bad


def counted(runs: Path) -> Counter[str]:
    """Return how many seals of each run are in the log."""
    return Counter(line.run for line in noted(runs)[0])


def _note(log: Path, sealed: str, path: Path) -> None:
    """Add a seal to the log, which is written anew: no power cut leaves half a line in it."""
    text = log.read_text("utf-8", "surrogateescape") if manifest.plain(log) else ""
    line = f"{sealed}  {manifest.digest(path)}  {path.parent.name}\n"
    begun = text if not text or text.endswith("\n") else f"{text}\n"
    whole.write(log, begun + line, lasting=True, errors="surrogateescape")


@contextmanager
def alone(runs: Path) -> Iterator[None]:
    """Wait until no other run is being made or sealed: each seal is chained to the one before."""
    handle = os.open(runs, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _signature(path: Path, key: Path) -> str:
    """Return the SSH signature of a file; a passphrase is asked for on the terminal."""
    command = ["ssh-keygen", "-Y", "sign", "-f", str(key), "-n", NAMESPACE]
    with path.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        later = f"To sign it: ssh-keygen -Y sign -f {key} -n {NAMESPACE} {path}"
        raise BadInput([f"{path}: sealed, but not signed with {key}: {said[-1]}. {later}"])
    return done.stdout
