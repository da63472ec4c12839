"""The listing of all parameters, for people, for programs and for a README."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from lib.chain.params import Parameter, allowed

COLUMNS = ("name", "type", "default", "meaning", "notebooks")


def show_one(parameter: Parameter) -> None:
    """Print all that is known of a parameter, a line each."""
    name, kind, default, meaning, books = _row(parameter)
    values = allowed(name, parameter.type, parameter.default)
    lines = {"type": kind, "default": default, "allowed": values, "meaning": meaning}
    print(name)
    for head, text in (lines | {"notebooks": books}).items():
        print(f"  {head:9}  {text}")


def show(table: Mapping[str, Parameter], form: str) -> None:
    """Print the table as "table", "json" or "markdown"."""
    if form == "json":
        print(json.dumps([asdict(p) for p in table.values()], indent=2, ensure_ascii=False))
    elif form == "markdown":
        print(markdown(table))
    else:
        _print_table(table)


def markdown(table: Mapping[str, Parameter]) -> str:
    """Return the table in Markdown, one parameter a line."""
    rows = [[cell.replace("|", "\\|") for cell in _row(p)] for p in table.values()]
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _print_table(table: Mapping[str, Parameter]) -> None:
    from rich.text import Text

    from lib.report.console import console, grid

    console().print(grid(COLUMNS, (map(Text, _row(parameter)) for parameter in table.values())))


def _row(parameter: Parameter) -> list[str]:
    default = json.dumps(parameter.default, ensure_ascii=False)
    # A stage's number is enough to find it; other notebooks are named.
    books = [n[:2] if n[:2].isdigit() else n for n in parameter.notebooks]
    return [parameter.name, parameter.type, default, parameter.meaning, " ".join(books)]
