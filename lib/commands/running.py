"""Commands that run stages: run, plan, apply and resume."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from lib.commands import again
from lib.commands.options import FORCE, REASON, RUN, RUNS, SIGN, TIMEOUT, YES, option
from lib.commands.orders import DEPLOYS, Order, chooses, chosen, claim_of, order_of
from lib.record.texts import translated

WAITING = 7  # exit code where changes wait; click has 2 for arguments


@click.command()
@chooses
@option("--mode", "plan|apply", "plan only looks, apply changes; short for -p mode=...")
@YES
@option("--approved-by", "NAME", "Who approved the changes; it is recorded.")
@option("--run name", "NAME", "The run's folder, YYYYMMDD-HHMMSS-name; an existing one goes on.")
def run(
    given: tuple[str, ...],
    mode: str | None,
    yes: bool,
    approved_by: str | None,
    name: str | None,
    **what: Any,
) -> int:
    """Run the stages in order, each into an executed notebook.

    Each FILE holds parameters (YAML); a later one wins, and what none has is as in the notebooks.
    On a terminal the plan is shown first and you are asked whether to apply it, except at the local
    cloud.

    A scheduler that calls `runbook` once for each stage keeps them in one record with `--run`: the
    stages go on in the folder of that name, which must have the same parameters.
    """
    order = order_of(given=(*given, f"mode={mode}") if mode else given, **what)
    if name:
        order = replace(order, name=name)
    asks = not (yes or name) and sys.stdin.isatty() and sys.stdout.isatty()
    if "mode" not in order.values or order.is_plan or order.is_rehearsal or not asks:
        by = approved_by and not order.is_plan
        return carry_out(order, approval=_approval(None, approved_by) if by else None)[0]
    code, looked = carry_out(order.with_mode("plan"))
    if code or not _waiting(looked.folder):
        return code
    if not click.confirm(translated("Apply this plan?")):
        print(translated("Nothing was changed."))
        return 0
    return carry_out(order, approval=_approval(looked.folder, approved_by))[0]


@click.command()
@chooses
@click.option(
    "--detailed-exitcode", is_flag=True, help=f"End with {WAITING} where changes wait, else with 0."
)
def plan(given: tuple[str, ...], detailed_exitcode: bool, **what: Any) -> int:
    """Show what a run would do, and change nothing.

    `--stages 90` shows what would be removed. `runbook apply` carries out exactly this plan.
    """
    code, looked = carry_out(order_of(given=(*given, "mode=plan"), **what))
    return WAITING if detailed_exitcode and not code and _waiting(looked.folder) else code


@click.command()
@RUN
@option("--approved-by", "NAME", "Who approved the plan; it is recorded.")
@YES
@TIMEOUT
@REASON
@SIGN
@FORCE
@RUNS
def apply(run: str, approved_by: str | None, yes: bool, runs: Path, **how: Any) -> int:
    """Carry out exactly the plan of the run RUN.

    Its stages look once more first. If they would do something else now than then, the difference
    is shown, and nothing is changed.
    """
    from lib.chain import approving
    from lib.chain.summary import near
    from lib.errors import plain
    from lib.record import plans

    folder, stages, table, values = approving.planned(run, runs)
    order = Order(stages, table, values, folder.parent, chosen(**how))
    if not _waiting(folder):
        print(translated("{}: this plan has nothing to do.", near(folder)))
        return 0
    if not approved_by and not yes and sys.stdin.isatty() and not order.is_rehearsal:
        sentence = plans.sentence(plans.read(folder).values())
        approved_by = click.prompt(f"{sentence}. {translated('Approved by')}")
    code, looked = carry_out(order, tells_plan=False)
    if code:
        return code
    if lines := plans.difference(plans.read(folder), plans.read(looked.folder)):
        changed = "The cloud has changed since the plan was made. Nothing was done. The difference:"
        print(translated(changed))
        print(plain("\n".join(f"  {line}" for line in lines)))
        print(translated("To apply what would be done now: {}", again.to_apply(looked.folder)))
        return 1
    return carry_out(order.with_mode("apply"), approval=_approval(folder, approved_by))[0]


def _waiting(folder: Path) -> int:
    """Return how many changes the plan of a run has."""
    from lib.record import plans

    return sum(plans.count(plans.read(folder).values()).values())


def _approval(plan: Path | None, by: str | None) -> object:
    """Return who approved which plan: without a name the user who runs this."""
    from lib.chain.run import Approval
    from lib.record import provenance

    return Approval(plan, by or provenance.user())


def carry_out(order: Order, tells_plan: bool = True, **more: object) -> tuple[int, Any]:
    """Run the stages and say how it ended; return the exit code and the run."""
    claim = claim_of(order.stages, order.values, order.how["force"])
    # Only now: papermill takes its time to import, and faults are reported at once.
    from lib.chain import resume
    from lib.chain.run import Work, perform, run
    from lib.chain.terminal import Terminal
    from lib.report.console import console

    how, what = order.how | more, (order.stages, order.table, order.values)
    # Before `further`: what never began is removed, and is not gone on with.
    close_abandoned(order.runs, order.runs / order.name if order.name else None)
    old = resume.further(order.name, Work(order.runs, *what, **how)) if order.name else None
    with Terminal(console()) as terminal:
        if old:
            ended = perform(replace(old, claim=claim), terminal)
        else:
            how |= {"runs": order.runs, "name": order.name, "tell": terminal, "claim": claim}
            ended = run(*what, **how)
    tells_plan, ends_here = order.is_plan and tells_plan, order.is_on_copy
    return _summed_up(terminal, ended, order.stages, tells_plan, ends_here), ended


@click.command()
@RUN
@TIMEOUT
@REASON
@SIGN
@FORCE
@option("--notebooks", "DIR", "Where the stages are; else those that the run had.")
@RUNS
def resume(run: str, notebooks: Path | None, runs: Path, **how: Any) -> int:
    """Continue a run that failed, was interrupted or abandoned.

    All stages of the folder RUN (or of that name in --runs) run in order with its parameters. What
    is done costs a look; earlier attempts are kept as NN-name.attemptK.ipynb.
    """
    from lib.chain import resume
    from lib.chain.run import perform
    from lib.chain.summary import near
    from lib.chain.terminal import Terminal
    from lib.report import past
    from lib.report.console import console

    folder = resume.folder_of(run, runs)
    work = resume.work(folder, notebooks=notebooks, **chosen(**how))
    close_abandoned(folder.parent, folder)
    if not work:
        print(translated("{} ended well: there is nothing to continue.", near(folder)))
        return 0
    if unread := past.read(folder).unread:
        print(f"{near(folder)}: goes on without what cannot be read: {', '.join(unread)}.")
    work = replace(work, claim=claim_of(work.stages, work.values, work.force))
    with Terminal(console()) as terminal:
        ended = perform(work, terminal)
    return _summed_up(terminal, ended, work.stages, work.is_plan)


def _summed_up(
    terminal: Any, ended: Any, chosen: Sequence, tells_plan: bool, ends_here: bool = False
) -> int:
    """Print how a run of the stages ended, unless the terminal is gone; return its exit code.

    With `ends_here` it names no command that goes on from this run.
    """
    try:
        deploys = any(stage.number == DEPLOYS for stage in chosen)
        look = again.to_look_at_removal(ended.folder)
        removes = deploys and not ends_here
        after = translated("To see what removes it: {}", look) if removes else ""
        verb = "plan" if terminal.planning else "run"
        way_on = partial(again.way_on, ended.folder, chosen, verb=verb)
        terminal.sum_up(ended, None if ends_here else way_on, after)
        if tells_plan:
            terminal.show_plan(ended)
            if not ended.exit_code and _waiting(ended.folder):
                command = again.to_apply(ended.folder)
                print(translated("Nothing was changed. To apply this plan: {}", command))
        sys.stdout.flush()
    except OSError:
        drop_output()
    return ended.exit_code


def drop_output() -> None:
    """Drop what is still written to standard output, which nobody reads any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed again at the end


def close_abandoned(runs: Path, resumed: Path | None = None) -> None:
    """Close the records of runs whose driver died, and say how to continue them.

    The one that is about to be resumed needs no such word.
    """
    from lib import profiles
    from lib.chain import abandoned
    from lib.errors import AtWork, plain

    abandoned.sweep(runs)
    for folder in abandoned.find(runs):
        try:
            closed = abandoned.close(folder, profiles.kept())
        except AtWork as busy:  # another command closes it right now
            print(plain(busy))
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as damaged:
            text = f"its record is damaged and cannot be closed ({damaged!r:.200})."
            print(plain(f"{folder.name}: {text}"))
            continue
        if not closed:  # another command did it meanwhile
            continue
        ended, stage = closed
        if ended:
            print(f"{folder.name} had ended ({ended}), but was not sealed; it is now.")
            continue
        place = translated(" in {}", stage) if stage else ""
        print(translated("{} was abandoned: its driver died{}.", folder.name, place))
        if folder != resumed:
            print(translated("To continue: {}", again.to_resume(folder)))
