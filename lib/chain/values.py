"""Values: merges parameter files and the command line, checked against the declared parameters."""

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from lib.chain import nodes
from lib.chain.params import Parameter, misfit
from lib.record import whole
from lib.record.faults import BadInput
from lib.record.secrets import checksum, secret_name, secret_value

SECRET = (
    "the record of the run would contain it: remove it here and keep it in the profile, the "
    "environment or a key file (its value is not shown)"
)


@dataclass(frozen=True)
class Value:
    """A parameter's value and its origin: "default", a file, or "command line"."""

    value: object
    origin: str


def load(
    table: Mapping[str, Parameter],
    files: Iterable[Path | str] = (),
    options: Iterable[str] = (),
    secrets: Iterable[str] = (),
) -> dict[str, Value]:
    """Return a value for every parameter: later files win, and `key=value` options over files.

    Raises `BadInput` with all faults of all files and options. A value with one of the `secrets` in
    it is a fault too.
    """
    faults: list[str] = []
    merged = {name: Value(known.default, "default") for name, known in table.items()}
    for file in files:
        merged |= _from_file(file, table, faults)
    merged |= _from_options(options, table, faults)
    faults += [
        f"{path}: its default of {name} is not that of the other notebooks, and no parameter file "
        f"gives a value. Restore the notebook: git restore {shlex.quote(path)}"
        for name, held in merged.items()
        for path in table[name].edited
        if held.origin == "default"
    ]
    for name, held in merged.items():
        if any(secret in str(held.value) for secret in secrets):
            faults.append(f"{held.origin}: {name}: contains a secret: {SECRET}")
    if faults:
        raise BadInput(_masked(fault, secrets) for fault in faults)
    return merged


def fault(table: Mapping[str, Parameter], name: str, value: object) -> str:
    """Return why a value that a notebook was given cannot be its parameter's, "" when it can.

    The sentence is that of a parameter file with this value.
    """
    try:
        node = yaml.compose(yaml.safe_dump(value), Loader=yaml.SafeLoader)
        _checked(name, table, nodes.raw(node), lambda kind: nodes.typed(node, kind))
    except yaml.YAMLError:
        return f"{_shown(name)}: expected a text, a number, true, false or a list of texts"
    except ValueError as error:
        return f"{_shown(name)}: {error}"
    return ""


def _masked(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def as_yaml(values: Mapping[str, Value]) -> str:
    """Return the values as a parameter file with a comment on the origin of each.

    Its first line has their number, so that a file which was cut off is noticed.
    """
    lines = [_yaml_line(name, held) for name, held in values.items()]
    return "".join([f"# {len(lines)} parameters, each with its origin\n", *lines])


def again(table: Mapping[str, Parameter], file: Path) -> dict[str, Value]:
    """Return the values that `as_yaml` wrote; raise `BadInput` where the file lacks some."""
    if file.is_fifo():  # which is read as a file of parameters, but once
        raise BadInput([f"{file}: is no file"])
    held = load(table, [file])
    count = re.match(r"# (\d+) parameters", whole.text(file))
    there, all_ = sum(v.origin == str(file) for v in held.values()), int(count[1]) if count else 1
    if table and there < all_:
        raise BadInput(
            [f"{file}: has {there} of the run's {all_} parameters: it was cut or emptied"]
        )
    return held


def _yaml_line(name: str, held: Value) -> str:
    text = yaml.safe_dump(
        {name: held.value}, default_flow_style=False, width=float("inf"), allow_unicode=True
    )
    return f"{text.rstrip()}  # {held.origin}\n"


def _from_options(
    options: Iterable[str], table: Mapping[str, Parameter], faults: list[str]
) -> dict[str, Value]:
    found = {}
    for option in options:
        name, equals, text = option.partition("=")
        try:
            if not equals:
                raise ValueError("expected name=value")
            value = _checked(name, table, text, partial(nodes.from_text, text))
            found[name] = Value(value, "command line")
        except ValueError as error:
            faults.append(f"command line: -p {_shown(name)}: {error}")
    return found


def _from_file(
    file: Path | str, table: Mapping[str, Parameter], faults: list[str]
) -> dict[str, Value]:
    found: dict[str, Value] = {}
    lines: dict[str, int] = {}
    for key, node in nodes.pairs(file, faults):
        name, line = str(key.value), key.start_mark.line + 1
        try:
            if name in lines:
                raise ValueError(f"is already set in line {lines[name]}: keep one of them")
            lines[name] = line
            value = _checked(name, table, nodes.raw(node), partial(nodes.typed, node))
            found[name] = Value(value, str(file))
        except ValueError as error:
            faults.append(f"{file}:{line}: {_shown(name)}: {error}")
    return found


def _checked(name: str, table: Mapping[str, Parameter], raw: object, read) -> object:
    """Return the value that `read` converts to the declared type, or raise ValueError."""
    hidden = secret_value(raw) and not checksum(name, raw)
    if secret_name(name) or secret_value(name) or hidden:
        raise ValueError(f"looks like a secret: {SECRET}")
    if name not in table:
        raise ValueError(unknown(name, table))
    value = read(table[name].type)
    if wrong := misfit(name, table[name].type, value, table[name].default):
        raise ValueError(wrong)
    return value


def unknown(name: str, table: Mapping[str, Parameter]) -> str:
    """Return the text on a name that no parameter has, with the nearest one that there is."""
    near = difflib.get_close_matches(name, table, 1)
    hint = f"did you mean {near[0]}?" if near else "`runbook params` lists them all"
    return f"there is no such parameter: {hint}"


def _shown(name: str) -> str:
    if secret_value(name):
        return "(a name that looks like a secret)"
    return name if name.isprintable() and len(name) <= 60 else f"{name[:60]!r}"
