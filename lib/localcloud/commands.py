"""The commands: importing this and calling `load` puts them all into the registry."""

import importlib

MODULES = "zones volumes snapshots templates machines labels keys accounts simulator"


def load() -> None:
    """Import every module that registers commands."""
    for name in MODULES.split():
        importlib.import_module(f".{name}", __package__)
