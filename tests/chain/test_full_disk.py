"""A full disk ends a run at the end of its record; with space, the run is resumed or sealed."""

import errno
import os
import shutil
import subprocess

import pytest
from harness import small_disk

from lib.chain import seal
from lib.commands.main import main
from lib.record import ledger
from lib.record.journal import Journal

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def at(book, notebooks, tmp_path):
    """Options for runs of two stages."""
    for name in ("10-one", "20-two"):
        book(notebooks / f"{name}.ipynb", "# A title", "import os", "print(os.urandom(9000).hex())")
    return ["--notebooks", str(notebooks), "--runs", str(tmp_path / "disk/runs")]


@pytest.fixture
def one(at):
    """Options for runs of the first stage alone."""
    return [*at, "--stages", "10"]


def folders(runs):
    return [f for f in runs.iterdir() if f.is_dir()] if runs.exists() else []


@pytest.mark.system
def test_a_run_on_a_disk_that_fills_up_is_continued_once_there_is_room(at, tmp_path, capsys):
    codes = []
    with small_disk(tmp_path / "disk", 4000) as disk:
        runs, filler = disk / "runs", disk / "filler"
        while not codes or codes[-1]:
            shutil.rmtree(runs, ignore_errors=True)
            place = os.statvfs(disk)
            filler.write_bytes(bytes(place.f_bavail * place.f_frsize - 40 * 1024 * len(codes)))
            codes.append(main(["run", *at]))
            filler.unlink()
            output = capsys.readouterr().err
            if codes[-1] == 2:
                assert "No space left on device. Free: 0.0 MB in" in output
                assert folders(runs) == []
            elif codes[-1]:
                (folder,) = folders(runs)
                assert output.endswith(f"Make room, then: runbook resume {folder}\n")
                assert main(["resume", str(folder)]) == 0
                assert ledger.state(folder) == "ok"
            assert main(["verify", "--runs", str(runs)]) == 0
            assert not list(runs.glob("*/.*.part"))
    assert codes[0] == 2 and codes.count(1) >= 2 and sorted(codes, key=[2, 1, 0].index) == codes


@pytest.mark.parametrize(
    ("where", "command"),
    [("lib.chain.closing.end", "run"), ("lib.chain.seal._append_to_log", "resume")],
)
def test_a_run_that_ended_without_its_seal_is_sealed_by_the_next_command(
    one, tmp_path, monkeypatch, capsys, where, command
):
    runs = tmp_path / "disk/runs"

    def full(*_, **__):
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(where, full)
        assert main(["run", *one]) == 1
    (folder,) = folders(runs)
    assert "Free: " in capsys.readouterr().err and ledger.state(folder) == "ok"
    assert main(["verify", "--runs", str(runs)]) == 6
    assert "or its driver died first" in capsys.readouterr().out
    assert main(["resume", str(folder)] if command == "resume" else ["run", *one]) == 0
    assert (
        f"{folder.name} had ended (ok), but was not sealed; it is now." in capsys.readouterr().out
    )
    assert main(["verify", "--runs", str(runs)]) == 0


def test_a_continued_run_that_ended_without_its_seal_is_sealed_later(
    at, book, notebooks, tmp_path, monkeypatch
):
    runs = tmp_path / "disk/runs"
    book(notebooks / "20-two.ipynb", "1 / 0")
    assert main(["run", *at]) == 1
    (folder,) = folders(runs)
    book(notebooks / "20-two.ipynb", "1 / 1")
    with monkeypatch.context() as patch:
        patch.setattr(seal.manifest, "as_text", lambda created: (_ for _ in ()).throw(FULL))
        assert main(["resume", str(folder)]) == 1
    assert main(["resume", str(folder)]) == 0
    assert main(["verify", "--runs", str(runs)]) == 0


def test_a_removed_seal_is_not_replaced(one, tmp_path):
    runs = tmp_path / "disk/runs"
    assert main(["run", *one]) == 0
    (folder,) = folders(runs)
    (folder / "MANIFEST.sha256").unlink()
    assert main(["run", *one]) == 0
    assert main(["verify", "--runs", str(runs)]) == 6
    assert not (folder / "MANIFEST.sha256").exists()


@pytest.mark.system
def test_a_line_is_written_completely_or_raises(tmp_path):
    with small_disk(tmp_path / "disk", 64) as disk:
        journal = Journal(disk / "run", "here")
        with pytest.raises(OSError, match="No space left on device"):
            for number in range(99):
                journal.intend("write", "x" * 3000, {"n": number}, None)
        entries = Journal(disk / "run", "here").every()
        assert [e.params["n"] for e in entries] == list(range(number))
        subprocess.run(["mount", "-o", "remount,size=128k", disk], check=True)
        again = journal.intend("write", "y", {}, None)
        assert Journal(disk / "run", "here").every()[-1] == again
