"""Secrets, and wrong parameters, under plain papermill."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from harness import ROOT
from nbformat import read, v4, write

KEPT = "kept+in/a=file-0123456789abcdef"
OTHER = "of-another-profile-0123456789"
CELLS = [
    f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom lib.cloud import connect",
    "cloud = connect('mine')",
    "print('the secret:', cloud.profile.secret)",
    "import pandas as pd; pd.DataFrame({'secret': [cloud.profile.secret]})",
    "from pathlib import Path; print((Path.home() / '.cloudstack.ini').read_text())",
    "raise ValueError(cloud.profile.secret)",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Return a home with two profiles, and the environment of a process that lives there."""
    home = tmp_path_factory.mktemp("home")
    (home / ".cloudstack.ini").touch(0o600)
    (home / ".cloudstack.ini").write_text(
        f"[mine]\nendpoint=http://127.0.0.1:1/\nkey=mine-mine-mine\nsecret={KEPT}\n"
        f"[other]\nendpoint=http://ops:{quote(OTHER)}@127.0.0.1:1/\nkey=k\nsecret=s\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "RUNBOOK"))}
    return home, environment | {
        "HOME": str(home), "JUPYTER_PLATFORM_DIRS": "1", "TMPDIR": str(home),
    }  # fmt: skip


def test_plain_papermill_writes_no_secret(place):
    home, environment = place
    write(v4.new_notebook(cells=[v4.new_code_cell(c) for c in CELLS]), home / "in.ipynb")
    command = [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", "-k", "python3"]
    more = ["--log-output", "--request-save-on-cell-execute"]
    done = subprocess.run(
        [*command, *more], cwd=home, env=environment, capture_output=True, text=True
    )
    assert "ValueError: ***" in done.stderr
    demand_masked((home / "out.ipynb").read_text())
    demand_masked(done.stdout + done.stderr)


def test_plain_papermill_shows_wrong_parameters_in_a_box(place):
    home, environment = place
    given = "{zone: 5, cluster_sise: 4, patience: 5, volume_size: 12}"
    words = ["00-check-access.ipynb", str(home / "checked.ipynb"), "-y", given]
    command = [sys.executable, "-m", "papermill", *words]
    here = ROOT / "notebooks"
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
    box = (
        "✗ BadInput: cluster_sise: there is no such parameter: did you mean cluster_size?\n"
        "zone: YAML reads 5 as the whole number 5: put it in quotes\n\n"
        "Again?  Yes, once they are corrected."
    )
    assert box in done.stderr
    assert "unknown parameter: cluster_sise" in done.stderr and "patience" not in done.stderr
    outputs = [o for c in read(home / "checked.ipynb", 4).cells for o in c.get("outputs", [])]
    error, fold = outputs[-2:]
    assert error.evalue.startswith("cluster_sise: ") and len(error.traceback) == 4
    assert "<details>" in fold.data["text/html"] and "demand" in fold.data["text/plain"]


def demand_masked(text: str) -> None:
    assert KEPT not in text and OTHER not in text
    assert "the secret: ***" in text
    assert text.count("***") >= 5  # printed, in a table, twice in a file, in a traceback
