"""Prepares a working folder: a copy of each notebook with the parameters of a file, in plan mode.

The notebooks of the project stay as they are. A copy that somebody worked in is never overwritten:
it moves to `earlier/` before a new one takes its place.
"""

import getpass
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import nbformat

from lib.chain.params import Parameter
from lib.chain.values import Value, as_yaml
from lib.record import whole
from lib.record.journal import ROOT

EARLIER = "earlier"
NOTE = "*Operation note:* who, why, ticket."
UNDO = re.compile(r"Undo: (?:see )?(\d\d-[\w-]+)")


@dataclass(frozen=True)
class Plan:
    """What a working folder is made of; `files` are the parameter files, `reason` the note."""

    folder: Path
    notebooks: Path
    runs: Path
    table: Mapping[str, Parameter]
    values: Mapping[str, Value]
    files: Sequence[Path] = ()
    reason: str = ""

    @property
    def paths(self) -> list[Path]:
        """The notebooks to copy, in order: the stages and then all others."""
        return sorted(self.notebooks.glob("*.ipynb"), key=lambda p: p.name)

    @property
    def note(self) -> str:
        """The operation note: who, when and why."""
        who = os.environ.get("SUDO_USER") or getpass.getuser()
        return f"*Operation note:* {who}, {datetime.now():%Y-%m-%d}: {self.reason}"


def in_plan_mode(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values with `mode` set to plan: who works by hand applies stage by stage."""
    only_look = {"mode": Value("plan", "lab")} if "mode" in values else {}
    return {**values, **only_look}


def write(plan: Plan) -> list[Path]:
    """Write the copies and `params.yaml`; return the copies of before that were set aside."""
    plan = replace(plan, values=in_plan_mode(plan.values))
    whole.write(whole.folder(plan.folder) / "params.yaml", as_yaml(plan.values))
    found = [put(plan.folder / p.name, copy(plan, p)) for p in plan.paths]
    return [path for path in found if path]


def put(path: Path, notebook: nbformat.NotebookNode) -> Path | None:
    """Write a copy. One that is there and differs is set aside first, and its new path returned."""
    text, aside = nbformat.writes(notebook) + "\n", None
    if path.exists() and path.read_bytes() != text.encode():
        when = datetime.fromtimestamp(path.stat().st_mtime)
        aside = path.parent / EARLIER / f"{when:%Y%m%d-%H%M%S}-{path.name}"
        aside.parent.mkdir(exist_ok=True)
        path.rename(aside)
    whole.write(path, text)
    return aside


def copy(plan: Plan, path: Path) -> nbformat.NotebookNode:
    """Return a notebook with the values among its parameters, the note, and links to others."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = "\n".join(_line(plan, n) for n in _own(plan, path))
    title = notebook.cells[0]
    links = nbformat.v4.new_markdown_cell(_links(plan, path, title.source), id="links")
    title.source = title.source.replace(NOTE, plan.note) if plan.reason else title.source
    notebook.cells.insert(1, links)
    return notebook


def _own(plan: Plan, path: Path) -> list[str]:
    """Return the names of a notebook's own parameters."""
    return [name for name, known in plan.table.items() if path.stem in known.notebooks]


def _line(plan: Plan, name: str) -> str:
    """Return the line that declares a parameter with its value."""
    known, value = plan.table[name], plan.values[name].value
    kind = known.type.partition("[")[0]
    plain = isinstance(value, str | list)
    text = json.dumps(value, ensure_ascii=False) if plain else repr(value)
    return f"{name}: {kind} = {text}  # {known.meaning}"


def _links(plan: Plan, path: Path, title: str) -> str:
    """Return the links of a copy: all stages, before, after, undo and the last report."""
    stages = [p for p in plan.paths if p.name[:1].isdigit()]
    at = stages.index(path) if path in stages else -1
    found = ["[all stages](index.ipynb)"]
    if at > 0:
        found.append(f"before: [{stages[at - 1].stem}]({stages[at - 1].name})")
    if 0 <= at < len(stages) - 1:
        found.append(f"after: [{stages[at + 1].stem}]({stages[at + 1].name})")
    undo = UNDO.search(title)
    if undo and (plan.notebooks / f"{undo[1]}.ipynb").exists():
        found.append(f"undo: [{undo[1]}]({undo[1]}.ipynb)")
    report = last_report(plan)
    if report:
        found.append(f"[last report]({report})")
    return " · ".join(found)


def last_report(plan: Plan) -> str:
    """Return the path, from the working folder, of the newest report on this cluster, "" if none.

    JupyterLab opens only files below its root, so one that lies elsewhere has no link.
    """
    from lib.report import index

    name = str(plan.values["cluster_name"].value) if "cluster_name" in plan.values else ""
    for line in index.lines(plan.runs):
        if line.reported and line.words["cluster"] == name:
            return reached(plan.folder, line.folder / index.REPORT)
    return ""


def reached(folder: Path, path: Path) -> str:
    """Return the relative path of a file that JupyterLab can open from a folder, "" if none.

    >>> reached(Path("/p/lab/a"), Path("/elsewhere/b.html"))
    ''
    """
    base = root(folder)
    inside = path.resolve().is_relative_to(base)
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix() if inside else ""


def root(folder: Path) -> Path:
    """Return the root of JupyterLab's files: the project, or a working folder outside of it."""
    return ROOT if folder.resolve().is_relative_to(ROOT) else folder.resolve()
