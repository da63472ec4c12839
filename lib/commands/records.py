"""Commands on records: verify, list, open, watch, diff, export and report."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click

from lib.commands.options import EXPORTS, RUN, RUNS, Run, option


@click.command()
@click.argument("run", required=False, metavar="[RUN]", type=Run())
@RUNS
@option("--signers", "FILE", "Who must have signed every run: ssh-keygen(1), ALLOWED SIGNERS.")
@option("--noted", "SHA256", "Some run must have this seal, which `verify` printed.")
def verify(run: str | None, runs: Path, signers: Path | None, noted: str | None) -> int:
    """Find what was changed in records since they were sealed.

    Without RUN all are checked. Every edit, insertion, removal, reordering and cut is found; the
    exit code is 6 if there is one. Changes are evident, not prevented: who may write into the
    folder of runs can make up or remove the newest runs and mend the log of seals. To notice that,
    too, sign the runs, and note elsewhere the sha256 in the last line.
    """
    from lib.chain import abandoned, verify
    from lib.record.journal import INTERACTIVE
    from lib.report.console import one_line

    if runs.is_dir() and os.access(runs, os.W_OK):
        abandoned.sweep(runs)
    if run:
        folders = [Path(os.path.abspath(verify.find(run, runs)))]
        runs, found = folders[0].parent, verify.verify(folders[0], signers)
    else:
        folders, found = verify.closed(runs), verify.verify_all(runs, signers)
    if noted and not verify.holds(runs, noted):
        found.append(verify.Finding(runs.name, "", f"no run has the seal {noted}"))
    for finding in found:
        print(one_line(f"✗ {finding}"))
    bad = {finding.run for finding in found}
    for folder in [] if run else verify.running(runs):
        print(one_line(f"{folder.name}: still going on, not checked"))
    if not run and (runs / INTERACTIVE).is_dir():
        print(f"{INTERACTIVE}: {verify.BY_HAND}")
    seal = one_line(verify.newest_seal(runs))
    print(f"{len(folders)} checked, {len(bad)} not as sealed. {seal}")
    return 6 if found else 0


@click.command("list")
@option("--cluster", "TEXT", "Only runs of this cluster.")
@option("--mode", "plan|apply", "Only runs of this mode.")
@click.option("--real", is_flag=True, help="Only runs on a real cloud, not rehearsals.")
@click.option("--failed", is_flag=True, help="Only runs that did not end well.")
@option("-n most", "NUMBER", "Only the newest NUMBER of them.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@RUNS
def list_(cluster: str | None, mode: str | None, as_json: bool, runs: Path, **chosen: Any) -> None:
    """List the runs, newest first."""
    from lib.report import index

    index.show(runs, index.Choice(cluster or "", mode or "", **chosen), as_json=as_json)


@click.command("open")
@RUN
@RUNS
def open_(run: str, runs: Path) -> int:
    """Open the report of a run in a browser, and print where it is."""
    from lib.report import past, report

    page = past.named(run, runs) / report.FILE
    if not page.is_file():
        raise click.UsageError(f"{page} is not there: `runbook report {page.parent}` writes it")
    print(page)
    has_screen = any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if not has_screen or not shutil.which("xdg-open"):
        print("No browser can be opened from here: copy this file, or serve its folder.")
        return 0
    # In the background, as some browsers stay, and silent, as they say what is not ours.
    subprocess.run(["sh", "-c", 'xdg-open "$1" >/dev/null 2>&1 &', "", page], check=True)
    return 0


@click.command()
@click.argument("run", required=False, metavar="[RUN]", type=Run())
@RUNS
def watch(run: str | None, runs: Path) -> None:
    """Follow what runs, from its journal, until it ends.

    Without RUN that is the run which goes on, or else what a notebook does by hand.
    """
    from lib.chain import watch

    folder = watch.chosen(run, runs)
    if folder is None:
        print(f"Nothing runs in {runs}.")
    else:
        watch.follow(folder)


@click.command()
@click.argument("a", metavar="A", type=Run())
@click.argument("b", metavar="B", type=Run())
@RUNS
def diff(a: str, b: str, runs: Path) -> None:
    """Show what differs between two runs.

    That is parameters, outcomes, resources, durations and versions. What is new in every run, as
    ids and times, is left out. A and B are folders, or names in --runs.
    """
    from lib.report import diff, past

    diff.show(past.named(a, runs), past.named(b, runs))


@click.command()
@RUN
@option("--to form", EXPORTS, "For which program.", required=True)
@RUNS
def export(run: str, form: str, runs: Path) -> None:
    """Print the resources of a run's cluster for another program.

    That is an inventory of Ansible, an ssh_config, lines of /etc/hosts, import blocks of Terraform
    or a table (CSV). All comes from the record: the cloud is not asked.
    """
    from lib.report import export, past

    print(export.text(past.read(past.named(run, runs)), form), end="")


@click.command()
@RUN
@option("--to", "FILE", "Write it there, as for a draft; a FILE.pdf is printed with Chromium.")
@RUNS
def report(run: str, to: Path | None, runs: Path) -> None:
    """Write the report of a run, as of an abandoned one.

    On paper its contents have page numbers.
    """
    from lib.report import paper, past, report

    folder = past.named(run, runs)
    if not to or to.suffix != paper.SUFFIX:
        print(report.write_unsealed(folder, to))
        return
    page = folder / report.FILE
    print(paper.write(page if page.is_file() else report.write_unsealed(folder), to))
