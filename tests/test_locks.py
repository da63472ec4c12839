"""One process at a time changes a cluster: a run, or a notebook by hand."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from socket import gethostname

import nbformat
import pytest
from harness import changes
from nbformat import v4

from lib.chain.stages import Stage
from lib.chain.values import Value
from lib.commands.main import main
from lib.commands.orders import claim_of
from lib.errors import CheckFailed
from lib.record import jsonl, locks
from lib.record.journal import now, this_process
from lib.record.locks import Claim, Holder

CLAIM = Claim("http://cloud", "", "web", "web_disk")
HOLD = """
import sys
from lib.record import locks
with locks.held(locks.Claim("http://cloud", "", "web", "web_disk"), "20260304-web"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("RUNBOOK_RUN", raising=False)


@pytest.fixture
def other():
    """Another process, which holds the lock."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD], text=True, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_until_the_first_has_ended(other):
    for claim in (replace(CLAIM, volume=""), replace(CLAIM, cluster="db")):
        with pytest.raises(
            CheckFailed, match=rf"20260304-web \(process {other.pid} of \w+ on .*, since"
        ):
            locks.held(claim, "mine").__enter__()
    for claim in (Claim("http://cloud", "", "db"), replace(CLAIM, endpoint="http://other")):
        locks.demand_free(claim)
    other.communicate("")
    with locks.held(CLAIM, "mine") as words:
        assert words == [] and locks.holders(CLAIM) == []


def test_the_lock_of_a_process_that_is_gone_is_taken_over_with_a_word(other):
    other.kill()
    other.wait()
    with locks.held(CLAIM, "mine") as (word,):
        assert f"20260304-web (process {other.pid}" in word and "its process is gone" in word
        assert len(list(locks.folder().glob("*.json"))) == 1
    assert not list(locks.folder().glob("*.json"))


def test_another_is_replaced_by_force(other):
    with locks.held(CLAIM, "mine", force=True) as (word,):
        assert word.endswith("is taken over, by force.")


def test_a_process_is_known_by_its_start_and_another_host_is_never_gone():
    pid, start = this_process().split("/")
    holder = Holder(CLAIM, "run", f"{pid}/{start}", "ann", gethostname(), now())
    assert not holder.is_gone
    assert replace(holder, process=f"{pid}/{float(start) - 60}").is_gone  # its pid was used again
    assert str(replace(holder, user="a\x1b[31m\0nn")) == str(holder)
    assert not replace(holder, process="1/0", host="elsewhere").is_gone


def test_a_damaged_lock_is_none(tmp_path):
    locks.folder().mkdir(parents=True)
    whole = Holder(CLAIM, "run", "1/0", "ann", "elsewhere", now())
    for n, text in enumerate(
        ["", "[]", '{"claim": 1}', "[" * 10**4]
        + [json.dumps(asdict(whole) | odd) for odd in ({"since": "?"}, {"process": None})]
    ):
        (locks.folder() / f"{n}.json").write_text(text)
    assert locks.holders(CLAIM) == []


def test_by_hand_nothing_is_changed_while_a_run_is_at_work(cloud, other, capsys, monkeypatch):
    monkeypatch.setattr(locks, "_announced", [])
    locks.announce(CLAIM)
    assert "20260304-web" in capsys.readouterr().out
    with pytest.raises(CheckFailed, match="is at work on cluster web"):
        cloud.call("createVolume", name="a")
    assert changes(cloud) == []


CELLS = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("from lib.record import locks; locks.announce(locks.Claim('u', '', 'web'))")
there = "print(len(list(locks.folder().glob('*.json'))))"
shell.run_cell("locks.hold_by_hand(); locks.hold_by_hand(); " + there)
shell.run_cell(there)
shell.run_cell("locks.hold_by_hand(); " + there)
"""


def test_a_notebook_holds_the_lock_to_the_end_of_the_cell():
    done = subprocess.run([sys.executable, "-c", CELLS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0", "1"]


def test_a_run_is_refused_or_takes_the_place_by_force(other, tmp_path, monkeypatch, capsys):
    cell = 'profile: str = "env"\nmode: str = "plan"\ncluster_name: str = "web"'
    cell = v4.new_code_cell(cell, metadata={"tags": ["parameters"]})
    (tmp_path / "notebooks").mkdir()
    nbformat.write(v4.new_notebook(cells=[cell]), tmp_path / "notebooks/10-one.ipynb")
    for name, value in {"ENDPOINT": CLAIM.endpoint, "KEY": "key", "SECRET": "secret"}.items():
        monkeypatch.setenv(f"CLOUDSTACK_{name}", value)
    runs = tmp_path / "runs"
    at = ["--notebooks", str(tmp_path / "notebooks"), "--runs", str(runs)]
    words = ["run", "--mode", "apply", *at]
    assert main(words) == 8
    assert f"process {other.pid}" in capsys.readouterr().err
    wrong = {"nowhere": "no profile 'nowhere'", "local?speed=1": "unknown option speed"}
    for profile, why in wrong.items():
        assert main([*words, "-p", f"profile={profile}"]) == 2
        assert why in capsys.readouterr().err
    assert not runs.exists()
    assert main([*words, "--force", "it hangs"]) == 0
    (folder,) = runs.glob("2*")
    (line,) = [ln for ln in jsonl.read(folder / "events.jsonl")[0] if ln["event"] == "lock-taken"]
    assert line["reason"] == "it hangs" and f"process {other.pid}" in line["text"]
    assert main([*words, "--mode", "plan"]) == 0  # looking holds no lock, and needs none


def test_only_stages_that_work_on_the_volume_claim_it(monkeypatch, tmp_path):
    for name, value in {"ENDPOINT": CLAIM.endpoint, "KEY": "key", "SECRET": "secret"}.items():
        monkeypatch.setenv(f"CLOUDSTACK_{name}", value)
    given = {"profile": "env", "cluster_name": "web", "volume_name": "web_disk"}
    held = {name: Value(value, "my.yaml") for name, value in given.items()}
    for numbers, volume in (((0, 10, 50), "web_disk"), ((50, 60, 70), ""), ((90,), "web_disk")):
        found = [Stage(number, "", tmp_path) for number in numbers]
        assert claim_of(found, held, "") == replace(CLAIM, volume=volume)
        without = held | {"template_from": Value("url", "my.yaml")}
        assert claim_of(found, without, "") == replace(CLAIM, volume="")
