"""`runbook drift`: quiet when all is well, else 7 and a line for each difference."""

import json
import sys

import pytest

from lib.commands.main import main

PARAMETERS = 'mode: str = "plan"  # "plan" or "apply"\ncluster_name: str = "web"  # of the machines'
PLAN = """from lib import show
from lib.steps import Step
show([Step("startVirtualMachine", {{"id": "1"}}, "it is stopped", "web-1")] * {0})"""
CHECK = """from lib.errors import CheckFailed, Unreachable
error = {0}
if error: raise error"""
STRANGER = 'CheckFailed("etcd has a member web-9, which is not ours")'
LOST = 'Unreachable("listZones", "http://c", "reset", may_have_changed=False)'


@pytest.mark.parametrize(
    ("steps", "error", "code", "message"),
    [
        (0, "None", 0, []),
        (1, "None", 7, ["startVirtualMachine", "web-1", "it is stopped"]),
        (1, STRANGER, 7, ["it is stopped", "60-verify: etcd has a member web-9"]),
        (0, LOST, 1, ["60-verify: Unreachable: listZones"]),
    ],
)
def test_drift_prints_what_would_be_changed_and_what_is_not_as_expected(
    book, notebooks, at, capsys, steps, error, code, message
):
    book(notebooks / "50-deploy.ipynb", "# A title", PLAN.format(steps), parameters=PARAMETERS)
    book(notebooks / "60-verify.ipynb", "# A title", CHECK.format(error), parameters=PARAMETERS)
    assert main(["drift", *at]) == code
    text = capsys.readouterr().out
    assert [word for word in message if word not in text] == []
    assert bool(text) is bool(message)
    if steps and error != "None":
        assert main(["drift", *at, "--json"]) == code
        facts = json.loads(capsys.readouterr().out)
        assert facts["cluster"] == "web" and len(facts["differences"]) == 2


def test_on_a_terminal_drift_shows_which_stage_looks(book, notebooks, at, capsys, monkeypatch):
    book(notebooks / "50-deploy.ipynb", "# A title", PLAN.format(0), parameters=PARAMETERS)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["drift", *at]) == 0
    shown = capsys.readouterr()
    assert shown.err == "\r\x1b[K… 50-deploy\r\x1b[K" and not shown.out
