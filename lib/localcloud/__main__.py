"""The command line: `python -m lib.localcloud start|status|stop|reset|serve`."""

import argparse
import json
import sys
from pathlib import Path

from . import background
from .state.dialects import DIALECTS, named

ETCD = ("stand-in", "real")
SWITCHES = {
    "may_expunge": "the account may expunge",
    "custom_offering": "there is a service offering of custom size",
    "second_nic": "machines have two network cards",
}
SETTINGS = ("time_scale", "expunge_delay", "refuse", "project", *SWITCHES)
PUBLIC = ("endpoint", "dialect", "etcd", *SETTINGS, "dir", "pid")


def main(argv: list[str] | None = None) -> int:
    """Do what the arguments say; return the exit code."""
    options = parser().parse_args(argv)
    try:
        base = background.base(options.dir)
        options.dialect = options.dialect or _dialect(options, base)
        return options.run(options, base / options.dialect)
    except background.Trouble as trouble:
        print(trouble, file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="runbook local-cloud",
        description="Start, stop, reset or show the cloud on this machine. Each has --help.",
    )
    verbs = top.add_subparsers(required=True, metavar="start|status|stop|reset|serve")
    for name, run, text in (
        ("start", start, "start the server in the background, unless it runs already"),
        ("status", status, "say whether it runs; with --json, with keys"),
        ("stop", stop, "end it; what it holds is kept"),
        ("reset", reset, "end it and delete all it holds"),
        ("serve", serve, "run it in the foreground"),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        verb.set_defaults(run=run)
        verb.add_argument("--dialect", type=named, choices=tuple(DIALECTS), help="default: 4.22")
        verb.add_argument("--dir", help="folder for its state; default .localcloud")
        verb.add_argument("--json", action="store_true", help="print one JSON object, with keys")
        if name in ("start", "serve"):
            verb.add_argument(
                "--seed", type=Path, help="YAML file of what a new cloud holds and allows"
            )
            verb.add_argument("--time-scale", type=float, help="0.005: 200 times faster than real")
            verb.add_argument("--expunge-delay", type=float, help="CloudStack's, in seconds")
            for switch, what in SWITCHES.items():
                verb.add_argument(_flag(switch), type=_switch, help=f"true: {what}")
            verb.add_argument("--project", help="there is a project of that name")
            verb.add_argument("--refuse", help="commands that the account's role lacks: A,B")
            verb.add_argument("--etcd", choices=ETCD, help="real: machines run etcd processes")
            verb.add_argument("--port", type=int, help="default: that of the last run, or any")
            verb.add_argument(
                "--idle", type=float, default=120, help="minutes until it ends itself"
            )
    return top


def _dialect(options: argparse.Namespace, base: Path) -> str:
    """Return the dialect that a seed is for, and for `status` that of the cloud that runs.

    Raises Trouble for a seed with faults.
    """
    if (seed := getattr(options, "seed", None)) is None:
        running = [d for d in DIALECTS if background.running(base / d)]
        return running[0] if running and options.run is status else "4.22"
    from .state.seeds import BadSeed, read  # which needs PyYAML

    try:
        return read(seed)["dialect"]
    except BadSeed as faults:
        raise background.Trouble(str(faults)) from None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _switch(text: str) -> int:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"wanted true or false, found {text}")
    return int(text.lower() == "true")


def _demand(options: argparse.Namespace) -> None:
    """Raise Trouble for what this computer or the dialect does not have."""
    background.demand_etcd(options.etcd)
    if options.project and not DIALECTS[options.dialect].has_projects:
        raise background.Trouble("CloudStack 2.2 has no projects: leave out project.")


def _settings(options: argparse.Namespace) -> dict:
    """Return the settings that were given; those not given are None."""
    real = None if options.etcd is None else int(options.etcd == "real")
    return {name: getattr(options, name) for name in SETTINGS} | {"real_etcd": real}


def start(options: argparse.Namespace, folder: Path) -> int:
    """Start the server, or give a running one the settings."""
    _demand(options)
    given = {n: getattr(options, n) for n in ("port", "idle", "etcd", *SETTINGS)}
    given |= {n: {1: "true", 0: "false"}.get(given[n]) for n in SWITCHES}
    given["seed"] = options.seed and options.seed.absolute()
    words = [f"{_flag(n)}={value}" for n, value in given.items() if value is not None]
    facts = background.start(folder, options.dialect, words)
    _demand_seed(facts, options)
    if options.port not in (None, facts["port"]):
        text = f"The local cloud runs already, on port {facts['port']}: --port {options.port} is "
        print(f"{text}ignored. `runbook local-cloud stop` first.", file=sys.stderr)
    for name, value in _settings(options).items():
        if value not in (None, facts[name]):
            text = f"The local cloud runs already: {name} changes from {facts[name]} to {value}."
            print(text, file=sys.stderr)
            facts = _changed(folder, facts, name, value)
    _print(facts, options.json)
    return 0


def _demand_seed(facts: dict, options: argparse.Namespace) -> None:
    """Raise Trouble if a server that ran already holds a cloud from another seed."""
    if options.seed is None:
        return
    from .state import seeds

    if facts["seed"] != seeds.digest(seeds.read(options.seed, options.dialect)):
        raise background.Trouble(seeds.other(facts["dir"], options.seed))


def _changed(folder: Path, facts: dict, name: str, value: object) -> dict:
    """Return the facts after a setting of the running server was changed by a signed call."""
    from urllib.parse import urlencode
    from urllib.request import urlopen

    from .state.cloud import OPTIONS
    from .wire.auth import signature

    setting, key = OPTIONS[name]
    params = {"command": "configureSimulator", "response": "json", "name": setting}
    params |= {"value": f"{key}:{value}", "apikey": facts["apikey"]}
    params |= {"signature": signature(params, facts["secretkey"])}
    with urlopen(facts["endpoint"], urlencode(params).encode(), timeout=10) as answer:
        answer.read()
    facts = facts | {name: value}
    facts["etcd"] = "real" if facts["real_etcd"] else "stand-in"
    background.publish(folder, facts)
    return facts


def _print(facts: dict, as_json: bool) -> None:
    if as_json:
        print(json.dumps({k: v for k, v in facts.items() if k != "port"}))
        return
    for key in PUBLIC:
        print(f"{key:13} {facts[key]}")
    print("keys          status --json prints them")


def status(options: argparse.Namespace, folder: Path) -> int:
    """Return whether the server runs; exit code 1 if not."""
    facts = background.running(folder)
    if facts:
        _print(facts, options.json)
        return 0
    print(json.dumps({"dialect": options.dialect, "running": False}) if options.json
          else f"The local cloud ({options.dialect}) does not run.")  # fmt: skip
    return 1


def stop(options: argparse.Namespace, folder: Path) -> int:
    """End the server."""
    ended = background.stop(folder)
    print("stopped" if ended else f"The local cloud ({options.dialect}) did not run.")
    return 0


def reset(options: argparse.Namespace, folder: Path) -> int:
    """End the server and delete its state."""
    background.reset(folder)
    print(f"deleted what the local cloud ({options.dialect}) held in {folder}")
    return 0


def serve(options: argparse.Namespace, folder: Path) -> int:
    """Run the server in the foreground."""
    _demand(options)
    given = _settings(options) | {"seed": options.seed}
    background.serve(folder, options.dialect, options.port, options.idle, given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
