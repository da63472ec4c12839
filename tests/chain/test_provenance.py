import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from lib.record import facts, provenance


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    created = tmp_path / "run-1"
    created.mkdir()
    return created


def facts_of(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize(("sudo", "known"), [("nobody", "nobody"), ("no such user", ""), ("", "")])
def test_run_json_has_the_user_behind_sudo(folder, monkeypatch, sudo, known):
    monkeypatch.setenv("SUDO_USER", sudo)
    provenance.begin(folder, notebooks=[])
    assert facts_of(folder)["sudo_user"] == known


def test_run_json_has_user_command_and_code(folder, tmp_path):
    book = tmp_path / "10-a.ipynb"
    book.write_text("{}")
    provenance.begin(folder, notebooks=[book], reason="ticket 12", command=["runbook", "run"])
    provenance.finish(folder, outcome="ok", exit_code=0)
    run = facts_of(folder)
    assert run["run"] == "run-1"
    assert run["reason"] == "ticket 12"
    assert run["pid"] == os.getpid()
    assert run["notebooks"] == {"10-a.ipynb": hashlib.sha256(b"{}").hexdigest()}
    assert len(run["lib"]["lib/record/provenance.py"]) == 64
    assert run["packages"]["papermill"][0].isdigit()
    assert run["started"] < run["ended"]
    assert (run["outcome"], run["exit_code"]) == ("ok", 0)


def test_a_resumed_run_keeps_the_facts_of_former_drivers(folder):
    for reason in ("first", "second", "third"):
        provenance.begin(folder, notebooks=[], reason=reason)
        provenance.finish(folder, outcome="failed")
    assert facts_of(folder)["reason"] == "third"
    assert [run["reason"] for run in facts_of(folder)["earlier"]] == ["first", "second"]


def test_facts_of_kernels_are_in_run_json(folder, monkeypatch):
    monkeypatch.setenv("RUNBOOK_RUN", str(folder))
    provenance.begin(folder, notebooks=[])
    for version in ("4.19", "4.20", "4.20"):
        facts.add(endpoint="http://cloud", server_version=version)
    with (folder / "facts.jsonl").open("a") as file:
        file.write('{"cut off')
    provenance.finish(folder, outcome="ok")
    observed = {"endpoint": "http://cloud", "server_version": ["4.19", "4.20"]}
    assert facts_of(folder)["observed"] == observed


def test_outside_of_a_run_no_facts_are_written(folder, monkeypatch):
    monkeypatch.delenv("RUNBOOK_RUN", raising=False)
    monkeypatch.chdir(folder)
    facts.add(endpoint="http://cloud", key=facts.fingerprint("the-key"))
    assert list(folder.iterdir()) == []
    assert facts.fingerprint("the-key") == hashlib.sha256(b"the-key").hexdigest()[:16]


def test_code_has_the_commit_and_the_changed_files(tmp_path):
    def git(*words: str) -> None:
        name = ("-c", "user.name=n", "-c", "user.email=e@e")
        subprocess.run(["git", "-C", str(tmp_path), *name, *words], check=True, capture_output=True)

    assert provenance.code(tmp_path) == {}
    git("init")
    (tmp_path / "a file").write_text("1")
    git("add", ".")
    git("commit", "-m", "one")
    clean = provenance.code(tmp_path)
    assert (len(clean["commit"]), clean["dirty"], clean["changed"]) == (40, False, [])
    (tmp_path / "a file").write_text("2")
    (tmp_path / "new").write_text("2")
    assert provenance.code(tmp_path) == clean | {"dirty": True, "changed": ["a file", "new"]}


def test_packages_are_those_that_the_requirements_name(tmp_path):
    (tmp_path / "r.txt").write_text("# a comment\npytest==1.2\nno-such-thing\n-e .\n")
    found = provenance.packages(tmp_path / "r.txt")
    assert found == {"pytest": pytest.__version__, "no-such-thing": "not installed"}
    assert provenance.packages(tmp_path / "none.txt") == {}
