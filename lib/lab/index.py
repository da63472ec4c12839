"""The index: the notebook that JupyterLab opens, and what its cells show."""

import os
from html import escape
from pathlib import Path

import nbformat
import yaml
from nbformat import v4
from nbformat.sign import NotebookNotary

from lib import profiles
from lib.cloud import Cloud
from lib.errors import RunbookError
from lib.lab import prepare, procedure
from lib.record import masks, whole
from lib.record.journal import ROOT
from lib.record.shown import Shown

FILE = "index.ipynb"
MOST_RUNS = 10
LEFT = 'style="text-align:left;white-space:nowrap"'
WORDS = """\
Every notebook here is a copy with these, in plan mode, which changes nothing: "Run All" is safe.
To make a stage's changes, set its parameter `mode` to `"apply"`. The cell below looks at the cloud
again.

After a reload of the page the output of a running cell does not go on, but its work does:
`runbook watch` in a terminal shows what runs, and the cell, run again, joins it."""


def show(folder: Path | None = None) -> Shown:
    """Return the procedure as a picture, with the state of each stage at the cloud now.

    `folder` is the working folder, else the one that the notebook is in. Changes nothing.
    """
    folder = folder or Path.cwd()
    stages = [s for s in _stages(folder) if s[0] is not None]
    values = yaml.safe_load((folder / "params.yaml").read_text("utf-8"))
    try:
        known, note = _states(values), ""
    except RunbookError as error:
        known, note = {}, f"The cloud could not be asked: {error}"
    lines = [f"{title}: {known.get(number, '-')}" for number, title, _ in stages]
    words = "\n".join([*lines, note]).strip()
    below = f"<p>{escape(note)}</p>" if note else ""
    return Shown(procedure.picture(stages, known) + below, words)


def _states(values: dict) -> dict[int, procedure.State]:
    for secret in profiles.kept():
        masks.add(secret)
    # Not `connect`: that also settles what earlier runs left open, which may mean to wait.
    cloud = Cloud(profiles.read(values["profile"]), project=values.get("project", ""))
    return procedure.states(procedure.look(cloud, values))


def _stages(folder: Path) -> list[tuple[int | None, str, str]]:
    """Return number, title and file of each notebook in the working folder but the index."""
    found = []
    for path in sorted(folder.glob("*.ipynb")):
        if path.name != FILE:
            number = int(path.name[:2]) if path.name[:2].isdigit() else None
            first = nbformat.read(path, 4).cells[0].source
            found.append((number, first.splitlines()[0].lstrip("# "), path.name))
    return found


def runs(folder: Path | None = None) -> Shown:
    """Return the newest runs with links to their reports, as they are now.

    `folder` is the folder of runs, else the project's own.
    """
    from lib.report import index

    folder = folder or ROOT / "runs"
    head = index.HEAD
    found = index.lines(folder)[:MOST_RUNS]
    if not found:
        return Shown("<p>There are no runs yet.</p>", "There are no runs yet.")
    rows = "".join(
        "<tr>" + "".join(f"<td {LEFT}>{_cell(line, name)}</td>" for name in head) + "</tr>"
        for line in found
    )
    heads = "".join(f"<th {LEFT}>{name}</th>" for name in head)
    text = "\n".join("  ".join(line.words.values()) for line in found)
    return Shown(f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>", text)


def _cell(line, name: str) -> str:
    from lib.report.index import REPORT

    text = escape(line.words[name])
    link = prepare.reached(Path.cwd(), line.folder / REPORT) if line.reported else ""
    return f'<a href="{escape(link)}">{text}</a>' if link and name == "run" else text


def write(plan: prepare.Plan) -> Path:
    """Write the index of a working folder that is prepared, with its picture, and return its path.

    It is signed as this user's own, so that JupyterLab shows the picture before it is run.
    """
    here = os.getcwd()
    os.chdir(plan.folder)  # links start at the notebook's folder, as in its kernel
    try:
        notebook = _notebook(plan)
    finally:
        os.chdir(here)
    whole.write(plan.folder / FILE, nbformat.writes(notebook) + "\n")
    with NotebookNotary() as notary:  # its database is closed then
        notary.sign(notebook)
    return plan.folder / FILE


def _notebook(plan: prepare.Plan) -> nbformat.NotebookNode:
    cells = [
        v4.new_markdown_cell(_title(plan), id="title"),
        _code("procedure", "from lib.lab import index\n\nindex.show()", show()),
        v4.new_markdown_cell(_table(plan), id="stages"),
        v4.new_markdown_cell("## Earlier runs", id="runs-words"),
        _code("runs", _runs_code(plan), runs(plan.runs)),
    ]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _runs_code(plan: prepare.Plan) -> str:
    if plan.runs.resolve() == ROOT / "runs":
        return "index.runs()"
    return f"from pathlib import Path\n\nindex.runs(Path({str(plan.runs.resolve())!r}))"


def _code(name: str, source: str, shown: Shown) -> nbformat.NotebookNode:
    data = {"text/html": shown.html, "text/plain": shown.text}
    output = v4.new_output("execute_result", data=data, execution_count=1)
    return v4.new_code_cell(source, id=name, outputs=[output], execution_count=1)


def _title(plan: prepare.Plan) -> str:
    name = plan.values["cluster_name"].value if "cluster_name" in plan.values else "Runbook"
    files = [f"[{p.name}]({prepare.reached(plan.folder, p)})" for p in plan.files]
    given = ", ".join([*files, "[all values](params.yaml)"])
    note = f"\n\n{plan.note}" if plan.reason else ""
    return f"# {name}\n\nParameters: {given}. {WORDS}{note}"


def _table(plan: prepare.Plan) -> str:
    rows = []
    for path in plan.paths:
        title, what = nbformat.read(path, 4).cells[0].source.split("\n\n")[:2]
        link = f"[{title.lstrip('# ')}]({path.name})"
        rows.append(f"| {link} | {what.splitlines()[0]} |")
    return "\n".join(["## Stages", "", "| notebook | what it does |", "| :-- | :-- |", *rows])
