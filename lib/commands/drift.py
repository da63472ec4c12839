"""The command that looks for drift: what a cluster is, compared with its parameter file."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from lib.commands.orders import chooses, order_of
from lib.commands.running import WAITING, close_abandoned

# Errors of a stage that name a difference; any other is a failure to look.
DIFFERENCE = "CheckFailed: "


@click.command()
@chooses
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def drift(given: tuple[str, ...], as_json: bool, **what: Any) -> int:
    """Look whether the cluster is still what FILE says, and change nothing.

    Made for cron and schedulers: prints nothing when all is well, and ends with 7 when something
    differs, such as a machine that was stopped, a tag that is gone, or a member of etcd that is not
    ours. The stages run in plan mode; their record is kept as of any run.
    """
    from lib.chain.results import alike
    from lib.chain.run import run
    from lib.errors import plain

    order = order_of(given=(*given, "mode=plan"), **what)
    close_abandoned(order.runs)
    chosen = order.stages, order.table, order.values
    ended = run(*chosen, runs=order.runs, tell=_tell, **order.how)
    _replace_line("")
    found, failed = _differences(ended.folder), [r for r in ended.results if r.error]
    differ = [r for r in failed if r.error.startswith(DIFFERENCE)]
    found += [f"{r.stage}: {r.error.removeprefix(DIFFERENCE)}" for r in differ]
    groups = alike(r for r in failed if r not in differ)
    failures = [f"{', '.join(r.stage for r in group)}: {group[0].error}" for group in groups]
    report = ended.folder / "report.html"
    if as_json:
        name = order.values["cluster_name"].value if "cluster_name" in order.values else ""
        facts = {"cluster": name, "differences": found, "failures": failures}
        print(json.dumps(facts | {"report": str(report)}, indent=1, ensure_ascii=False))
    elif found or failures:
        print(plain("\n".join([*found, *failures, f"Report: {report}"])))
    if failures or ended.signal or ended.leaks:
        return ended.exit_code
    return WAITING if found else 0


def _tell(event: Any) -> None:
    if event.kind == "stage":
        _replace_line(f"… {event.stage}")


def _replace_line(text: str) -> None:
    """Show what is looked at on a line of its own, if somebody is at the terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _differences(folder: Path) -> list[str]:
    """Return a line for each change that a run's stages planned."""
    from lib.record import plans

    return [
        f"{stage}: {step}{step.why and f': {step.why}'}"
        for stage, plan in plans.read(folder).items()
        for step in plan.steps
    ]
