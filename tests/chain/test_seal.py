"""Sealed runs: every way to change them, beside what `verify` then finds."""

import fcntl
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from workstations import make_key

from lib.chain import seal, verify
from lib.commands.main import main
from lib.record import manifest
from lib.record.faults import BadInput

LINES = [f"{json.dumps({'event': e, 'cause': 'ok'})}\n" for e in ("run-started", "x", "run-ended")]
SECRET = "the-only-secret-here"


def make(runs: Path, name: str, key: Path | None = None) -> Path:
    """Make and seal a run."""
    folder = runs / name
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text("".join(LINES))
    (folder / "10-a.ipynb").write_text('{"cells": []}\n')
    (folder / "run.json").write_text("{}\n")
    assert seal.seal(folder, [SECRET], key) == []
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two sealed runs, of which the second was sealed after the first."""
    for name in "12":
        make(tmp_path / "runs", name)
    return tmp_path / "runs"


def found(runs: Path) -> list[str]:
    return [str(finding) for finding in verify.verify_all(runs)]


def edit(name: str, change):
    """Return a function that changes the text of a file below the folder of runs."""
    return lambda runs: (runs / name).write_text(change((runs / name).read_text()))


def remove(*names: str, then=lambda runs: None):
    """Return a function that removes files and folders below the folder of runs."""

    def removed(runs: Path) -> None:
        for path in (runs / name for name in names):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        then(runs)

    return removed


def replaced(name: str, put):
    def replace(runs: Path) -> None:
        path = runs / name
        path.rename(runs.parent / "elsewhere")
        put(path)

    return replace


def elsewhere(path: Path) -> None:
    path.symlink_to(next(p for p in path.parents if p.name == "runs").parent / "elsewhere")


def forged(run: str, then=lambda runs: None):
    """Change a run and write the manifest that fits, without a line in the log of seals."""

    def forge(runs: Path) -> None:
        folder = runs / run
        (folder / "run.json").write_text('{"user": "somebody else"}\n')
        old = manifest.read(folder / manifest.FILE)
        files = {name: manifest.digest(path) for name, path in manifest.content(folder).items()}
        new = manifest.Manifest(run, manifest.now(), files, old.before, old.link)
        (folder / manifest.FILE).write_text(manifest.as_text(new))
        then(runs)

    return forge


def added(runs: Path) -> None:
    (runs / "1/sub").mkdir()
    (runs / "1/sub/b.ipynb").write_text("x")
    (runs / "1/empty").mkdir()


def rewritten(runs: Path) -> None:
    """Change the first run and seal it as if for the first time."""
    (runs / "1/run.json").write_text('{"user": "somebody else"}\n')
    (runs / "1" / manifest.FILE).unlink()
    seal.seal(runs / "1")


def resumed_over(runs: Path) -> None:
    """Seal a run again, as a resume does, after changing what its first seal covers."""
    (runs / "1/10-a.ipynb").write_text("another\n")
    (runs / "1/events.jsonl").write_text(LINES[0])
    seal.seal(runs / "1")


def renamed(runs: Path) -> None:
    (runs / "1").rename(runs / "9")


def first_line(text: str) -> str:
    return text.splitlines(True)[0]


def last_line(text: str) -> str:
    return text.splitlines(True)[-1]


EVENTS, MANIFEST, LOG = "1/events.jsonl", f"1/{manifest.FILE}", seal.LOG
CHANGED = "1/events.jsonl: changed: lines were edited, added, moved or cut"
EDITED = "1/MANIFEST.sha256: .*: it was edited, cut or replaced"
ENDED = r"1: not sealed, though the run has ended \(ok\): MANIFEST.sha256 was removed, .*"
GONE = "1: removed: 2 was sealed after it"
LINE_GONE = "seals.log: the line of a seal of {} was removed"
NOT_LINKED = "1/MANIFEST.sha256: not the one after which 2 was sealed"
NOT_LISTED = "2/MANIFEST.sha256: not the one that seals.log lists at .*"
NO_RUN = "1: not sealed: it is not a run, or its ledger was removed"
OVERWRITTEN = """1/10-a.ipynb: the version sealed in MANIFEST.1.sha256 is gone
1/events.jsonl: does not begin with the lines sealed in MANIFEST.1.sha256"""


def resumed_then_forged(runs: Path) -> None:
    """Change the newest seal of a resumed run, and list its older one in the place of that."""
    (runs / "2/run.json").write_text("{2}\n")
    seal.seal(runs / "2")
    forged("2", edit(LOG, lambda text: "".join(text.splitlines(True)[i] for i in (0, 1, 1))))(runs)


FORGERIES = {  # what is done, and the findings
    "nothing": (lambda runs: None, ""),
    "a file removed": (remove("1/10-a.ipynb"), "1/10-a.ipynb: removed"),
    "files added": (added, "1/empty: added\n1/sub/b.ipynb: added"),
    "no manifest": (remove(MANIFEST), f"{ENDED}\n{NOT_LINKED}"),
    "neither manifest nor ledger": (remove(MANIFEST, EVENTS), f"{NO_RUN}\n{NOT_LINKED}"),
    "sealed anew": (rewritten, NOT_LINKED),
    "changed before a resume": (resumed_over, OVERWRITTEN),
    "the older run removed": (remove("1"), GONE),
    "the older run removed with its line": (remove("1", then=edit(LOG, last_line)), GONE),
    "the newest run removed": (remove("2"), "2: removed: seals.log has its seal of .*"),
    "both runs removed": (remove("1", "2"), "1: removed: .*\n2: removed: .*"),
    "the newest run forged": (forged("2"), NOT_LISTED),
    "forged, and its line another's": (resumed_then_forged, LINE_GONE.format(2)),
    "forged, and its line removed": (forged("2", edit(LOG, first_line)), LINE_GONE.format(2)),
    "another name": (renamed, f"9/MANIFEST.sha256: is the one of the run 1\n{GONE}"),
    "a link for a run": (replaced("1", elsewhere), "1: replaced by a link to another folder"),
}
EDITS = {  # of any file of lines
    "a letter": lambda text: text.replace("a", "A", 1),
    "all in capitals": str.upper,
    "the last line twice": lambda text: text + last_line(text),
    "the last line first": lambda text: last_line(text) + text,
    "the last line cut off": lambda text: "".join(text.splitlines(True)[:-1]),
    "all lines turned round": lambda text: "".join(text.splitlines(True)[::-1]),
    "the last byte cut off": lambda text: text[:-1],
    "an empty line more": lambda text: text + "\n",
    "nothing left": lambda text: "",
}
LOGS = {  # what is made of the log, and the finding
    "a line for another run": (lambda text: text.replace("  1\n", "  7\n"), "7: removed: .*"),
    "a line that is none": (lambda text: f"{text}x\n", "seals.log: line 3 is not a seal: .*"),
    "no line": (lambda text: "", LINE_GONE.format(".")),
    "without its first line": (last_line, LINE_GONE.format(1)),
    "without its last line": (first_line, LINE_GONE.format(2)),
    "another time": (
        lambda text: re.sub(r"(?m)^\d{4}", "1999", text, count=1),
        "seals.log: the line of a seal of 1 has another time",
    ),
}
NO_FILE = "replaced by something that is not a plain file"
PLACES = {
    "1/run.json": f"1/run.json: {NO_FILE}",
    EVENTS: f"{EVENTS}: {NO_FILE}",
    MANIFEST: EDITED,
    LOG: "seals.log: (missing|not sealed): .*",
}
count = edit(MANIFEST, lambda text: text.replace("# files: 3", "# files: 2"))
FORGERIES |= {"another count": (count, EDITED), "no log": (remove(LOG), PLACES[LOG])}
FORGERIES |= {
    f"{file}: {kind}": (edit(file, change), expected)
    for file, expected in ((EVENTS, CHANGED), (MANIFEST, EDITED))
    for kind, change in EDITS.items()
}
FORGERIES |= {
    f"the log: {kind}": (edit(LOG, change), text) for kind, (change, text) in LOGS.items()
}
FORGERIES |= {
    f"{place}: a {thing}": (replaced(place, put), expected)
    for place, expected in PLACES.items()
    for thing, put in (("link", elsewhere), ("pipe", os.mkfifo), ("folder", os.mkdir))
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_every_forgery_is_found_and_its_place_named(runs, kind):
    forge, expected = FORGERIES[kind]
    forge(runs)
    texts = "\n".join(found(runs))
    assert re.fullmatch(expected, texts), texts
    assert main(["verify", "--runs", str(runs)]) == (6 if expected else 0)


def test_sha256sum_reads_the_manifest_too(runs):
    (runs / "1/odd\\name\nin two lines").write_text("x")
    seal.seal(runs / "1")
    command = ["sha256sum", "--check", "--strict", "--quiet", manifest.FILE]
    assert subprocess.run(command, cwd=runs / "1").returncode == 0
    assert found(runs) == []


def test_a_continued_run_is_sealed_again_over_its_older_seal(runs):
    first = runs / "1"
    (first / "10-a.ipynb").rename(first / "10-a.attempt1.ipynb")
    (first / "10-a.ipynb").write_text('{"cells": [1]}\n')
    with (first / "events.jsonl").open("a") as file:
        file.write(LINES[0])
    (first / "run.json").write_text('{"earlier": [{}]}\n')
    seal.seal(first)
    assert "MANIFEST.1.sha256" in manifest.read(first / manifest.FILE).files
    assert manifest.read(first / manifest.FILE).before == "2"
    assert found(runs) == []


def test_a_secret_in_any_file_is_reported_and_the_run_is_sealed(runs):
    folder = runs / "1"
    (folder / "report.html").write_text("<p>\nthe%2Donly%2Dsecret%2Dhere</p>")
    (folder / "sub").mkdir()
    (folder / "sub" / "log").write_text(SECRET)
    hits = seal.seal(folder, [SECRET])
    assert hits == ["report.html, line 2", "log, line 1"]
    assert verify.verify(folder) == []


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A new SSH key; its public half is allowed in `allowed` beside it."""
    path = tmp_path / "key"
    make_key(path)
    public = path.with_suffix(".pub").read_text()
    (tmp_path / "allowed").write_text(f'operator namespaces="runbook" {public}')
    return path


def test_a_signature_is_checked_against_those_who_may_sign(runs, key):
    folder, allowed = make(runs, "3", key), key.with_name("allowed")
    assert verify.verify(folder) == verify.verify(folder, allowed) == []
    assert [f.run for f in verify.verify_all(runs, allowed)] == ["1", "2"]
    allowed.write_text("")
    (finding,) = verify.verify(folder, allowed)
    assert "does not allow" in finding.what
    signature = (folder / manifest.SIGNATURE).read_text()
    seal.seal(folder)
    (folder / manifest.SIGNATURE).write_text(signature)
    assert found(runs) == ["3/MANIFEST.sha256.sig: does not match MANIFEST.sha256"]


def test_a_run_is_sealed_even_if_signing_fails(runs, tmp_path):
    with pytest.raises(BadInput, match="sealed, but not signed"):
        make(runs, "3", tmp_path / "no-such-key")
    assert found(runs) == []


def test_who_locks_a_ledger_does_not_hide_the_run(runs):
    (runs / "1/run.json").write_text("{1}\n")
    with (runs / EVENTS).open() as reader:
        fcntl.flock(reader, fcntl.LOCK_EX)
        assert [f.file for f in verify.verify_all(runs)] == ["run.json"]
        with (runs / EVENTS).open("a") as file:
            file.write('{"event": "run-resumed"}\n')
        assert verify.running(runs) == [runs / "1"]


def test_a_line_that_a_power_cut_tore_is_ended_before_it_is_sealed(runs):
    torn = runs / "1/journal.jsonl"
    torn.write_text('{"a": 1}\n{"b": ')
    (runs / "1/facts.jsonl").write_bytes(b"\0\0\0")
    seal.seal(runs / "1")
    with torn.open("a") as file:
        file.write('{"c": 3}\n')
    seal.seal(runs / "1")
    assert torn.read_text() == '{"a": 1}\n{"b": \n{"c": 3}\n'
    assert found(runs) == []


def test_a_torn_line_of_the_log_does_not_take_the_next_one_with_it(runs):
    (runs / LOG).write_text((runs / LOG).read_text() + "2026-01-01T00:0")
    make(runs, "3")
    assert found(runs) == ["seals.log: line 3 is not a seal: it was edited or cut"]


def test_a_sealing_that_was_cut_off_is_completed(runs, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make(runs, "3")
    seal.complete(runs / "3")
    assert found(runs) == []


@pytest.mark.parametrize("umask", [0, 0o077])
def test_a_run_is_for_its_owner_alone_whatever_the_umask(runs, umask):
    before = os.umask(umask)
    try:
        folder = make(runs, "3")
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    files = [*folder.iterdir(), runs / LOG]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


@pytest.mark.parametrize("which", [[], ["1"], ["{runs}/1"]])
def test_the_command_names_what_changed_and_a_seal_noted_elsewhere(runs, capsys, which):
    words = [*(word.format(runs=runs) for word in which), "--runs", str(runs)]
    head = manifest.digest(runs / "2" / manifest.FILE)
    assert main(["verify", *words, "--noted", head]) == 0
    output = capsys.readouterr().out
    assert f"{2 - len(which)} checked, 0 not as sealed." in output and output.endswith(
        f"2: {head}\n"
    )
    assert main(["verify", *words, "--noted", "0" * 64]) == 6
    assert f"✗ runs: no run has the seal {'0' * 64}" in capsys.readouterr().out
    (runs / EVENTS).write_text("{}\n")
    assert main(["verify", *words]) == 6
    assert "✗ 1/events.jsonl: changed" in capsys.readouterr().out


def test_the_command_says_what_is_never_sealed_and_refuses_an_unknown_run(runs, capsys):
    (runs / "interactive").mkdir()
    assert main(["verify", "--runs", str(runs)]) == 0
    assert "interactive: not sealed: the journal of notebooks" in capsys.readouterr().out
    assert main(["verify", "interactive", "--runs", str(runs)]) == 6
    assert main(["verify", "3", "--runs", str(runs)]) == 2
    assert "no such folder" in capsys.readouterr().err
