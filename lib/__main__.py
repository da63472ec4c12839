"""The `runbook` command: run the notebooks, list their parameters, keep a cloud on this machine."""

import argparse
import difflib
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lib import profiles
from lib.journal import INTERACTIVE

ROOT = Path(__file__).resolve().parent.parent
HELP = """\
usage: runbook COMMAND ...

  run FILE...    run the stages in order with the parameters of the files, and record them
  resume RUN     continue a run that failed, was interrupted or abandoned
  verify [RUN]   find what was changed in the record of a run, or of all, since it was sealed
  list           list the runs: outcome, cluster, stage reached, duration
  diff A B       show what differs between two runs
  report RUN     write the report of a run, as of an abandoned one
  params         list all parameters: name, type, default, meaning, notebooks
  local-cloud    start, stop, reset or show the cloud that runs on this machine

`runbook COMMAND --help` explains the options of a command.
"""


def _seconds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"wanted whole seconds, at least 1, found {text!r}")
    return int(text)


# What commands take: its placeholder, its help, and what else argparse is to know of it.
OPTIONS = {
    "files": ("FILE", "parameter files (YAML); a later one wins", {"nargs": "*"}),
    "run": ("RUN", "folder of the run, or its name in --runs", {}),
    "run?": ("RUN", "its folder or name; without it, all", {"nargs": "?"}),
    "A": (None, "folder of a run, or its name in --runs", {}),
    "B": (None, "folder of a run, or its name in --runs", {}),
    "-p": (
        "NAME=VALUE",
        "set one parameter; wins over all files",
        {"action": "append", "default": []},
    ),
    "--mode": (
        None,
        "plan: look only; apply: make changes (short for -p mode=...)",
        {"choices": ["plan", "apply"]},
    ),
    "--stages": ("LIST", "such as 10-42 or 10,20,50-60; without it all below 70", {"default": ""}),
    "--cell-timeout": (
        "SECONDS",
        "how long one cell may take; without it there is no limit",
        {"type": _seconds},
    ),
    "--reason": ("TEXT", "why this is done, or its ticket; kept in the record", {"default": ""}),
    "--sign": (
        "KEY",
        "sign the record with this SSH key (its private file, or its .pub with an agent)",
        {"type": Path},
    ),
    "--notebooks": ("DIR", "where the stages are", {"type": Path, "default": ROOT / "notebooks"}),
    "--runs": ("DIR", "where the folders of runs are", {"type": Path, "default": ROOT / "runs"}),
    "--signers": (
        "FILE",
        "every run must be signed by one of these (ALLOWED SIGNERS in ssh-keygen(1))",
        {"type": Path},
    ),
    "--noted": (
        "SHA256",
        "some run must have the seal of which this was told after an earlier `verify`",
        {},
    ),
    "--to": ("FILE", "write it there, as for a draft", {"type": Path}),
    "--format": (
        None,
        "how to print it",
        {"choices": ["table", "json", "markdown"], "default": "table"},
    ),
}
# What each command does, and which of these it takes.
TAKES = {
    "run": (
        "Run the stages in order, each into an executed notebook.",
        "files -p --mode --stages --cell-timeout --reason --sign --notebooks --runs",
    ),
    "resume": (
        "Continue a run in its folder: all its stages in order, with its parameters. What is done "
        "costs a look; earlier attempts are kept as NN-name.attemptK.ipynb.",
        "run --cell-timeout --reason --sign --notebooks --runs",
    ),
    "verify": (
        "Find every edit, insertion, removal, reordering and cut in sealed runs. The exit code is "
        "6 if there is one. Changes are evident, not prevented: who may write into the folder of "
        "runs can make up or remove the newest runs and mend the log of seals. Sign the runs, and "
        "note the sha256 that the last line tells elsewhere, to notice that, too.",
        "run? --runs --signers --noted",
    ),
    "list": ("List the runs, newest first.", "--runs"),
    "diff": (
        "Show what differs between two runs: parameters, outcomes, resources, durations, versions. "
        "What is new in every run, as ids and times, is left out.",
        "A B --runs",
    ),
    "report": ("Write the report of a run.", "run --to --runs"),
    "params": ("List all parameters.", "--format --notebooks"),
}


# What the stages import; a kernel that is started early has it all before its stage begins.
PRELOAD = ["pandas.io.formats.style", "requests", "yaml", "lib.client", "lib.plan", "lib.shell"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; the README lists them."""
    words = list(sys.argv[1:] if argv is None else argv)
    commands = {
        "run": _run,
        "resume": _resume,
        "verify": _verify,
        "list": _list,
        "diff": _diff,
        "report": _report,
        "params": _params,
        "local-cloud": _local_cloud,
    }
    if not words or words[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0 if words else 2
    if words[0] not in commands:
        near = difflib.get_close_matches(words[0], commands, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        print(f"runbook: there is no command {words[0]}{hint}\n\n{HELP}", end="", file=sys.stderr)
        return 2
    return _guarded(commands[words[0]], words[1:])


def _guarded(command, words: list[str]) -> int:
    """Run a command; turn bad input and Ctrl-C into their exit codes."""
    from lib.chain.faults import BadInput, RecordCut

    try:
        return command(words)
    except BadInput as bad:
        count = len(bad.faults)
        print(f"Nothing was started: {count} fault{'s' * (count > 1)}.", file=sys.stderr)
        print("\n".join(f"  {fault}" for fault in bad.faults), file=sys.stderr)
        return 2
    except RecordCut as cut:
        print(f"{cut}\nMake room, then: {_to_resume(cut.folder)}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"runbook: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


def _parser(command: str) -> argparse.ArgumentParser:
    description, options = TAKES[command]
    parser = argparse.ArgumentParser(f"runbook {command}", description=description)
    for name in options.split():
        metavar, meaning, more = OPTIONS[name]
        parser.add_argument(name.rstrip("?"), metavar=metavar, help=meaning, **more)
    return parser


def _run(words: list[str]) -> int:
    from lib.chain import params, stages, values
    from lib.report.console import console

    given = _parser("run").parse_intermixed_args(words)
    chosen = stages.choose(stages.find(given.notebooks), given.stages)
    table = params.gather(given.notebooks)
    mode = [f"mode={given.mode}"] if given.mode else []
    merged = values.load(table, given.files, [*given.p, *mode], profiles.kept())
    how = _how(given)
    # Only now: papermill takes its time to import, and bad input should be told at once.
    from lib.chain.run import run
    from lib.chain.terminal import Terminal

    _close_abandoned(given.runs)
    with Terminal(console()) as terminal:
        ended = run(
            chosen, table, merged,
            runs=given.runs, tell=terminal, **how,
        )  # fmt: skip
    code = _summed_up(terminal, ended)
    if not code and "mode" in merged and merged["mode"].value == "plan":
        print("Plan mode: nothing was changed. What would be stands under Plan in the notebooks.")
    return code


def _resume(words: list[str]) -> int:
    from lib.chain import resume
    from lib.chain.run import perform
    from lib.chain.terminal import Terminal, near
    from lib.report.console import console

    parser = _parser("resume")
    parser.set_defaults(notebooks=None)  # those that the run had
    given = parser.parse_args(words)
    folder = resume.folder_of(given.run, given.runs)
    work = resume.work(folder, notebooks=given.notebooks, **_how(given))
    _close_abandoned(folder.parent)
    if not work:
        print(f"{near(folder)} ended well: there is nothing to continue.")
        return 0
    with Terminal(console()) as terminal:
        ended = perform(work, terminal)
    return _summed_up(terminal, ended)


def _summed_up(terminal, ended) -> int:
    """Print how a run ended, unless the terminal is gone, and return its exit code."""
    try:
        terminal.sum_up(ended, _to_resume(ended.folder))
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed again at the end
    return ended.exit_code


def _how(given: argparse.Namespace) -> dict:
    """Return how a run is to be carried out, as far as its options say it.

    Raises BadInput for a key to sign with that is not there.
    """
    if given.sign and not given.sign.is_file():
        from lib.chain.faults import BadInput

        raise BadInput([f"--sign: wanted the file of an SSH key, found none at {given.sign}"])
    chosen = {"cell_timeout": given.cell_timeout, "reason": given.reason, "key": given.sign}
    return chosen | {"preload": PRELOAD, "secrets": profiles.kept()}


def _verify(words: list[str]) -> int:
    from lib.chain import verify

    given = _parser("verify").parse_args(words)
    if given.run:
        folders = [verify.find(given.run, given.runs).resolve()]
        runs, found = folders[0].parent, verify.verify(folders[0], given.signers)
    else:
        runs, folders = given.runs, verify.closed(given.runs)
        found = verify.verify_all(runs, given.signers)
    if given.noted and not verify.holds(runs, given.noted):
        found.append(verify.Finding(runs.name, "", f"no run has the seal {given.noted}"))
    for finding in found:
        print(f"✗ {finding}")
    bad = {finding.run for finding in found}
    if not given.run and (runs / INTERACTIVE).is_dir():
        print(f"{INTERACTIVE}: {verify.BY_HAND}")
    print(f"{len(folders)} checked, {len(bad)} not as sealed. {verify.told(runs)}")
    return 6 if found else 0


def _list(words: list[str]) -> int:
    given = _parser("list").parse_args(words)
    from lib.report import index

    index.show(given.runs)
    return 0


def _diff(words: list[str]) -> int:
    given = _parser("diff").parse_args(words)
    from lib.report import diff, past

    diff.show(past.named(given.A, given.runs), past.named(given.B, given.runs))
    return 0


def _report(words: list[str]) -> int:
    given = _parser("report").parse_args(words)
    from lib.report import past, report

    print(report.write_unsealed(past.named(given.run, given.runs), given.to))
    return 0


def _to_resume(folder: Path) -> str:
    from lib.chain.terminal import near

    return shlex.join([*_invoked(), "resume", near(folder)])


def _close_abandoned(runs: Path) -> None:
    """Close the records of runs whose driver died, and say how to continue them."""
    from lib.chain import abandoned

    for folder in abandoned.find(runs):
        ended, stage = abandoned.close(folder)
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


def _params(words: list[str]) -> int:
    given = _parser("params").parse_args(words)
    from lib.chain import listing, params

    listing.show(params.gather(given.notebooks), given.format)
    return 0


def _local_cloud(words: list[str]) -> int:
    from lib.localcloud.__main__ import main as local_cloud

    return local_cloud(words)


if __name__ == "__main__":
    sys.exit(main())
