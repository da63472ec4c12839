"""Verifies that sealed runs have not changed since, and finds the files that have."""

import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lib.chain.seal import LOG, NAMESPACE, counted, last, read_log
from lib.record import ledger, manifest
from lib.record.faults import BadInput
from lib.record.journal import INTERACTIVE
from lib.record.manifest import FILE, SIGNATURE, Manifest
from lib.report import past

BY_HAND = "not sealed: the journal of notebooks run by hand is never sealed"


@dataclass(frozen=True)
class Finding:
    """A difference from the seal: the run, the file ("" for the whole run), and what."""

    run: str
    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.run}{self.file and '/' + self.file}: {self.what}"


def verify(folder: Path, signers: Path | None = None) -> list[Finding]:
    """Return the differences of a run, and of its links to other runs, from their seals.

    `signers` is a file of allowed signers (ssh-keygen(1)); with it, a signature of one of them is
    required. Raises `BadInput` if there is no such run.
    """
    if not folder.is_dir():
        raise BadInput([f"{folder}: there is no such folder of a run"])
    folder = Path(os.path.abspath(folder))  # not resolved: a link is a finding
    return _first_per_file([*_run(folder, signers), *_beside(folder.parent, only=folder.name)])


def verify_all(runs: Path, signers: Path | None = None) -> list[Finding]:
    """Return the findings of `verify` for all runs of a folder that have ended.

    Raises `BadInput` if there is no such folder.
    """
    if not runs.is_dir():
        raise BadInput([f"{runs}: there is no such folder of runs; --runs names another one"])
    ended = (found for run in closed(runs) for found in _run(run, signers))
    return _first_per_file([*ended, *_beside(runs)])


def holds(runs: Path, hashed: str) -> bool:
    """Return whether a run of the folder has, or had before a resume, a seal with this sha256."""
    seals = [path for folder in closed(runs) for path in manifest.every(folder)]
    return hashed in {manifest.digest(path) for path in seals}


def _first_per_file(findings: Iterable[Finding]) -> list[Finding]:
    """Return the first finding on each file."""
    found: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        found.setdefault((finding.run, finding.file), finding)
    return list(found.values())


def find(run: str, runs: Path) -> Path:
    """Return the folder of a run from its path or its name below `runs`."""
    newest = past.folders(runs)[:1] if run == past.LATEST else []
    return next((f for f in (Path(run), runs / run, *newest) if f.is_dir()), Path(run))


def closed(runs: Path) -> list[Path]:
    """Return the folders of runs that have ended, the oldest first.

    All folders count except that of notebooks run by hand: a run may have lost ledger and seal.
    """
    return [folder for folder in _all(runs) if not is_running(folder)]


def running(runs: Path) -> list[Path]:
    """Return the folders of runs that have not ended, the oldest first."""
    return [folder for folder in _all(runs) if is_running(folder)]


def _all(runs: Path) -> list[Path]:
    folders = sorted(p for p in runs.iterdir() if p.is_dir()) if runs.is_dir() else []
    return [folder for folder in folders if folder.name != INTERACTIVE]


def is_running(folder: Path) -> bool:
    """Return whether a run has a driver; a lock on the ledger of a sealed run does not count."""
    if not manifest.plain(folder / ledger.FILE):
        return False
    begun = sum(line.get("event") in ledger.BEGINNINGS for line in ledger.read(folder))
    return len(manifest.every(folder)) < begun and ledger.is_locked(folder)


def newest_seal(runs: Path) -> str:
    """Return the text on the newest seal, whose sha256 covers all runs of a folder."""
    run, hashed = last(runs)
    return f"The newest seal is that of {run}: {hashed}" if run else "No run is sealed here."


def _run(folder: Path, signers: Path | None) -> Iterator[Finding]:
    """Yield the findings on a folder itself."""
    run = folder.name
    if folder.is_symlink():
        yield Finding(run, "", "replaced by a link to another folder")
        return
    if not os.path.lexists(folder / FILE):
        yield Finding(run, "", _why_unsealed(folder))
        return
    try:
        sealed = manifest.read(folder / FILE)
    except ValueError as error:
        yield Finding(run, FILE, f"{error}: it was edited, cut or replaced")
        return
    if sealed.run != run:
        yield Finding(run, FILE, f"is the one of the run {sealed.run}")
    yield from _files(folder, sealed)
    yield from _earlier(folder)
    yield from (Finding(run, SIGNATURE, what) for what in _signature(folder, signers))


def _why_unsealed(folder: Path) -> str:
    if folder.name == INTERACTIVE:
        return BY_HAND
    if not manifest.plain(folder / ledger.FILE):
        return "not sealed: it is not a run, or its ledger was removed"
    state = ledger.state(folder)
    if state in ("running", "abandoned"):
        return f"not sealed: the run is {state}"
    unsealed = f"not sealed, though the run has ended ({state})"
    if counted(folder.parent)[folder.name]:
        return f"{unsealed}: {FILE} was removed"
    return f"{unsealed}: its driver died first, or all traces of the seal were removed"


def _files(folder: Path, sealed: Manifest) -> Iterator[Finding]:
    there = manifest.content(folder)
    for name in sorted(sealed.files.keys() | there.keys()):
        if name not in there:
            yield Finding(folder.name, name, "removed")
        elif name not in sealed.files:
            yield Finding(folder.name, name, "added")
        elif not manifest.plain(there[name]):
            yield Finding(folder.name, name, "replaced by something that is not a plain file")
        elif manifest.digest(there[name]) != sealed.files[name]:
            yield Finding(folder.name, name, "changed: lines were edited, added, moved or cut")


def _earlier(folder: Path) -> Iterator[Finding]:
    """Yield the differences of a resumed run from its earlier seals.

    Each ledger must begin with its earlier lines; each earlier notebook must exist, under any name.
    """
    for path in manifest.earlier(folder):
        try:
            sealed = manifest.read(path)
        except ValueError as error:
            yield Finding(folder.name, path.name, str(error))
            continue
        there = {manifest.digest(p) for p in manifest.content(folder).values()}
        for name, hashed in sealed.files.items():
            if name.endswith(".jsonl") and not _begins(folder / name, hashed):
                yield Finding(
                    folder.name, name, f"does not begin with the lines sealed in {path.name}"
                )
            if name.endswith(".ipynb") and hashed not in there:
                yield Finding(folder.name, name, f"the version sealed in {path.name} is gone")


def _begins(path: Path, hashed: str) -> bool:
    """Return whether a file begins with lines of this sha256."""
    if not manifest.plain(path):
        return False
    sha = hashlib.sha256()
    for line in path.read_bytes().splitlines(keepends=True):
        if sha.hexdigest() == hashed:
            return True
        sha.update(line)
    return sha.hexdigest() == hashed


def _beside(runs: Path, only: str = "") -> Iterator[Finding]:
    """Yield the missing runs of a folder, or the findings on one run, if `only` names it.

    Each seal links to the one before, and a log beside the runs lists all of them.
    """
    for later in _manifests(runs):
        if later.before and only in ("", later.run, later.before):
            words = f"{later.run} was sealed after it", f"after which {later.run} was sealed"
            yield from _missing(runs / later.before, later.link, *words)
    yield from _log(runs, only)


def _log(runs: Path, only: str) -> Iterator[Finding]:
    """Yield the differences between the log of seals and the manifests."""
    seals = {folder.name: manifest.every(folder) for folder in _all(runs)}
    if not manifest.plain(runs / LOG):
        if any(seals.values()) or os.path.lexists(runs / LOG):
            yield Finding(LOG, "", "missing: it was removed or replaced")
        return
    lines, bad = read_log(runs)
    for number in bad:
        yield Finding(LOG, "", f"line {number} is not a seal: it was edited or cut")
    for line in lines:
        if only in ("", line.run):
            words = f"{LOG} has its seal of {line.sealed}"
            yield from _missing(
                runs / line.run, line.hashed, words, f"that {LOG} lists at {line.sealed}"
            )
    hashes, counts = {line.hashed for line in lines}, counted(runs)
    for run, paths in seals.items():
        known = hashes.issuperset(map(manifest.digest, paths))
        if only in ("", run) and counts[run] < len(paths) and not known:
            yield Finding(LOG, "", f"the line of a seal of {run} was removed")


def _missing(folder: Path, hashed: str, gone: str, other: str) -> Iterator[Finding]:
    if not folder.is_dir():
        yield Finding(folder.name, "", f"removed: {gone}")
    elif hashed not in {manifest.digest(p) for p in manifest.every(folder)}:
        yield Finding(folder.name, FILE, f"not the one {other}")


def _manifests(runs: Path) -> Iterator[Manifest]:
    for path in (path for folder in _all(runs) for path in manifest.every(folder)):
        with suppress(ValueError):  # a finding of the run itself
            yield manifest.read(path)


def _signature(folder: Path, signers: Path | None) -> Iterable[str]:
    """Return the faults of the signature; a missing one is a fault only with `signers`."""
    signature = folder / SIGNATURE
    if not os.path.lexists(signature):
        return ["missing: the run was not signed, or this was removed"] if signers else []
    if not manifest.plain(signature):
        return ["replaced by something that is not a plain file"]
    valid = _ssh("check-novalidate", "-n", NAMESPACE, "-s", signature, text=folder / FILE)
    if valid is None:
        return [f"does not match {FILE}"]
    if not signers:
        return []
    who = _ssh("find-principals", "-s", signature, "-f", signers)
    known = [
        name
        for name in (who or "").splitlines()
        if _ssh("verify", "-f", signers, "-I", name, "-n", NAMESPACE, "-s", signature,
                text=folder / FILE) is not None
    ]  # fmt: skip
    return [] if known else [f"of a key that {signers} does not allow"]


def _ssh(action: str, *words: object, text: Path | None = None) -> str | None:
    """Run `ssh-keygen -Y` and return its output, None when it fails."""
    command = ["ssh-keygen", "-Y", action, *map(str, words)]
    data = text.read_bytes() if text else b""
    done = subprocess.run(command, input=data, capture_output=True)
    return None if done.returncode else done.stdout.decode("utf-8", "replace").strip()
