"""The whole chain as an operator runs it: the command, kernels, papermill, the record it leaves."""

import subprocess
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from harness import BIN, INSTANT, ROOT, STAGES, Place
from nbclient import NotebookClient
from paper import printed

from lib import underway


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    there = Place(tmp_path_factory.mktemp("place"))
    yield there
    there.runbook("local-cloud", "stop")


@pytest.fixture(scope="module")
def done(place):
    """The first run of the whole chain."""
    return place.run()


@pytest.fixture(scope="module")
def record(place, done) -> Path:
    return sorted(p for p in place.runs.iterdir() if p.is_dir())[0]


def test_one_command_makes_a_cluster_of_an_empty_disk(done):
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("Done: 11 of 11 stages ok")
    assert "3 \N{MULTIPLICATION SIGN} deployVirtualMachine" in done.stdout
    assert done.stderr == ""


def test_the_record_holds_an_executed_notebook_for_every_stage(record):
    assert sorted(p.stem for p in record.glob("*.ipynb")) == STAGES
    for path in record.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert all(c.execution_count for c in notebook.cells if c.cell_type == "code"), path.stem


def test_the_tables_of_the_record_can_be_read_back_with_their_types(record):
    notebook = nbformat.read(record / "50-deploy-cluster.ipynb", as_version=4)
    mime = "application/vnd.dataresource+json"
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    tables = [pd.DataFrame(o.data[mime]["data"]) for o in outputs if mime in o.get("data", {})]
    assert list(tables[-1]["name"]) == [f"coreos-cluster-{i}" for i in (1, 2, 3)]
    assert set(tables[-1]["change"]) == {"new"}
    assert all("state Running" in details for details in tables[-1]["details"])


@pytest.mark.system
def test_the_report_prints_on_eight_pages_of_a4_with_the_code_that_ran(record, tmp_path):
    pages, paper = printed(record / "report.html", tmp_path)
    assert 5 < pages <= 8
    assert paper == "A4"


def test_no_key_and_no_token_is_in_the_record(place, record):
    facts = place.facts
    home = Path(facts["dir"]) / "workstation/home/coreos-cluster/cloud-config.yml"
    token = home.read_text().split("discovery: ")[1].split()[0].rsplit("/", 1)[1]
    assert len(token) == 32
    for path in record.iterdir():
        text = path.read_text()
        assert not [s for s in (facts["apikey"], facts["secretkey"], token) if s in text], path


def test_a_run_takes_its_tag_off_the_cloud(place, record):
    assert place.cloud().list("listTags", key="runbook-run-coreos-cluster") == []
    assert not underway.is_marked(record) and "deleteTags" in place.changes()


def test_a_second_run_changes_nothing_but_moves_the_cluster_to_a_new_token(place, done):
    before = place.changes()
    moved = place.run("--stages", "10-70", "-p", "move_discovery=2014-07-19")
    assert moved.returncode == 0, moved.stdout
    sent = [c for c in place.changes()[len(before) :] if not c.endswith("Tags")]
    assert sent == ["rebootVirtualMachine"] * 3
    home = Path(place.facts["dir"]) / "workstation/home/coreos-cluster"
    texts = [p.read_text() for p in home.glob("cloud-config.yml*")]
    tokens = [t.split("discovery: ")[1].split()[0].rsplit("/", 1)[1] for t in texts]
    assert len(set(tokens)) == 2
    (last,) = [p for p in place.runs.iterdir() if (p / "70-reconfigure-cluster.ipynb").exists()]
    kept = "".join(p.read_text() for p in last.iterdir())
    assert not [t for t in tokens if t in kept]


def test_run_all_in_jupyterlab_changes_nothing(place, done, monkeypatch):
    monkeypatch.setenv("RUNBOOK_LOCALCLOUD", place.env["RUNBOOK_LOCALCLOUD"])
    before = place.changes()
    notebook = nbformat.read(ROOT / "notebooks/42-create-template.ipynb", as_version=4)
    where = {"metadata": {"path": str(ROOT / "notebooks")}}
    NotebookClient(notebook, resources=where, kernel_name="python3").execute()
    assert place.changes() == before


def test_plain_papermill_gives_the_same_result(place, done, tmp_path):
    before = place.changes()
    command = [BIN / "papermill", "90-remove-cluster.ipynb", tmp_path / "out.ipynb"]
    options = ["-f", "../params/local.yaml", *INSTANT[:1], *INSTANT[1].split("=", 1)]
    ran = subprocess.run(
        [*command, *options],
        cwd=ROOT / "notebooks",
        env=place.env,
        capture_output=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr
    created = {"deleteTemplate", "deleteSnapshot", "deleteVolume", "destroyVirtualMachine"}
    assert created <= set(place.changes()[len(before) :])
