"""The `runbook` command: run the notebooks, list their parameters, keep a cloud on this machine.

What a command needs is imported when it runs: help and bad input shall not wait for papermill.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

ROOT = Path(__file__).resolve().parent.parent
# What the stages import; a kernel that is started early has it all before its stage begins.
PRELOAD = [
    "pandas.io.formats.style",
    "requests",
    "yaml",
    "lib.cloud",
    "lib.plan",
    "lib.workstation.shell",
]


class InOrder(click.Group):
    """A group that lists its commands as they are written, not by the alphabet."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.commands)


@click.group(
    cls=InOrder,
    epilog="`runbook COMMAND --help` explains the options of a command.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="coreos-cluster-runbook", message="%(prog)s %(version)s")
def runbook() -> None:
    """Run notebooks that build a CoreOS cluster on CloudStack, and read what they recorded."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; the README lists them."""
    from lib.errors import RunbookError, plain
    from lib.record.faults import BadInput, RecordCut
    from lib.report import console

    console.set_up()
    try:
        code = runbook.main(argv, "runbook", standalone_mode=False) or 0
        sys.stdout.flush()
        return code
    except click.UsageError as error:
        error.message = plain(error.message)
        error.show()
        return error.exit_code
    except BadInput as bad:
        count, word = len(bad.faults), (argv if argv is not None else sys.argv[1:])[0]
        head = "Nothing was started" if word in ("run", "resume") else f"runbook {word}"
        print(f"{head}: {count} fault{'s' * (count > 1)}.", file=sys.stderr)
        print("\n".join(f"  {plain(fault)}" for fault in bad.faults), file=sys.stderr)
        return 2
    except RecordCut as cut:
        print(plain(f"{cut}\nMake room, then: {_to_resume(cut.folder)}"), file=sys.stderr)
        return 1
    except BrokenPipeError:  # as of `runbook list | head`
        _drop_output()
        return 1
    except (OSError, RunbookError) as error:
        print(plain(f"runbook: {error}"), file=sys.stderr)
        return 1
    except click.Abort:  # Ctrl-C
        print("Interrupted.", file=sys.stderr)
        return 130


class Given(click.ParamType):
    """A text that says something: one that is empty or not UTF-8 is a mistake, as of a script."""

    name = "text"

    def convert(self, value: str, param: object, context: object) -> str:
        """Return the text; fail where there is none, or none that can be written down."""
        if not value.strip():
            self.fail("it is empty: leave the option out, or give it a value", param, context)
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail("it is not UTF-8 text", param, context)
        return value


class Run(Given):
    """The name or the folder of a run; `latest` is the newest."""

    def shell_complete(
        self, context: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names of runs that begin so."""
        from lib.report import past

        runs = context.params.get("runs") or ROOT / "runs"
        names = [past.LATEST, *(folder.name for folder in past.folders(Path(runs)))]
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class GivenPath(click.Path):
    """A path, which is not empty: that would be the folder that one stands in."""

    def convert(self, value: str | Path, param: object, context: object) -> Path:
        """Return the path."""
        if isinstance(value, str) and not value.strip():
            self.fail("it is empty: leave the option out, or give it a path", param, context)
        return super().convert(value, param, context)


PATH = GivenPath(path_type=Path)
TYPES = {
    "DIR": PATH,
    "FILE": PATH,
    "LIST": Given(),
    "NAME=VALUE": Given(),
    "SHA256": Given(),
    "TEXT": Given(),
    "KEY": click.Path(exists=True, dir_okay=False, path_type=Path),
    "SECONDS": click.IntRange(min=1),
    "NUMBER": click.IntRange(min=1),
    "PORT": click.IntRange(1, 65535),
    "plan|apply": click.Choice(["plan", "apply"]),
    "table|json|markdown": click.Choice(["table", "json", "markdown"]),
}


def _option(names: str, kind: str, meaning: str, **more: object) -> Callable:
    """Return an option whose value is of a kind: one of TYPES, or a text."""
    return click.option(*names.split(), metavar=kind, type=TYPES.get(kind), help=meaning, **more)


# What several commands take.
RUN = click.argument("run", metavar="RUN", type=Run())
NOTEBOOKS = _option("--notebooks", "DIR", "Where the stages are.", default=ROOT / "notebooks")
RUNS = _option("--runs", "DIR", "Where the folders of runs are.", default=ROOT / "runs")
TIMEOUT = _option("--cell-timeout", "SECONDS", "How long one cell may take; else without limit.")
REASON = _option("--reason", "TEXT", "Why this is done, or its ticket; it is recorded.")
SIGN = _option("--sign", "KEY", "Sign with this SSH key (its private file, or .pub of an agent's).")


def _chosen(cell_timeout: int | None, reason: str | None, sign: Path | None) -> dict:
    """Return how a run is to be carried out, as `run` and `resume` take it."""
    from lib import profiles

    chosen = {"cell_timeout": cell_timeout, "reason": reason or "", "key": sign}
    return chosen | {"preload": PRELOAD, "secrets": profiles.kept()}


@runbook.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@_option("-p given", "NAME=VALUE", "Set one parameter; wins over all files.", multiple=True)
@_option("--mode", "plan|apply", "plan only looks, apply changes; short for -p mode=...")
@_option("--stages numbers", "LIST", "As 10-42 or 10,20,50-60; else all below 70.")
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
    runs: Path,
    **how: Any,
) -> int:
    """Run the stages in order, each into an executed notebook.

    Each FILE holds parameters (YAML); a later one wins.
    """
    from lib import profiles
    from lib.chain import params, stages, values

    notebooks: Path = how.pop("notebooks")
    chosen = stages.choose(stages.find(notebooks), numbers)
    table = params.gather(notebooks)
    pairs = [*given, f"mode={mode}"] if mode else given
    merged = values.load(table, files, pairs, profiles.kept())
    # Only now: papermill takes its time to import, and bad input should be told at once.
    from lib.chain.run import run
    from lib.chain.terminal import Terminal
    from lib.report.console import console

    _close_abandoned(runs)
    with Terminal(console()) as terminal:
        ended = run(chosen, table, merged, runs=runs, tell=terminal, **_chosen(**how))
    code = _summed_up(terminal, ended, chosen)
    if not code and "mode" in merged and merged["mode"].value == "plan":
        print("Plan mode: nothing was changed. What would be stands under Plan in the notebooks.")
    return code


@runbook.command()
@RUN
@TIMEOUT
@REASON
@SIGN
@_option("--notebooks", "DIR", "Where the stages are; else those that the run had.")
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
        terminal.sum_up(ended, lambda option: _way_on(ended.folder, chosen, option))
        sys.stdout.flush()
    except OSError:
        _drop_output()
    return ended.exit_code


def _drop_output() -> None:
    """Drop what is still written to standard output, which nobody reads any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed again at the end


@runbook.command()
@click.argument("run", required=False, metavar="[RUN]", type=Run())
@RUNS
@_option("--signers", "FILE", "Who must have signed every run: ssh-keygen(1), ALLOWED SIGNERS.")
@_option("--noted", "SHA256", "Some run must have this seal, which `verify` printed.")
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
    print(f"{len(folders)} checked, {len(bad)} not as sealed. {verify.newest_seal(runs)}")
    return 6 if found else 0


@runbook.command("list")
@_option("--cluster", "TEXT", "Only runs of this cluster.")
@click.option("--failed", is_flag=True, help="Only runs that did not end well.")
@_option("-n most", "NUMBER", "Only the newest NUMBER of them.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@RUNS
def list_(cluster: str | None, failed: bool, most: int | None, as_json: bool, runs: Path) -> None:
    """List the runs, newest first."""
    from lib.report import index

    index.show(runs, index.Choice(cluster or "", failed, most), as_json=as_json)


@runbook.command("open")
@RUN
@RUNS
def open_(run: str, runs: Path) -> int:
    """Open the report of a run in a browser, and print where it is."""
    from lib.report import past, report

    page = past.named(run, runs) / report.FILE
    if not page.is_file():
        raise click.UsageError(f"{page} is not there: `runbook report {page.parent}` writes it")
    print(page)
    return click.launch(str(page))


@runbook.command()
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


@runbook.command()
@RUN
@_option("--to", "FILE", "Write it there, as for a draft.")
@RUNS
def report(run: str, to: Path | None, runs: Path) -> None:
    """Write the report of a run, as of an abandoned one."""
    from lib.report import past, report

    print(report.write_unsealed(past.named(run, runs), to))


@runbook.command()
@_option("--format form", "table|json|markdown", "How to print it.", default="table")
@NOTEBOOKS
def params(form: str, notebooks: Path) -> None:
    """List all parameters: name, type, default, meaning, notebooks."""
    from lib.chain import listing, params

    listing.show(params.gather(notebooks), form)


@runbook.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@_option("-p given", "NAME=VALUE", "Set one parameter; wins over all files.", multiple=True)
@_option("--reason", "TEXT", "Why this is done, or its ticket: the operation note.")
@_option("--folder", "DIR", "The working folder; else lab/ and the cluster's name.")
@click.option("--browser/--no-browser", default=True, help="Whether to open a browser.")
@_option("--port", "PORT", "Where JupyterLab listens.")
@NOTEBOOKS
@RUNS
def lab(
    files: tuple[str, ...],
    given: tuple[str, ...],
    reason: str | None,
    notebooks: Path,
    runs: Path,
    folder: Path | None,
    **options: object,
) -> None:
    """Work by hand: prepare a copy of each notebook, and open them in JupyterLab.

    Each FILE holds parameters (YAML); a later one wins. The copies start in plan mode. One that
    was worked in before moves to `earlier/` of the working folder.
    """
    from lib import profiles
    from lib.chain import params, values
    from lib.lab import opening

    table = params.gather(notebooks)
    merged = values.load(table, files, given, profiles.kept())
    where = {"notebooks": notebooks, "runs": runs, "folder": folder or opening.folder_for(merged)}
    opening.open_lab(table, merged, [Path(f) for f in files], where, reason, **options)


UNREAD = {"ignore_unknown_options": True}  # the local cloud reads its own options


@runbook.command("local-cloud", add_help_option=False, context_settings=UNREAD)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def local_cloud(words: tuple[str, ...]) -> int:
    """Start, stop, reset or show the cloud on this machine."""
    from lib.localcloud.__main__ import main as local_cloud

    return local_cloud(list(words))


def _to_resume(folder: Path) -> str:
    from lib.chain.terminal import near

    return shlex.join([*_invoked(), "resume", near(folder)])


def _way_on(folder: Path, chosen: Sequence, option: str) -> str:
    """Return the command that resumes a run, or with an option one that starts it anew."""
    from lib.chain import stages
    from lib.chain.terminal import near

    if not option:
        return _to_resume(folder)
    where = chosen[0].path.parent
    words = [*_invoked(), "run", near(folder / "params.yaml"), *option.split()]
    if list(chosen) != stages.choose(stages.find(where)):
        words += ["--stages", ",".join(f"{stage.number:02}" for stage in chosen)]
    if where != ROOT / "notebooks":
        words += ["--notebooks", near(where)]
    if folder.parent != ROOT / "runs":
        words += ["--runs", near(folder.parent)]
    return shlex.join(words)


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
        print(f"To continue: {_to_resume(folder)}")


def _invoked() -> list[str]:
    """Return the words by which this command was called, to be typed again."""
    called = Path(sys.argv[0])
    if called.parts[-2:] == ("lib", "__main__.py"):
        return ["python", "-m", "lib"]
    on_path = shutil.which("runbook")
    if called.name != "runbook" or (on_path and called.exists() and called.samefile(on_path)):
        return ["runbook"]
    return [sys.argv[0]]


if __name__ == "__main__":
    sys.exit(main())
