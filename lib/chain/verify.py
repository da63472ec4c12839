"""Verifying: whether sealed runs are as they were when they were sealed, and which file is not."""

import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lib.chain.seal import LOG, NAMESPACE, counted, last, noted
from lib.record import ledger, manifest
from lib.record.faults import BadInput
from lib.record.journal import INTERACTIVE
from lib.record.manifest import FILE, SIGNATURE, Manifest

BY_HAND = "not sealed: notebooks that were run by hand keep their journal here, nobody seals it"


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was sealed: the run, the file ("" for all of it), and what."""

    run: str
    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.run}{self.file and '/' + self.file}: {self.what}"


def verify(folder: Path, signers: Path | None = None) -> list[Finding]:
    """Return what of a run, and of its place among the runs beside it, is not as it was sealed.

    `signers` is a file of allowed signers (ssh-keygen(1)); with it there must be a signature of one
    of them. Raises `BadInput` if there is no such run.
    """
    if not folder.is_dir():
        raise BadInput([f"{folder}: there is no such folder of a run"])
    folder = Path(os.path.abspath(folder))  # not resolved: it may be a link
    return _each([*_run(folder, signers), *_beside(folder.parent, only=folder.name)])


def verify_all(runs: Path, signers: Path | None = None) -> list[Finding]:
    """Do as `verify` for all runs of a folder that are not still going on.

    Raises `BadInput` if there is no such folder.
    """
    if not runs.is_dir():
        raise BadInput([f"{runs}: there is no such folder of runs; --runs names another one"])
    return _each([*(found for run in closed(runs) for found in _run(run, signers)), *_beside(runs)])


def holds(runs: Path, hashed: str) -> bool:
    """Tell whether a run of the folder has the seal with this sha256, or had it before it grew."""
    seals = [path for folder in closed(runs) for path in manifest.every(folder)]
    return hashed in {manifest.digest(path) for path in seals}


def _each(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding for each file, the first."""
    found: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        found.setdefault((finding.run, finding.file), finding)
    return list(found.values())


def find(run: str, runs: Path) -> Path:
    """Return the folder of a run, given by its path or by its name below `runs`."""
    return next((f for f in (Path(run), runs / run) if f.is_dir()), Path(run))


def closed(runs: Path) -> list[Path]:
    """Return the folders of runs that are not still going on, the oldest first.

    All folders count but that of notebooks run by hand: a run may have lost its ledger and seal.
    """
    return [folder for folder in _all(runs) if not going_on(folder)]


def going(runs: Path) -> list[Path]:
    """Return the folders of runs that are still going on, the oldest first."""
    return [folder for folder in _all(runs) if going_on(folder)]


def _all(runs: Path) -> list[Path]:
    folders = sorted(p for p in runs.iterdir() if p.is_dir()) if runs.is_dir() else []
    return [folder for folder in folders if folder.name != INTERACTIVE]


def going_on(folder: Path) -> bool:
    """Tell whether a run has a driver; who only locks the ledger of a sealed one is none."""
    if not manifest.plain(folder / ledger.FILE):
        return False
    begun = sum(line.get("event") in ledger.BEGINNINGS for line in ledger.read(folder))
    return len(manifest.every(folder)) < begun and ledger.held(folder)


def told(runs: Path) -> str:
    """Return what to note elsewhere of a folder's runs: the sha256 that all of them lead to."""
    run, hashed = last(runs)
    return f"The newest seal is that of {run}: {hashed}" if run else "No run is sealed here."


def _run(folder: Path, signers: Path | None) -> Iterator[Finding]:
    """Yield what is wrong with the folder in itself."""
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
        return "not sealed: it is no run, or its ledger was removed"
    state = ledger.state(folder)
    if state in ("running", "abandoned"):
        return f"not sealed: the run is {state}"
    said = f"not sealed, though the run has ended ({state})"
    if counted(folder.parent)[folder.name]:
        return f"{said}: {FILE} was removed"
    return f"{said}: its driver died before, or all traces of the seal were removed"


def _files(folder: Path, sealed: Manifest) -> Iterator[Finding]:
    there = manifest.content(folder)
    for name in sorted(sealed.files.keys() | there.keys()):
        if name not in there:
            yield Finding(folder.name, name, "removed")
        elif name not in sealed.files:
            yield Finding(folder.name, name, "added")
        elif not manifest.plain(there[name]):
            yield Finding(folder.name, name, "replaced by something that is no plain file")
        elif manifest.digest(there[name]) != sealed.files[name]:
            yield Finding(folder.name, name, "changed: lines were edited, added, moved or cut")


def _earlier(folder: Path) -> Iterator[Finding]:
    """Yield what the earlier seals of a run that was continued tell to be missing from it.

    Its ledgers have grown since, so that what they were must be their beginning; its notebooks are
    kept, under whatever name.
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
                yield Finding(folder.name, name, f"does not begin as it was when {path.name} was")
            if name.endswith(".ipynb") and hashed not in there:
                yield Finding(folder.name, name, f"what {path.name} holds of it is gone")


def _begins(path: Path, hashed: str) -> bool:
    """Tell whether some first lines of a file have this sha256."""
    if not manifest.plain(path):
        return False
    sha = hashlib.sha256()
    for line in path.read_bytes().splitlines(keepends=True):
        if sha.hexdigest() == hashed:
            return True
        sha.update(line)
    return sha.hexdigest() == hashed


def _beside(runs: Path, only: str = "") -> Iterator[Finding]:
    """Yield what is missing of a folder's runs; of what has to do with one run if `only` names it.

    Each seal tells of the one before, and a log beside the runs of all of them.
    """
    for later in _manifests(runs):
        if later.before and only in ("", later.run, later.before):
            words = f"{later.run} was sealed after it", f"after which {later.run} was sealed"
            yield from _missing(runs / later.before, later.link, *words)
    yield from _log(runs, only)


def _log(runs: Path, only: str) -> Iterator[Finding]:
    """Yield what the log of seals and the seals do not both tell."""
    seals = {folder.name: manifest.every(folder) for folder in _all(runs)}
    if not manifest.plain(runs / LOG):
        if any(seals.values()) or os.path.lexists(runs / LOG):
            yield Finding(LOG, "", "missing: it was removed or replaced")
        return
    lines, bad = noted(runs)
    for number in bad:
        yield Finding(LOG, "", f"line {number} is none of a seal: it was edited, cut or torn")
    for line in lines:
        if only in ("", line.run):
            words = f"{LOG} tells of its seal of {line.sealed}"
            yield from _missing(
                runs / line.run, line.hashed, words, f"that {LOG} tells of at {line.sealed}"
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
        with suppress(ValueError):  # the run's own findings tell it
            yield manifest.read(path)


def _signature(folder: Path, signers: Path | None) -> Iterable[str]:
    """Return what is wrong with the signature: nothing if there is none and none is wanted."""
    signature = folder / SIGNATURE
    if not os.path.lexists(signature):
        return ["missing: the run was not signed, or this was removed"] if signers else []
    if not manifest.plain(signature):
        return ["replaced by something that is no plain file"]
    said = _ssh("check-novalidate", "-n", NAMESPACE, "-s", signature, text=folder / FILE)
    if said is None:
        return [f"does not fit {FILE}"]
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
    """Run `ssh-keygen -Y` and return what it says, None when it refuses."""
    command = ["ssh-keygen", "-Y", action, *map(str, words)]
    data = text.read_bytes() if text else b""
    done = subprocess.run(command, input=data, capture_output=True)
    return None if done.returncode else done.stdout.decode("utf-8", "replace").strip()
