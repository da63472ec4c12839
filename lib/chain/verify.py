"""Verifies that sealed runs have not changed since, and finds the files that have."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lib.chain.seal import LOG, NAMESPACE, keygen, last, read_log
from lib.record import ledger, manifest, whole
from lib.record.journal import INTERACTIVE
from lib.record.manifest import FILE, SIGNATURE, Manifest
from lib.report import past

BY_HAND = "not sealed: the journal of notebooks run by hand is never sealed"
CHANGED = "changed: lines were edited, added, moved or cut"
NO_FILE = "replaced by something that is not a plain file"


class Finding(NamedTuple):
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
    past.demand_run(folder)
    folder = Path(os.path.abspath(folder))  # not resolved: a link is a finding
    beside = [found for names, found in _beside(folder.parent) if folder.name in names]
    return _first_per_file([*_findings(folder, signers), *beside])


def verify_all(runs: Path, signers: Path | None = None) -> list[Finding]:
    """Return the findings of `verify` for all runs of a folder that have ended.

    Raises `BadInput` if there is no such folder.
    """
    past.demand_folder(runs)
    ended = (found for run in closed(runs) for found in _settled(run, signers))
    return _first_per_file([*ended, *(found for _, found in _beside(runs))])


def holds(runs: Path, hashed: str) -> bool:
    """Return whether a run of the folder has, or had before a resume, a seal with this sha256."""
    return any(hashed in _seals(folder) for folder in closed(runs))


def find(run: str, runs: Path) -> Path:
    """Return the folder of a run from its path or its name below `runs`."""
    newest = past.folders(runs)[:1] if run == past.LATEST else []
    return next((f for f in (Path(run), runs / run, *newest) if f.is_dir()), Path(run))


def closed(runs: Path) -> list[Path]:
    """Return the folders of runs that have ended, the oldest first.

    All folders count except that of notebooks run by hand: a run may have lost ledger and seal.
    """
    return [folder for folder in _all(runs) if not _is_running(folder)]


def running(runs: Path) -> list[Path]:
    """Return the folders of runs that have not ended, the oldest first."""
    return [folder for folder in _all(runs) if _is_running(folder)]


def newest_seal(runs: Path) -> str:
    """Return the text on the newest seal, whose sha256 covers all runs of a folder."""
    run, hashed = last(runs)
    return f"The newest seal is that of {run}: {hashed}" if run else "No run is sealed here."


def _all(runs: Path) -> list[Path]:
    if not runs.is_dir():
        return []
    with whole.alone(runs):  # a run that is just being made has a ledger, which is locked
        return _folders(runs)


def _folders(runs: Path) -> list[Path]:
    return sorted(p for p in runs.iterdir() if p.is_dir() and p.name != INTERACTIVE)


def _is_running(folder: Path) -> bool:
    """Return whether a run has a driver; a lock on the ledger of a sealed run does not count."""
    if not manifest.plain(folder / ledger.FILE):
        return False
    begun = sum(line.get("event") in ledger.BEGINNINGS for line in ledger.read(folder))
    return len(manifest.every(folder)) < max(begun, 1) and ledger.is_locked(folder)


def _seals(folder: Path) -> dict[str, Manifest | None]:
    """Return the manifests of a run by their sha256, None for one that cannot be read."""
    return {manifest.digest(path): _readable(path) for path in manifest.every(folder)}


def _readable(path: Path) -> Manifest | None:
    try:
        return manifest.read(path)
    except ValueError:  # a finding of the run itself
        return None


def _first_per_file(found: list[Finding]) -> list[Finding]:
    return list({(one.run, one.file): one for one in reversed(found)}.values())[::-1]


def _settled(folder: Path, signers: Path | None) -> list[Finding]:
    """Return the findings on a folder, none if its run goes on, or never began, meanwhile.

    A sealed run that is removed is missed in the log.
    """
    while os.path.lexists(folder):
        seen = manifest.digest(folder / FILE)
        found = _findings(folder, signers)
        if not found or (seen == manifest.digest(folder / FILE) and not _is_running(folder)):
            return found
        if _is_running(folder):
            break
    return []


def _findings(folder: Path, signers: Path | None) -> list[Finding]:
    """Return the findings on a folder itself."""
    return [Finding(folder.name, *fault) for fault in _faults(folder, signers)]


def _faults(folder: Path, signers: Path | None) -> Iterator[tuple[str, str]]:
    """Yield files and what is wrong with them."""
    if folder.is_symlink():
        yield "", "replaced by a link to another folder"
        return
    if not os.path.lexists(folder / FILE):
        yield "", _why_unsealed(folder)
        return
    try:
        sealed = manifest.read(folder / FILE)
    except ValueError as error:
        yield FILE, f"{error}: it was edited, cut or replaced"
        return
    if sealed.run != folder.name:
        yield FILE, f"is the one of the run {sealed.run}"
    there = {name: manifest.digest(path) for name, path in manifest.content(folder).items()}
    for name in sorted(sealed.files.keys() | there.keys()):
        if name not in sealed.files or name not in there:
            yield name, "removed" if name in sealed.files else "added"
        elif sealed.files[name] != there[name]:
            yield name, CHANGED if there[name] else NO_FILE
    yield from _earlier(folder, set(there.values()))
    if what := _signature(folder / FILE, folder / SIGNATURE, signers):
        yield SIGNATURE, what


def _why_unsealed(folder: Path) -> str:
    if folder.name == INTERACTIVE:
        return BY_HAND
    if not manifest.plain(folder / ledger.FILE):
        return "not sealed: it is not a run, or its ledger was removed"
    state = ledger.state(folder)
    if state in ("running", "abandoned"):
        return f"not sealed: the run is {state}"
    why = f"{FILE} was removed, or its driver died first"
    return f"not sealed, though the run has ended ({state}): {why}"


def _earlier(folder: Path, there: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the differences of a resumed run from its earlier seals.

    Each ledger must begin with its earlier lines; each earlier notebook must exist, under any name.
    """
    for path in manifest.earlier(folder):
        try:
            files = manifest.read(path).files
        except ValueError as error:
            yield path.name, str(error)
            continue
        for name, hashed in files.items():
            if name.endswith(".jsonl") and not _begins(folder / name, hashed):
                yield name, f"does not begin with the lines sealed in {path.name}"
            if name.endswith(".ipynb") and hashed not in there:
                yield name, f"the version sealed in {path.name} is gone"


def _begins(path: Path, hashed: str) -> bool:
    """Return whether a file begins with lines of this sha256."""
    sha = hashlib.sha256()
    for line in [b"", *path.read_bytes().splitlines(True)] if manifest.plain(path) else []:
        sha.update(line)
        if sha.hexdigest() == hashed:
            return True
    return False


def _beside(runs: Path) -> Iterator[tuple[set[str], Finding]]:
    """Yield the findings on the runs of a folder as a whole, each with the runs it concerns.

    Each seal links to the one before, and a log beside the runs lists all of them.
    """
    with whole.alone(runs):  # no run is sealed between reading its seal and the log
        seals = {folder.name: _seals(folder) for folder in _folders(runs)}
        lines, bad = read_log(runs)
    held = {(run, h): m for run, found in seals.items() for h, m in found.items() if m}
    links = [
        (m.run, m.before, m.link, f"{m.run} was sealed after it", f"after which {m.run} was sealed")
        for m in held.values()
        if m.before
    ]
    links += [
        (run, run, hashed, f"{LOG} has its seal of {at}", f"that {LOG} lists at {at}")
        for at, hashed, run in lines
    ]
    for by, run, hashed, gone, other in links:
        if run not in seals:
            yield {by, run}, Finding(run, "", f"removed: {gone}")
        elif hashed not in seals[run]:
            yield {by, run}, Finding(run, FILE, f"not the one {other}")
    if not manifest.plain(runs / LOG) and (any(seals.values()) or os.path.lexists(runs / LOG)):
        yield {*seals}, Finding(LOG, "", "missing: it was removed or replaced")
    for number in bad:
        yield {*seals}, Finding(LOG, "", f"line {number} is not a seal: it was edited or cut")
    times = {(run, hashed): at for at, hashed, run in lines}
    for run, found in seals.items():
        listed = {hashed for name, hashed in times if name == run}
        if len(listed) < len(found) and not found.keys() <= {hashed for _, hashed in times}:
            yield {run}, Finding(LOG, "", f"the line of a seal of {run} was removed")
    for (run, hashed), sealed in held.items():
        if times.get((run, hashed), sealed.sealed) != sealed.sealed:
            yield {run}, Finding(LOG, "", f"the line of a seal of {run} has another time")


def _signature(text: Path, signature: Path, signers: Path | None) -> str:
    """Return what is wrong with the signature; a missing one is wrong only with `signers`."""
    if not os.path.lexists(signature):
        return "missing: the run was not signed, or this was removed" if signers else ""
    if not manifest.plain(signature):
        return NO_FILE
    by = ("-s", signature)
    if keygen("check-novalidate", text, "-n", NAMESPACE, *by).returncode:
        return f"does not match {FILE}"
    if not signers:
        return ""
    names = keygen("find-principals", text, "-f", signers, *by).stdout.splitlines()
    as_one = ("-f", signers, "-n", NAMESPACE, *by, "-I")
    if any(keygen("verify", text, *as_one, name).returncode == 0 for name in names):
        return ""
    return f"of a key that {signers} does not allow"
