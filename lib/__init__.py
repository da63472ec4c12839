"""The words that notebooks use, loaded when they are first asked for."""

from importlib import import_module
from typing import Any

WORDS = {
    "Ours": "lib.ours",
    "apply": "lib.plan",
    "check": "lib.checks",
    "check_ticks": "lib.checks",
    "connect": "lib.lab.kernel",
    "connect_shell": "lib.workstation.shell",
    "listed": "lib.tables",
    "show": "lib.plan",
    "table": "lib.tables",
    "ticks": "lib.checks",
}


def __getattr__(name: str) -> Any:
    """Return one of the WORDS; loading them late keeps `lib.localcloud` quick to start."""
    if name not in WORDS:
        raise AttributeError(f"module 'lib' has no attribute {name!r}")
    return getattr(import_module(WORDS[name]), name)
