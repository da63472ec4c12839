from pathlib import Path

import pytest

from lib.__main__ import main
from lib.chain import seal, verify

SECRET = "kept-in-a-file-0123456789abcdef"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("1", "2"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "events.jsonl").write_text('{"event": "run-ended", "cause": "ok"}\n')
        seal.seal(folder)
    return tmp_path / "runs"


def test_verify_ends_with_0_when_all_is_as_sealed(runs, capsys):
    assert main(["verify", "--runs", str(runs)]) == 0
    assert capsys.readouterr().out.startswith("2 checked, 0 not as sealed. The newest seal is")


@pytest.mark.parametrize("which", [[], ["1"], ["{runs}/1"]])
def test_verify_ends_with_6_and_names_changed_files(runs, capsys, which):
    (runs / "1" / "events.jsonl").write_text("{}\n")
    words = [word.format(runs=runs) for word in which]
    assert main(["verify", *words, "--runs", str(runs)]) == 6
    assert "✗ 1/events.jsonl: changed" in capsys.readouterr().out


def test_a_seal_stored_elsewhere_must_still_exist(runs, capsys):
    head = verify.newest_seal(runs).rpartition(" ")[2]
    assert main(["verify", "--runs", str(runs), "--noted", head]) == 0
    assert main(["verify", "--runs", str(runs), "--noted", "0" * 64]) == 6
    assert f"✗ runs: no run has the seal {'0' * 64}" in capsys.readouterr().out


def test_verify_says_that_runs_by_hand_are_never_sealed(runs, capsys):
    (runs / "interactive").mkdir()
    assert main(["verify", "--runs", str(runs)]) == 0
    assert "interactive: not sealed: the journal of notebooks" in capsys.readouterr().out
    assert main(["verify", "interactive", "--runs", str(runs)]) == 6


def test_verify_refuses_an_unknown_run(runs, capsys):
    assert main(["verify", "3", "--runs", str(runs)]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_the_secret_of_a_profile_is_refused_as_a_parameter(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLOUDSTACK_SECRET", SECRET)
    for option in (f"zone=in-{SECRET}", f"cluster_size={SECRET}"):
        assert main(["run", "-p", option, "--runs", str(tmp_path)]) == 2
        told = capsys.readouterr().err
        assert option.partition("=")[0] in told
        assert SECRET not in told
    assert list(tmp_path.iterdir()) == []
