"""Arguments from shells, and output on terminals with few characters."""

import json
import os
import subprocess

import pytest

from lib.commands.main import main
from lib.record.journal import ROOT

from .conftest import RUNBOOK


@pytest.mark.parametrize("encoding", ["ascii", "cp932", "euc_jp", "utf-8"])
def test_a_run_ends_well_whatever_the_terminal_can_show(book, notebooks, at, encoding):
    book(notebooks / "10-one.ipynb", "print('✓ … ü 日本')")
    env = os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "ja_JP.UTF-8"}
    for words in (["run", *at], ["list", *at[2:]]):
        done = subprocess.run([*RUNBOOK, *words], capture_output=True, env=env, cwd=ROOT)
        assert (done.returncode, done.stderr) == (0, b""), words
        output = done.stdout.decode(encoding)
        assert ("✓ " if encoding == "utf-8" else "+ ") in output
        shown = {"run": "1 ステージ中 1 が成功", "list": "到達ステージ"}[words[0]]
        assert encoding == "ascii" or shown in output


EMPTY = {
    "run": ["--stages", "-p", "--reason", "--notebooks", "--runs"],
    "verify": ["--noted", "--signers", "--runs"],
    "list": ["--runs"],
}


def test_an_empty_choice_or_name_is_a_fault(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    choices = [[word, option] for word, options in EMPTY.items() for option in options]
    for words in [*choices, ["verify"], ["resume"], ["report"]]:
        for value in ("", " "):
            assert main([*words, value]) == 2
            assert "empty" in capsys.readouterr().err, words
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_of_runs_is_reported(tmp_path, capsys):
    for word in ("verify", "list", "watch"):
        assert main([word, "--runs", str(tmp_path / "none")]) == 2
        assert "there is no such folder of runs" in capsys.readouterr().err


def test_a_reason_that_is_not_text_is_refused_before_anything_is_written(tmp_path, capsys):
    assert main(["run", "--reason", "\udcff", "--runs", str(tmp_path / "runs")]) == 2
    assert "not UTF-8" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_names_and_outputs_that_are_no_text_are_recorded_as_escapes(book, tmp_path):
    odd = tmp_path / "n\udcff"
    book(odd / "10-one.ipynb", r"print('a\ud800b'); 1 / size", parameters="size: int = 0  # GB")
    (tmp_path / "p\udcff.yaml").write_text("size: 0\n")
    at = ["--runs", str(tmp_path / "r\udcff")]
    assert main(["run", str(tmp_path / "p\udcff.yaml"), "--notebooks", str(odd), *at]) == 1
    assert main(["resume", "latest", *at]) == 1
    assert main(["verify", *at]) == 0
    (record,) = (tmp_path / "r\udcff").glob("*/")
    noted = json.loads((record / "10-one.ipynb").read_text())["metadata"]["papermill"]
    assert noted["output_path"].startswith(str(tmp_path / "r\udcff"))


HOSTILE = "20250102-030405-\x1b[2Jx\u202e"


@pytest.mark.parametrize(
    "words",
    [
        ["verify"],
        ["list"],
        ["verify", HOSTILE],
        ["resume", f"{HOSTILE}y"],
        ["diff", HOSTILE, "no"],
        ["run", "--stages", "\x1b[2J"],
        ["\x1b[2J"],
        ["run", "no\x1b[2J.yaml"],
        ["run", "--\x1b[2J"],
    ],
)
def test_control_characters_of_names_do_not_reach_the_terminal(words, tmp_path, capsys):
    folder = tmp_path / "runs" / HOSTILE
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text("a: b\n")
    (folder / "\x1b]0;title\x07").touch()
    at = [] if words[0][0] == "\x1b" else ["--runs", str(folder.parent)]
    main([*words, *at])
    output = "".join(capsys.readouterr())
    assert output and all(c == "\n" or c.isprintable() for c in output)
