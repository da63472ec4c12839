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

from lib.chain import manifest, whole
from lib.chain.faults import BadInput
from lib.chain.manifest import FILE, SIGNATURE, Manifest
from lib.chain.redact import Hit, scan
from lib.lines import append
from lib.search import Search

NAMESPACE = "runbook"  # of signatures: one made here is good for nothing else
LOG = "seals.log"
_LINE = re.compile(r"(\S+)  ([0-9a-f]{64})  (.+)")


def seal(folder: Path, secrets: Iterable[str] = (), key: Path | None = None) -> list[Hit]:
    """Seal a run's folder, and return where in it secrets stand; sealed it is in any case.

    An older manifest is kept under a number and covered by the new one. With `key` (an SSH key) the
    new one is signed: raises `BadInput` when that fails.
    """
    with _alone(folder.parent):
        _set_aside(folder)
        files = manifest.content(folder)
        search = Search(secrets)
        hits = [hit for name in sorted(files) for hit in scan(files[name], search)]
        hashes = {name: manifest.digest(path) for name, path in files.items()}
        before, link = last(folder.parent)
        made = Manifest(folder.name, manifest.now(), hashes, before, link)
        text = manifest.written(made)
        whole.write(folder / FILE, text, lasting=True, errors="surrogateescape")
        try:
            _note(folder.parent / LOG, made.sealed, folder / FILE)
        except OSError:  # then it is not sealed, and can be later
            (folder / FILE).unlink()
            raise
    if key:
        whole.write(folder / SIGNATURE, _signature(folder / FILE, key), lasting=True)
    return hits


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


def noted(runs: Path) -> list[tuple[str, str, str]]:
    """Return the seals in the log: when, the sha256 of the manifest, the run.

    Raises ValueError when there is no log, or it holds anything else.
    """
    path = runs / LOG
    if not path.exists():
        raise ValueError("missing: it was removed")
    found = [_LINE.fullmatch(line) for line in path.read_text("utf-8").splitlines()]
    if None in found:
        raise ValueError(f"line {found.index(None) + 1} is none of a seal: it was edited or cut")
    return [line.groups() for line in found if line]


def counted(runs: Path) -> Counter[str]:
    """Return how many seals of each run are in the log, as far as it can be read."""
    try:
        return Counter(run for _, _, run in noted(runs))
    except ValueError:  # for `verify` to tell
        return Counter()


def _note(log: Path, sealed: str, path: Path) -> None:
    """Append a seal to the log."""
    line = f"{sealed}  {manifest.digest(path)}  {path.parent.name}\n"
    with log.open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            append(file.fileno(), line.encode("utf-8", "surrogateescape"))
        except OSError:
            file.truncate(before)
            raise
        os.fsync(file.fileno())


@contextmanager
def _alone(runs: Path) -> Iterator[None]:
    """Wait until no other run is being sealed, as each is chained to the one before."""
    handle = os.open(runs, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _set_aside(folder: Path) -> None:
    """Give the manifest of an earlier seal, and its signature, a number."""
    number = len(manifest.earlier(folder)) + 1
    for name in (FILE, SIGNATURE):
        if (folder / name).exists():
            (folder / name).rename(folder / name.replace(".", f".{number}.", 1))


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
