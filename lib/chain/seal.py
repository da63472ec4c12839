"""Seals a run: a last search for secrets, then the manifest, chained to that of the previous run.

A log beside the runs has a line for each seal, so that a removed newest run is noticed too.
"""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from lib.record import jsonl, manifest, whole
from lib.record.faults import BadInput
from lib.record.manifest import FILE, SIGNATURE, Manifest
from lib.record.search import Search

NAMESPACE = "runbook"  # of signatures, so that they are valid for nothing else
LOG = "seals.log"
PENDING = f".{FILE}.next"  # a manifest whose seal is not in the log yet
_LINE = re.compile(r"(\S+)  ([0-9a-f]{64})  (.+)")


def seal(folder: Path, secrets: Iterable[str] = (), key: Path | None = None) -> list[str]:
    """Seal a run's folder in any case, and return the places of secrets in it.

    An older manifest gets a number and is covered by the new one. With `key` (an SSH key) the new
    one is signed; raises `BadInput` when that fails.
    """
    pending, search = folder / PENDING, Search(secrets)
    with whole.alone(folder.parent):
        _tidy(folder)
        files = {n: p for n, p in sorted(manifest.content(folder).items()) if manifest.plain(p)}
        hits = [hit for path in files.values() for hit in search.places(path)]
        hashes = {name: manifest.digest(path) for name, path in files.items()}
        sealed = Manifest(folder.name, manifest.now(), hashes, *last(folder.parent))
        whole.write(pending, manifest.as_text(sealed), errors="surrogateescape")
        _append_to_log(folder.parent / LOG, sealed.sealed, pending)
        pending.rename(folder / FILE)
    if key:
        whole.write(folder / SIGNATURE, _signature(folder / FILE, key))
    return hits


def _tidy(folder: Path) -> None:
    """Prepare a run for sealing: complete lines, private files, an older seal numbered."""
    complete(folder)
    (folder / PENDING).unlink(missing_ok=True)
    for name, path in manifest.content(folder).items():
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        elif manifest.plain(path):
            path.chmod(0o600)
            if name.endswith(".jsonl"):
                os.close(jsonl.open_file(path))  # ends its last line: more may follow on a resume
    folder.chmod(0o700)
    number = len(manifest.earlier(folder)) + 1
    for path in (folder / FILE, folder / SIGNATURE):
        if manifest.plain(path):
            path.rename(folder / path.name.replace(".", f".{number}.", 1))
        elif os.path.lexists(path):
            whole.aside(path)


def complete(folder: Path) -> None:
    """Rename a pending manifest whose line is in the log: a crash interrupted its seal."""
    hashed = manifest.digest(folder / PENDING)
    if hashed and any(hashed == listed for _, listed, _ in read_log(folder.parent)[0]):
        (folder / PENDING).rename(folder / FILE)


def last(runs: Path) -> tuple[str, str]:
    """Return the run that was sealed last and the sha256 of its manifest, "" and "" without one.

    It is the head of the chain: a copy elsewhere proves later that no run is missing.
    """
    lines, _ = read_log(runs)
    _, hashed, run = lines[-1] if lines else ("", "", "")
    return run, hashed


def read_log(runs: Path) -> tuple[list[tuple[str, ...]], list[int]]:
    """Return the log's lines (time, sha256 of the manifest, run), and numbers of malformed ones."""
    path = runs / LOG
    texts = path.read_text("utf-8", "surrogateescape").splitlines() if manifest.plain(path) else []
    found = [_LINE.fullmatch(text) for text in texts]
    bad = [number for number, line in enumerate(found, 1) if not line]
    return [line.groups() for line in found if line], bad


def counted(runs: Path) -> Counter[str]:
    """Return the number of seals of each run in the log."""
    return Counter(run for _, _, run in read_log(runs)[0])


def _append_to_log(log: Path, sealed: str, path: Path) -> None:
    """Rewrite the log with one more seal: no power cut leaves half a line."""
    text = log.read_text("utf-8", "surrogateescape") if manifest.plain(log) else ""
    begun = text if text.endswith("\n") or not text else f"{text}\n"
    line = f"{sealed}  {manifest.digest(path)}  {path.parent.name}\n"
    whole.write(log, begun + line, errors="surrogateescape")


def _signature(path: Path, key: Path) -> str:
    """Return the SSH signature of a file; ssh-keygen asks for a passphrase on the terminal."""
    done = keygen("sign", path, "-f", key, "-n", NAMESPACE)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        later = f"To sign it: ssh-keygen -Y sign -f {key} -n {NAMESPACE} {path}"
        raise BadInput([f"{path}: sealed, but not signed with {key}: {reason}. {later}"])
    return done.stdout


def keygen(action: str, path: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run `ssh-keygen -Y` on a file."""
    command = ["ssh-keygen", "-Y", action, *map(str, words)]
    with path.open("rb") as file:
        return subprocess.run(
            command, stdin=file, capture_output=True, encoding="utf-8", errors="replace"
        )
