"""Commands on a fleet: its report."""

from pathlib import Path

import click

from lib.commands.options import PATH, RUNS


@click.group()
def fleet() -> None:
    """Look at many clusters: a folder of parameter files is a fleet."""


@fleet.command()
@click.argument("folder", metavar="FOLDER", type=PATH)
@RUNS
def report(folder: Path, runs: Path) -> None:
    """Write one page on the newest run of each cluster: each stage, and what went wrong.

    FOLDER holds the parameter files (*.yaml) of the clusters.
    """
    from rich.text import Text

    from lib.report import fleet
    from lib.report.console import console, grid, one_line
    from lib.report.words import colour, mark

    page, found = fleet.write(folder, runs)
    rows = [
        [Text(one_line(w)) for w in (c.name, f"{mark(c.outcome)} {c.outcome}", c.took, c.error)]
        for c in found
    ]
    for cluster, row in zip(found, rows, strict=True):
        row[1].stylize(colour(cluster.outcome))
    head = ("cluster", "outcome", "took", "what went wrong")
    console().print(grid(head, rows, right=["took"]))
    print(page)
