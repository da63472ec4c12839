"""Commands that run stages: run and resume."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from lib.commands import again
from lib.commands.options import NOTEBOOKS, REASON, RUN, RUNS, SIGN, TIMEOUT, option

# What the stages import; a kernel that is started early has it all before its stage begins.
PRELOAD = [
    "pandas.io.formats.style",
    "requests",
    "yaml",
    "lib.lab.kernel",
    "lib.plan",
    "lib.workstation.shell",
]


def _chosen(cell_timeout: int | None, reason: str | None, sign: Path | None) -> dict:
    """Return how a run is to be carried out, as `run` and `resume` take it."""
    from lib import profiles

    chosen = {"cell_timeout": cell_timeout, "reason": reason or "", "key": sign}
    return chosen | {"preload": PRELOAD, "secrets": profiles.kept()}


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@option("--run name", "NAME", "The run's folder, YYYYMMDD-HHMMSS-name; an existing one goes on.")
@option("-p given", "NAME=VALUE", "Set one parameter; wins over all files.", multiple=True)
@option("--mode", "plan|apply", "plan only looks, apply changes; short for -p mode=...")
@option("--stages numbers", "LIST", "As 10-42 or 10,20,50-60; else all below 70.")
@TIMEOUT
@REASON
@SIGN
@NOTEBOOKS
@RUNS
def run(
    files: tuple[str, ...],
    given: tuple[str, ...],
    mode: str | None,
    numbers: str | None,
    name: str | None,
    runs: Path,
    **how: Any,
) -> int:
    """Run the stages in order, each into an executed notebook.

    Each FILE holds parameters (YAML); a later one wins. A scheduler that calls `runbook` once for
    each stage keeps them in one record with `--run`: the stages go on in the folder of that name,
    which must have the same parameters.
    """
    from lib import profiles
    from lib.chain import params, stages, values

    notebooks: Path = how.pop("notebooks")
    chosen = stages.choose(stages.find(notebooks), numbers)
    table = params.gather(notebooks)
    pairs = [*given, f"mode={mode}"] if mode else given
    merged = values.load(table, files, pairs, profiles.kept())
    # Only now: papermill takes its time to import, and bad input should be told at once.
    from lib.chain import resume
    from lib.chain.run import perform, run
    from lib.chain.terminal import Terminal
    from lib.report.console import console

    more = _chosen(**how)
    old = resume.further(runs, name, chosen, table, merged, **more) if name else None
    _close_abandoned(runs)
    with Terminal(console()) as terminal:
        if old:
            ended = perform(old, terminal)
        else:
            ended = run(chosen, table, merged, runs=runs, tell=terminal, name=name or "", **more)
    code = _summed_up(terminal, ended, chosen)
    if not code and "mode" in merged and merged["mode"].value == "plan":
        print("Plan mode: nothing was changed. What would be stands under Plan in the notebooks.")
    return code


@click.command()
@RUN
@TIMEOUT
@REASON
@SIGN
@option("--notebooks", "DIR", "Where the stages are; else those that the run had.")
@RUNS
def resume(run: str, notebooks: Path | None, runs: Path, **how: object) -> int:
    """Continue a run that failed, was interrupted or abandoned.

    All stages of the folder RUN (or of that name in --runs) run in order with its parameters. What
    is done costs a look; earlier attempts are kept as NN-name.attemptK.ipynb.
    """
    from lib.chain import resume
    from lib.chain.run import perform
    from lib.chain.terminal import Terminal, near
    from lib.report import past
    from lib.report.console import console

    folder = resume.folder_of(run, runs)
    work = resume.work(folder, notebooks=notebooks, **_chosen(**how))
    _close_abandoned(folder.parent)
    if not work:
        print(f"{near(folder)} ended well: there is nothing to continue.")
        return 0
    if unread := past.read(folder).unread:
        print(f"{near(folder)}: goes on without what cannot be read: {', '.join(unread)}.")
    with Terminal(console()) as terminal:
        ended = perform(work, terminal)
    return _summed_up(terminal, ended, work.stages)


def _summed_up(terminal, ended, chosen: Sequence) -> int:
    """Print how a run of the stages ended, unless the terminal is gone; return its exit code."""
    try:
        terminal.sum_up(ended, lambda option: again.way_on(ended.folder, chosen, option))
        sys.stdout.flush()
    except OSError:
        drop_output()
    return ended.exit_code


def drop_output() -> None:
    """Drop what is still written to standard output, which nobody reads any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed again at the end


def _close_abandoned(runs: Path) -> None:
    """Close the records of runs whose driver died, and say how to continue them."""
    from lib import profiles
    from lib.chain import abandoned
    from lib.errors import plain
    from lib.record.faults import BadInput

    abandoned.sweep(runs)
    for folder in abandoned.find(runs):
        try:
            ended, stage = abandoned.close(folder, profiles.kept())
        except BadInput as busy:  # another command closes it right now
            print(plain("\n".join(busy.faults)))
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as damaged:
            text = f"its record is damaged and cannot be closed ({damaged!r:.200})."
            print(plain(f"{folder.name}: {text}"))
            continue
        if ended:
            print(f"{folder.name} had ended ({ended}), but was not sealed; it is now.")
            continue
        place = f" in {stage}" if stage else ""
        print(f"{folder.name} was abandoned: its driver died{place}.")
        print(f"To continue: {again.to_resume(folder)}")
