"""Parameters: the table of all declarations in cells tagged `parameters`."""

import ast
import difflib
import io
import json
import math
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lib.record.faults import BadInput
from lib.record.secrets import secret_name, secret_value

TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list[str]": list}
TYPES |= {"dict[str]": dict, "list[dict]": list}
SHORTHANDS = {"list": "list[str]", "dict": "dict[str]"}
# The values that a text may have, where they are few; a test holds them to the rooms that use them.
CHOICES = {
    "mode": ("plan", "apply"),
    "installer": ("coreos-install", "flatcar-install"),
    "channel": ("stable", "beta", "alpha", "lts"),
    "config_format": ("cloud-config", "ignition"),
    "config_delivery": ("disk", "userdata"),
    "template_from": ("disk", "url", "existing"),
    "public": ("", "ssh"),
}
# The form that a text must have, and how to say it; a test holds them to the rooms as well.
_URL = "http(s)://host, then a path if need be"
FORMS = {
    "cluster_name": ("[A-Za-z][A-Za-z0-9-]*", "a letter, then letters, digits and -"),
    "discovery": (
        r"static|local|public|https?://[^/?#\s]+[^?#\s]*",
        "static, local, public, or the URL of a discovery service",
    ),
    "image_url": (r"(https?://[^/?#\s]+\S*)?", f"{_URL}; or nothing"),
    "template_url": (r"(https?://[^/?#\s]+\S*)?", f"{_URL}; or nothing"),
    "image_sha256": ("([0-9a-f]{64})?", "64 hex digits, or nothing"),
    "template_sha256": ("([0-9a-fA-F]{64})?", "64 hex digits, or nothing"),
}
# The keys of lists of mappings, and what each of them is.
ROWS: dict[str, dict[str, type]] = {
    "roles": dict.fromkeys(("name", "service_offering", "config_file", "metadata"), str)
    | {"count": int}
}
# The most that a value may be: of whole numbers by name, of all else by type.
MOST = {"cluster_size": 10**4, "first_number": 10**6, "volume_size": 10**6, "patience": 10**5}
MOST |= {"etcd_members": 9, "at_once": 50}
LARGEST = {int: 10**9, float: 1e30}  # any other number
LONGEST = 10_000  # characters of a text, and texts of a list
SHORT = {"cluster_name": 61}  # of a machine's host name, which has 63 (RFC 1123), with its number


@dataclass(frozen=True)
class Parameter:
    """A parameter of one or more notebooks; its type and meaning are the same in all.

    `edited` are the files of notebooks whose default is another one than in most of them.
    """

    name: str
    type: str
    default: object
    meaning: str
    notebooks: tuple[str, ...]
    edited: tuple[str, ...] = ()


def gather(folder: Path) -> dict[str, Parameter]:
    """Return the parameters of all notebooks in the folder by name, in the order of the notebooks.

    Raises `BadInput` with every line that cannot be read and every disagreement. Defaults may
    disagree: `values.load` refuses that where no file and no option gives a value.
    """
    table: dict[str, Parameter] = {}
    defaults: dict[str, dict[Path, object]] = {}
    paths = sorted(folder.glob("*.ipynb"))
    faults = [] if paths else [f"{folder}: there is no notebook in it"]
    for path in paths:
        for found in _declared(path, faults):
            known = table.get(found.name)
            faults += _disagreements(known, found) if known else []
            before = known.notebooks if known else ()
            table[found.name] = replace(known or found, notebooks=(*before, path.stem))
            defaults.setdefault(found.name, {})[path] = found.default
    if faults:
        raise BadInput(faults)
    return {name: _by_most(known, defaults[name]) for name, known in table.items()}


def _by_most(known: Parameter, defaults: dict[Path, object]) -> Parameter:
    """Return a parameter with the default that most notebooks have, the first one of a draw."""
    given = [repr(default) for default in defaults.values()]
    usual = max(dict.fromkeys(given), key=given.count)
    edited = tuple(str(p) for p, default in defaults.items() if repr(default) != usual)
    default = next(d for d in defaults.values() if repr(d) == usual)
    return replace(known, default=default, edited=edited)


def misfit(name: str, kind: str, value: object, default: object = None) -> str:
    """Return why a value does not fit the parameter, "" when it does.

    A count may be 0 only where its default is 0, which stands for "not set".

    >>> misfit("volume_size", "int", 0)
    'expected a whole number of at least 1 (a count or a size), found 0'
    """
    if not _is(kind, value):
        return f"expected {kind}, found {value if isinstance(value, float) else repr(value)[:60]}"
    if kind == "list[dict]" and (wrong := _wrong_row(name, value)):
        return wrong
    if kind == "int" and value < 1 and (value, value) != (default, 0):
        return f"expected a whole number of at least 1 (a count or a size), found {value}"
    if wrong := _excess(name, value):
        return wrong
    if kind == "str" and not re.fullmatch(FORMS.get(name, (".*", ""))[0], value, re.S):
        return f"expected {allowed(name, kind, default)}, found {value[:60]!r}"
    if value not in CHOICES.get(name, (value,)):
        return f"expected {allowed(name, kind, default)}, found {value!r}"
    return ""


def _wrong_row(name: str, rows: list[dict]) -> str:
    """Return what is wrong with one of a list of mappings, "" if nothing is.

    >>> _wrong_row("roles", [{"nmae": "worker"}])
    'there is no nmae in its row 1: did you mean name?'
    """
    known = ROWS.get(name, {})
    for number, row in enumerate(rows, 1):
        for key, value in row.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, 1) or [", ".join(known)]
                return f"there is no {key} in its row {number}: did you mean {near[0]}?"
            if type(value) is not known[key]:
                wanted = "a whole number" if known[key] is int else "a text"
                return f"expected {wanted} as {key} in its row {number}, found {str(value)[:60]!r}"
    return ""


def allowed(name: str, kind: str, default: object = None) -> str:
    """Return in words which values a parameter may have.

    >>> allowed("mode", "str"), allowed("memory", "int", 0)
    ('plan or apply', '1 to 1,000,000,000, or 0: not set')
    """
    if name in CHOICES:
        return " or ".join(choice or '""' for choice in CHOICES[name])
    if kind == "int":
        span = f"1 to {MOST.get(name, LARGEST[int]):,}"
        return f"{span}, or 0: not set" if default == 0 else span
    words = {"str": "a text", "float": "a number", "bool": "true or false"}
    words |= {"list[str]": "a list of texts in [ ]", "dict[str]": "texts by name in { }"}
    words["list[dict]"] = f"a list of {{ }} with {', '.join(ROWS.get(name, ()))}"
    text = FORMS[name][1] if name in FORMS else words[kind]
    return f"{text}, at most {SHORT[name]} characters" if name in SHORT else text


def _excess(name: str, value: object) -> str:
    """Say how a value is larger than any use of it, or cannot be written down, "" if it is not."""
    most = MOST.get(name, LARGEST.get(type(value), 1))
    if isinstance(value, int | float) and value > most:
        return f"expected {most:,} at most, found {str(value)[:40]}"
    longest = SHORT.get(name, LONGEST)
    texts = [*value, *value.values()] if isinstance(value, dict) else value
    if isinstance(value, list):
        texts = [t for row in value for t in (row.values() if isinstance(row, dict) else [row])]
    for text in texts if isinstance(value, list | dict) else [value]:
        if isinstance(text, str) and len(text) > longest:
            return f"expected {longest:,} characters at most, found {len(text):,}"
        if isinstance(text, str) and not text.isascii() and not _is_text(text):
            return "expected UTF-8 text, found bytes that are none"
    if isinstance(value, list | dict) and len(value) > longest:
        return f"expected {longest:,} texts at most, found {len(value):,}"
    return ""


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is(kind: str, value: object) -> bool:
    if kind == "list[str]":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind == "dict[str]":
        texts = [*value, *value.values()] if isinstance(value, dict) else [0]
        return all(isinstance(item, str) for item in texts)
    if kind == "list[dict]":
        return isinstance(value, list) and all(isinstance(row, dict) for row in value)
    if kind == "float":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value)
    # To Python a bool is an int, but not to a reader.
    return type(value) is TYPES[kind]


def _disagreements(known: Parameter, found: Parameter) -> list[str]:
    return [
        f"{found.name}: {what} is {getattr(known, what)!r} in {known.notebooks[0]} "
        f"but {getattr(found, what)!r} in {found.notebooks[0]}: make them the same"
        for what in ("type", "meaning")
        if getattr(known, what) != getattr(found, what)
    ]


def _declared(path: Path, faults: list[str]) -> Iterator[Parameter]:
    """Yield the parameters of a notebook, and add unreadable ones to the faults."""
    try:
        cells = _tagged(json.loads(path.read_text("utf-8")))
        tree = ast.parse(cells[0] if cells else "")
    except (ValueError, KeyError, TypeError, SyntaxError) as error:
        faults.append(f"{path.name}: its parameters cannot be read: {error}")
        return
    if len(cells) > 1:
        faults.append(f"{path.name}: {len(cells)} cells are tagged `parameters`: keep one")
    comments = _comments(cells[0]) if cells else {}
    for node in tree.body:
        try:
            yield _parameter(node, comments, path.stem)
        except ValueError as error:
            faults.append(f"{path.name}: parameters cell, line {node.lineno}: {error}")


def _tagged(notebook: dict) -> list[str]:
    tagged = [c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", [])]
    return ["".join(cell["source"]) for cell in tagged]


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def _parameter(node: ast.stmt, comments: dict[int, str], notebook: str) -> Parameter:
    """Read one line of a parameters cell; raise ValueError when it is not a typed literal."""
    if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value):
        raise ValueError("expected `name: type = literal  # meaning and unit`")
    name = node.target.id
    kind = ast.unparse(node.annotation)
    kind = SHORTHANDS.get(kind, kind)
    if kind not in TYPES:
        raise ValueError(f"{name}: type {kind} is not one of {', '.join(TYPES)}")
    try:
        default = ast.literal_eval(node.value)
    except ValueError:
        raise ValueError(f"{name}: the default is not a literal") from None
    if secret_name(name) or secret_value(default):
        raise ValueError(f"{name}: looks like a secret, which may not be a parameter")
    if wrong := misfit(name, kind, default, default):
        raise ValueError(f"{name}: {wrong}")
    meaning = comments.get(node.end_lineno) or comments.get(node.lineno, "")
    return Parameter(name, kind, default, meaning, (notebook,))
