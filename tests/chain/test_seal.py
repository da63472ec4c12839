import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.chain import seal, verify
from lib.record import manifest
from lib.record.faults import BadInput

LINES = [json.dumps({"event": event, "cause": "ok"}) for event in ("run-started", "x", "run-ended")]
Make = Callable[..., Path]
SECRET = "the-only-secret-here"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that makes and seals a run."""

    def made(name: str, key: Path | None = None) -> Path:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "events.jsonl").write_text("".join(f"{line}\n" for line in LINES))
        (folder / "10-a.ipynb").write_text('{"cells": []}\n')
        (folder / "run.json").write_text("{}\n")
        assert seal.seal(folder, [SECRET], key) == []
        return folder

    return made


def found(folder: Path) -> dict[str, str]:
    return {finding.file: finding.what for finding in verify.verify(folder)}


def test_a_sealed_run_is_as_it_was_sealed(make):
    folder = make("1")
    assert verify.verify(folder) == []
    assert verify.verify_all(folder.parent) == []


def test_sha256sum_reads_the_manifest_too(make):
    folder = make("1")
    (folder / "odd\\name\nin two lines").write_text("x")
    command = ["sha256sum", "--check", "--strict", "--quiet", manifest.FILE]
    assert subprocess.run(command, cwd=folder).returncode == 0


EDITS = {
    "a letter": lambda text: text.replace("ok", "OK", 1),
    "a line more": lambda text: text + LINES[1] + "\n",
    "a line in between": lambda text: LINES[1] + "\n" + text,
    "a line less": lambda text: text.replace(LINES[1] + "\n", ""),
    "two lines swapped": lambda text: "".join(reversed(text.splitlines(keepends=True))),
    "the last line cut off": lambda text: text[: text.rindex(LINES[2])],
    "the last byte cut off": lambda text: text[:-1],
    "nothing left": lambda text: "",
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_found_and_the_file_named(make, edit):
    folder = make("1")
    path = folder / "events.jsonl"
    path.write_text(EDITS[edit](path.read_text()))
    assert list(found(folder)) == ["events.jsonl"]


def test_a_removed_and_an_added_file_are_found(make):
    folder = make("1")
    (folder / "10-a.ipynb").unlink()
    (folder / "sub").mkdir()
    (folder / "sub" / "b.ipynb").write_text("x")
    assert found(folder) == {"10-a.ipynb": "removed", "sub/b.ipynb": "added"}


def test_a_link_in_the_place_of_a_file_is_found(make, tmp_path):
    folder = make("1")
    (folder / "run.json").rename(tmp_path / "elsewhere")
    (folder / "run.json").symlink_to(tmp_path / "elsewhere")
    assert list(found(folder)) == ["run.json"]


@pytest.mark.parametrize("edit", [
    lambda text: text[:-1],
    lambda text: text[: text.rindex("\n", 0, -1) + 1],
    lambda text: text.replace("# files: 3", "# files: 2"),
    lambda text: "".join(reversed(text.splitlines(keepends=True))),
    lambda text: text + text.splitlines()[-1] + "\n",
    lambda text: text + "\n",
    lambda text: text.upper(),
    lambda text: "",
])  # fmt: skip
def test_an_edited_manifest_is_found(make, edit):
    folder = make("1")
    path = folder / manifest.FILE
    path.write_text(edit(path.read_text()))
    assert list(found(folder)) == [manifest.FILE]


def test_a_removed_manifest_is_not_taken_for_a_run_without_one(make):
    folder = make("1")
    (folder / manifest.FILE).unlink()
    assert "was removed" in found(folder)[""]
    (folder / "events.jsonl").write_text(LINES[0] + "\n")
    assert found(folder)[""] == "not sealed: the run is abandoned"


def test_a_run_rewritten_with_its_manifest_breaks_the_link_of_the_next(make):
    first, second = make("1"), make("2")
    (first / "run.json").write_text('{"user": "somebody else"}\n')
    (first / manifest.FILE).unlink()
    seal.seal(first)
    assert str(*verify.verify(first)) == ("1/MANIFEST.sha256: not the one after which 2 was sealed")
    assert verify.verify(second) == verify.verify(first)


def test_the_next_run_reveals_a_removed_one(make):
    folders = [make(name) for name in "123"]
    for path in folders[1].iterdir():
        path.unlink()
    folders[1].rmdir()
    assert [str(f) for f in verify.verify_all(folders[0].parent)] == [
        "2: removed: 3 was sealed after it"
    ]


def test_the_log_reveals_the_removed_newest_run(make):
    runs, last = make("1").parent, make("2")
    shutil.rmtree(last)
    (finding,) = verify.verify_all(runs)
    assert (finding.run, finding.file) == ("2", "") and "removed: seals.log has" in finding.what
    shutil.rmtree(runs / "1")
    assert [f.run for f in verify.verify_all(runs)] == ["1", "2"]


def test_the_log_reveals_the_newest_run_rewritten_with_its_manifest(make):
    folder = make("1")
    (folder / "run.json").write_text('{"user": "somebody else"}\n')
    files = {name: manifest.digest(path) for name, path in manifest.content(folder).items()}
    made = manifest.Manifest("1", manifest.now(), files)
    (folder / manifest.FILE).write_text(manifest.as_text(made))
    assert "not the one that seals.log lists" in found(folder)[manifest.FILE]


def test_a_log_of_seals_that_was_edited_or_removed_is_found(make):
    log = make("1").parent / seal.LOG
    text = log.read_text()
    log.write_text(text.replace("  1\n", "  7\n"))
    assert [f.run for f in verify.verify_all(log.parent)] == ["7"]
    log.write_text(text + "not a seal\n")
    assert [str(f) for f in verify.verify_all(log.parent)] == [
        "seals.log: line 2 is not a seal: it was edited or cut"
    ]
    log.unlink()
    assert [str(f) for f in verify.verify_all(log.parent)] == [
        "seals.log: missing: it was removed or replaced"
    ]


def test_a_folder_that_lost_both_ledger_and_seal_is_not_passed_over(make):
    folder = make("1")
    make("2")
    for path in (folder / manifest.FILE, folder / "events.jsonl"):
        path.unlink()
    assert [f.run for f in verify.verify_all(folder.parent)] == ["1", "1"]


def test_a_run_under_another_name_is_found(make):
    folder = make("1")
    other = folder.rename(folder.with_name("9"))
    assert found(other) == {manifest.FILE: "is the one of the run 1"}
    assert [f.run for f in verify.verify_all(folder.parent)] == ["9", "1"]


def test_a_continued_run_is_sealed_again_over_its_older_seal(make):
    first, _ = make("1"), make("2")
    (first / "10-a.ipynb").rename(first / "10-a.attempt1.ipynb")
    (first / "10-a.ipynb").write_text('{"cells": [1]}\n')
    with (first / "events.jsonl").open("a") as file:
        file.write(LINES[0] + "\n")
    (first / "run.json").write_text('{"earlier": [{}]}\n')
    seal.seal(first)
    assert "MANIFEST.1.sha256" in manifest.read(first / manifest.FILE).files
    assert manifest.read(first / manifest.FILE).before == "2"
    assert verify.verify_all(first.parent) == []


def test_a_change_before_a_resume_is_found_after_it(make):
    folder = make("1")
    (folder / "10-a.ipynb").write_text("another\n")
    (folder / "events.jsonl").write_text(LINES[0] + "\n")
    seal.seal(folder)
    assert found(folder) == {
        "10-a.ipynb": "the version sealed in MANIFEST.1.sha256 is gone",
        "events.jsonl": "does not begin with the lines sealed in MANIFEST.1.sha256",
    }


def test_a_secret_in_any_file_is_reported_and_the_run_is_sealed(make):
    folder = make("1")
    (folder / "report.html").write_text("<p>\nthe%2Donly%2Dsecret%2Dhere</p>")
    (folder / "sub").mkdir()
    (folder / "sub" / "log").write_text("the-only-secret-here")
    assert [str(hit) for hit in seal.seal(folder, [SECRET])] == [
        "report.html, line 2", "log, line 1",
    ]  # fmt: skip
    assert verify.verify(folder) == []


def test_an_unknown_folder_is_refused(tmp_path):
    for check in (verify.verify, verify.verify_all):
        with pytest.raises(BadInput, match="no such folder"):
            check(tmp_path / "nothing")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Return a new SSH key; its public half is allowed in `allowed` beside it."""
    path = tmp_path / "key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", str(path)]
    subprocess.run(command, check=True)
    public = path.with_suffix(".pub").read_text()
    (tmp_path / "allowed").write_text(f'operator namespaces="runbook" {public}')
    return path


def test_a_signature_is_checked_against_those_who_may_sign(make, key):
    folder, unsigned = make("1", key), make("2")
    allowed = key.with_name("allowed")
    assert verify.verify(folder) == []
    assert verify.verify(folder, allowed) == []
    assert [f.run for f in verify.verify_all(folder.parent, allowed)] == [unsigned.name]
    allowed.write_text("")
    (finding,) = verify.verify(folder, allowed)
    assert "does not allow" in finding.what


def test_a_signature_of_another_manifest_is_found(make, key):
    folder = make("1", key)
    (folder / "run.json").write_text("{1}\n")
    signature = (folder / manifest.SIGNATURE).read_text()
    seal.seal(folder)
    (folder / manifest.SIGNATURE).write_text(signature)
    assert found(folder) == {manifest.SIGNATURE: "does not match MANIFEST.sha256"}


def test_a_run_is_sealed_even_if_signing_fails(make, tmp_path):
    with pytest.raises(BadInput, match="sealed, but not signed"):
        make("1", tmp_path / "no-such-key")
    assert verify.verify(tmp_path / "runs" / "1") == []


def test_verify_prints_the_newest_seal(make):
    folder = make("1")
    assert verify.newest_seal(folder.parent).endswith(manifest.digest(folder / manifest.FILE))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path) -> None:
    path.symlink_to(path.rename(path.parents[2] / "elsewhere"))


@pytest.mark.parametrize("put", [pipe, folder_instead, link])
@pytest.mark.parametrize("name", [manifest.FILE, "run.json", "events.jsonl", "../seals.log"])
def test_links_and_pipes_are_found_and_never_read(make, name, put):
    folder = make("1")
    make("2")
    put(folder / name)
    named = [f.file or f.run for f in verify.verify_all(folder.parent)]
    assert Path(name).name in named
    assert seal.last(folder.parent)[0] == "2" and verify.closed(folder.parent)


def test_a_link_in_the_place_of_a_run_is_found(make, tmp_path):
    folder = make("1")
    folder.symlink_to(folder.rename(tmp_path / "elsewhere"))
    assert found(folder) == {"": "replaced by a link to another folder"}
    assert [f.run for f in verify.verify_all(folder.parent)] == ["1"]


def test_an_empty_folder_that_was_added_is_found(make):
    folder = make("1")
    (folder / "empty").mkdir()
    assert found(folder) == {"empty": "added"}


@pytest.mark.parametrize(
    "edit", [lambda lines: [], lambda lines: lines[1:], lambda lines: lines[:1]]
)
def test_a_line_removed_from_the_log_of_seals_is_found(make, edit):
    log = make("1").parent / seal.LOG
    make("2")
    log.write_text("".join(edit(log.read_text().splitlines(keepends=True))))
    told = [str(f) for f in verify.verify_all(log.parent)]
    assert told and all("seals.log: the line of a seal of" in text for text in told)


def test_an_edited_run_with_a_new_manifest_is_found_without_its_line_in_the_log(make):
    folder = make("1")
    (folder / "run.json").write_text('{"user": "somebody else"}\n')
    files = {name: manifest.digest(path) for name, path in manifest.content(folder).items()}
    (folder / manifest.FILE).write_text(
        manifest.as_text(manifest.Manifest("1", manifest.now(), files))
    )
    (folder.parent / seal.LOG).write_text("")
    assert found(folder) == {"": "the line of a seal of 1 was removed"}


def test_who_locks_a_ledger_does_not_hide_the_run(make):
    folder = make("1")
    (folder / "run.json").write_text("{1}\n")
    with (folder / "events.jsonl").open() as reader:
        fcntl.flock(reader, fcntl.LOCK_EX)
        assert [f.file for f in verify.verify_all(folder.parent)] == ["run.json"]
        with (folder / "events.jsonl").open("a") as file:
            file.write('{"event": "run-resumed"}\n')
        assert verify.running(folder.parent) == [folder]


def test_a_line_that_a_power_cut_tore_is_ended_before_it_is_sealed(make):
    folder = make("1")
    torn = folder / "journal.jsonl"
    torn.write_text('{"a": 1}\n{"b": ')
    (folder / "facts.jsonl").write_bytes(b"\0\0\0")
    seal.seal(folder)
    with torn.open("a") as file:
        file.write('{"c": 3}\n')
    seal.seal(folder)
    assert torn.read_text() == '{"a": 1}\n{"b": \n{"c": 3}\n'
    assert verify.verify(folder) == []


def test_a_torn_line_of_the_log_does_not_take_the_next_one_with_it(make):
    log = make("1").parent / seal.LOG
    log.write_text(log.read_text() + "2026-01-01T00:0")
    make("2")
    assert [str(f) for f in verify.verify_all(log.parent)] == [
        "seals.log: line 2 is not a seal: it was edited or cut"
    ]


def test_a_sealing_that_was_cut_off_is_completed(make, monkeypatch):
    first = make("1")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make("2")
    seal.complete(first.parent / "2")
    assert verify.verify_all(first.parent) == []


@pytest.mark.parametrize("umask", [0, 0o077])
def test_a_run_is_for_its_owner_alone_whatever_the_umask(make, umask):
    before = os.umask(umask)
    try:
        folder = make(f"{umask}")
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    files = [*folder.iterdir(), folder.parent / seal.LOG]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
