"""The working folder of `runbook lab`: copies with parameters and links, and nothing lost."""

import json
import os
from pathlib import Path

import nbformat
import pytest
from harness import ROOT

from lib.chain import params, values
from lib.lab import index, prepare, server

NOTEBOOKS = ROOT / "notebooks"


def planned(folder: Path, *given: str, **more) -> prepare.Plan:
    """Return the plan for a folder, with params/local.yaml and further values."""
    table = params.gather(NOTEBOOKS)
    merged = values.load(table, [ROOT / "params/local.yaml"], given)
    files = [ROOT / "params/local.yaml"]
    return prepare.Plan(folder, NOTEBOOKS, folder.parent / "runs", table, merged, files, **more)


def cells(path: Path) -> dict[str, str]:
    return {c.id: c.source for c in nbformat.read(path, 4).cells}


def test_a_copy_has_the_values_of_the_file_and_plan_mode(tmp_path):
    prepare.write(planned(tmp_path / "lab", "volume_size=12", "fallback_offerings=[a, b]"))
    names = {}
    exec(cells(tmp_path / "lab/10-create-volume.ipynb")["parameters"], names)
    assert (names["mode"], names["volume_size"]) == ("plan", 12)
    assert names["profile"].startswith("local?time_scale")
    exec(cells(tmp_path / "lab/50-deploy-cluster.ipynb")["parameters"], names)
    assert names["fallback_offerings"] == ["a", "b"]
    assert params.gather(tmp_path / "lab")["volume_size"].meaning == "GB, 1 or more"


def test_a_copy_links_to_its_neighbours_its_undo_and_the_index(tmp_path):
    prepare.write(planned(tmp_path / "lab"))
    links = cells(tmp_path / "lab/11-attach-volume.ipynb")["links"]
    assert links == (
        "[all stages](index.ipynb) · before: [10-create-volume](10-create-volume.ipynb) · "
        "after: [20-write-cloud-config](20-write-cloud-config.ipynb) · "
        "undo: [40-detach-volume](40-detach-volume.ipynb)"
    )
    assert cells(tmp_path / "lab/explore.ipynb")["links"] == "[all stages](index.ipynb)"


def test_the_reason_is_the_operation_note(tmp_path, monkeypatch):
    monkeypatch.setenv("SUDO_USER", "ann")
    prepare.write(planned(tmp_path / "lab", reason="T-1 grow"))
    title = cells(tmp_path / "lab/10-create-volume.ipynb")["title"]
    assert "*Operation note:* ann, 20" in title and title.endswith(": T-1 grow")
    prepare.write(planned(tmp_path / "lab"))
    title = cells(tmp_path / "lab/10-create-volume.ipynb")["title"]
    assert title.endswith(prepare.NOTE)


def test_a_copy_that_somebody_worked_in_is_kept(tmp_path):
    plan = planned(tmp_path / "lab")
    assert prepare.write(plan) == []
    mine = tmp_path / "lab/10-create-volume.ipynb"
    book = nbformat.read(mine, 4)
    book.cells[-1].source = "mine"
    nbformat.write(book, mine)
    (kept,) = prepare.write(plan)
    assert cells(kept)["after"] == "mine" and kept.parent.name == "earlier"
    assert cells(mine)["after"] != "mine"
    assert prepare.write(plan) == []


def test_the_notebooks_of_the_project_stay_as_they_are(tmp_path):
    before = {p.name: p.read_bytes() for p in NOTEBOOKS.glob("*.ipynb")}
    prepare.write(planned(tmp_path / "lab", reason="T-1"))
    assert {p.name: p.read_bytes() for p in NOTEBOOKS.glob("*.ipynb")} == before


def test_the_index_is_written_also_where_the_cloud_cannot_be_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSTACK_ENDPOINT", "http://127.0.0.1:1/client/api")
    monkeypatch.setenv("CLOUDSTACK_KEY", "key-of-a-test")
    monkeypatch.setenv("CLOUDSTACK_SECRET", "secret-of-a-test")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    plan = planned(tmp_path / "lab", "profile=env")
    prepare.write(plan)
    path = index.write(plan)
    opened = [os.readlink(f) for f in Path("/proc/self/fd").iterdir() if f.is_symlink()]
    assert (tmp_path / "data").is_dir() and not [f for f in opened if f.startswith(str(tmp_path))]
    book = nbformat.read(path, 4)
    nbformat.validate(book)
    shown = book.cells[1].outputs[0].data
    assert "The cloud could not be asked" in shown["text/plain"]
    assert "no connection could be made" in shown["text/html"]
    assert '<a href="10-create-volume.ipynb"' in shown["text/html"]
    assert "[00 Check access](00-check-access.ipynb)" in book.cells[2].source


@pytest.mark.parametrize(
    "folder, root, place",
    [
        (ROOT / "lab/one", ROOT, "lab/one/index.ipynb"),
        (Path("/elsewhere/one"), Path("/elsewhere/one"), "index.ipynb"),
    ],
)
def test_jupyterlab_opens_the_index_with_the_project_in_reach(folder, root, place):
    command = server.arguments(folder, browser=False, port=8123)
    assert f"--ServerApp.root_dir={root}" in command
    assert f"--LabApp.default_url=/lab/tree/{place}" in command
    assert {"--no-browser", "--port=8123"} <= set(command)


def test_the_settings_are_readable():
    (file,) = server.SETTINGS.rglob("*.json")
    assert json.loads(file.read_text())["@jupyterlab/apputils-extension:notification"]
