"""Opens the lab: prepares the working folder, asks why, says what was set aside, starts Jupyter."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from lib.chain.params import Parameter
from lib.chain.values import Value
from lib.lab import index, prepare, server
from lib.record.journal import ROOT


def folder_for(values: Mapping[str, Value]) -> Path:
    """Return the working folder of a cluster."""
    name = str(values["cluster_name"].value) if "cluster_name" in values else "runbook"
    return ROOT / "lab" / (re.sub(r"[^\w.-]+", "-", name).strip(".-")[:60] or "runbook")


def open_lab(
    table: Mapping[str, Parameter],
    values: Mapping[str, Value],
    files: Sequence[Path],
    where: Mapping[str, Path],
    reason: str | None,
    **options: object,
) -> None:
    """Prepare the folder that `where` names and become JupyterLab there.

    `where` holds folder, notebooks and runs; without a reason a terminal is asked for one.
    """
    if reason is None and sys.stdin.isatty():
        reason = click.prompt("Why (ticket; Enter for none)", default="", show_default=False)
    plan = prepare.Plan(table=table, values=values, files=files, reason=reason or "", **where)
    for path in prepare.write(plan):
        print(f"Somebody worked in {path.name.split('-', 2)[2]}: it is kept as {path}")
    print(f"The working folder is {plan.folder}; its first page is {index.write(plan).name}.")
    server.start(plan.folder, **options)
