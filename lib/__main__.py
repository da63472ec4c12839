"""The `runbook` command: run the notebooks, list their parameters, keep a cloud on this machine."""

import argparse
import difflib
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HELP = """\
usage: runbook COMMAND ...

  run FILE...    run the stages in order with the parameters of the files, and record them
  params         list all parameters: name, type, default, meaning, notebooks
  local-cloud    start, stop, reset or show the cloud that runs on this machine

`runbook COMMAND --help` explains the options of a command.
"""


def _seconds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"wanted whole seconds, at least 1, found {text!r}")
    return int(text)


RUN_OPTIONS = {
    "files": {
        "nargs": "*",
        "metavar": "FILE",
        "help": "parameter files (YAML); a later one wins",
    },
    "-p": {
        "action": "append",
        "default": [],
        "metavar": "NAME=VALUE",
        "help": "set one parameter; wins over all files",
    },
    "--mode": {
        "choices": ["plan", "apply"],
        "help": "plan: look only; apply: make changes (short for -p mode=...)",
    },
    "--stages": {
        "default": "",
        "metavar": "LIST",
        "help": "such as 10-42 or 10,20,50-60; without it all below 70",
    },
    "--cell-timeout": {
        "type": _seconds,
        "metavar": "SECONDS",
        "help": "how long one cell may take; without it there is no limit",
    },
    "--notebooks": {
        "type": Path,
        "default": ROOT / "notebooks",
        "metavar": "DIR",
        "help": "where the stages are",
    },
    "--runs": {
        "type": Path,
        "default": ROOT / "runs",
        "metavar": "DIR",
        "help": "where the folder of the run is made",
    },
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 ok, 1 a stage failed, 2 bad input, 130 Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    commands = {"run": _run, "params": _params, "local-cloud": _local_cloud}
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
    from lib.chain.faults import BadInput

    try:
        return command(words)
    except BadInput as bad:
        count = len(bad.faults)
        print(f"Nothing was started: {count} fault{'s' * (count > 1)}.", file=sys.stderr)
        print("\n".join(f"  {fault}" for fault in bad.faults), file=sys.stderr)
        return 2
    except OSError as error:
        print(f"runbook: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


def _run(words: list[str]) -> int:
    from lib.chain import params, stages, values
    from lib.chain.console import console

    given = _run_parser().parse_intermixed_args(words)
    chosen = stages.choose(stages.find(given.notebooks), given.stages)
    table = params.gather(given.notebooks)
    mode = [f"mode={given.mode}"] if given.mode else []
    merged = values.load(table, given.files, [*given.p, *mode])
    # Only now: papermill takes its time to import, and bad input should be told at once.
    from lib.chain.run import run
    from lib.chain.terminal import Terminal

    with Terminal(console()) as terminal:
        ended = run(
            chosen, table, merged,
            runs=given.runs, tell=terminal, cell_timeout=given.cell_timeout,
        )  # fmt: skip
    terminal.sum_up(ended, shlex.join([*_invoked(), "run", *words]))
    return ended.exit_code


def _run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "runbook run", description="Run the stages in order, each into an executed notebook."
    )
    for words, options in RUN_OPTIONS.items():
        parser.add_argument(*words.split(), **options)
    return parser


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
    parser = argparse.ArgumentParser("runbook params", description="List all parameters.")
    add = parser.add_argument
    add("--format", choices=["table", "json", "markdown"], default="table", help="how to print it")
    add("--notebooks", type=Path, default=ROOT / "notebooks", metavar="DIR", help="where they are")
    given = parser.parse_args(words)
    from lib.chain import listing, params

    listing.show(params.gather(given.notebooks), given.format)
    return 0


def _local_cloud(words: list[str]) -> int:
    from lib.localcloud.__main__ import main as local_cloud

    return local_cloud(words)


if __name__ == "__main__":
    sys.exit(main())
