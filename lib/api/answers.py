"""Answers: read from the wire within bounds, and accepted only where CloudStack may have sent them.

What other programs send (a proxy, a wrong endpoint, a broken or hostile server) is refused here, so
no caller meets a row that is no object or a number that is a text.
"""

import ipaddress
import json
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread

import requests

from lib.errors import CloudError

DEEPEST = 32  # levels of nesting; CloudStack's own answers have eight at most
LONGEST_TEXT = 4000  # characters of a refusal's text that are kept
PIECE = 65536  # bytes
MB = 10**6
WHOLE = ("count", "size", "jobstatus")
ROWS = ("nic", "tags", "params")
# What moves a terminal's cursor or turns a text around; in JSON it may be escaped.
UNPRINTABLE = re.compile(
    r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
)
ESCAPED = re.compile(r"\\(?:[bfr]|u00[0179][0-9a-f]|u00[89]|u20[26])", re.I)
ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")  # a UUID; a number in 2.2
ONE_VALUE = re.compile(r"(?!publicipaddress$).*(id|name|state|ipaddress|macaddress)")


class Row(dict):
    """An object in an answer to `command`. Raises CloudError for a field that it lacks."""

    __slots__ = ("command",)

    def __init__(self, command: str, fields: dict):
        super().__init__(fields)
        self.command = command

    def __missing__(self, name: str) -> None:
        raise CloudError(
            self.command,
            f"{self.command}: an answer has no `{name}`, which CloudStack's always have. It comes "
            "from another program, or was changed on its way: look at the profile's endpoint, then "
            "run this stage again. It looks first at what was done.",
        )


class OverBound(Exception):
    """An answer takes longer, or is larger, than the profile allows; the text names the setting."""


def read(
    send: Callable[[], requests.Response], seconds: float, most: float
) -> tuple[requests.Response, bytes]:
    """Return an answer with its body, of `most` MB, complete after so many seconds.

    The timeout of `requests` is for each read, so a server that sends a byte now and then would
    hold a request open for ever; the request runs in a thread and is abandoned when time is over.
    Raises OverBound, and what `send` raises.
    """
    ended: SimpleQueue = SimpleQueue()
    until = time.monotonic() + seconds

    def work() -> None:
        try:
            ended.put(_whole(send(), until, most))
        except BaseException as error:
            ended.put(error)

    Thread(target=work, daemon=True).start()
    try:
        found = ended.get(timeout=seconds)
    except Empty:
        found = OverBound(f"the answer was not complete after {seconds:g} s (`deadline`)")
    if isinstance(found, BaseException):
        raise found
    return found


def _whole(answer: requests.Response, until: float, most: float) -> tuple[requests.Response, bytes]:
    body = bytearray()
    with answer:
        for piece in answer.iter_content(PIECE):
            body += piece
            if len(body) > most * MB:
                raise OverBound(f"the answer is larger than {most:g} MB (`max_answer`)")
            if time.monotonic() > until:
                break  # nobody waits for it any more
    return answer, bytes(body)


def parsed(text: str, command: str = "") -> dict | None:
    r"""Return the JSON object in the answer to a command, None if there is none.

    Control characters become their escapes, as `\x1b`: what a cloud names does not reach a terminal
    as it is, and does not become another name. An error whose text breaks the JSON (2.2 does not
    escape quotes) is read by its two fields.
    """
    try:
        body = json.loads(text, strict=False, object_hook=partial(Row, command))
        if UNPRINTABLE.search(text) or ESCAPED.search(text):
            body = _printable(body)
        return body if isinstance(body, dict) else None
    except RecursionError:
        return None
    except ValueError:
        code = re.search(r'"errorcode"\s*:\s*(\d{1,6})\b', text)
        quoted = re.search(r'"errortext"\s*:\s*"(.*)"\s*}', text, re.S)
        words = _printable(quoted[1] if quoted else text)
        return {"error": {"errorcode": int(code[1]), "errortext": words}} if code else None


def _printable(value: object) -> object:
    if isinstance(value, str):
        return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], value)
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, Row):
        return Row(value.command, {_printable(n): _printable(v) for n, v in value.items()})
    return value


def oddity(body: dict | None) -> str:
    """Say what in a parsed answer CloudStack never sends, "" if all of it may be its own."""
    if not body:
        return "no JSON object with something in it"
    inside = next(iter(body.values()))
    if not isinstance(inside, dict):
        return f"its inside is {_kind(inside)}"
    lists = ((n, v) for n, v in inside.items() if isinstance(v, list) and n != "errorcode")
    wrong = next(filter(None, (_no_rows(n, v) for n, v in lists)), "")
    return wrong or next(_oddities(body, 1), "")


def _oddities(value: dict | list, depth: int) -> Iterator[str]:
    """Yield what is wrong with the fields in an object or a list, and below it."""
    if depth > DEEPEST:
        yield f"it is nested deeper than {DEEPEST} levels"
        return
    for name, item in value.items() if isinstance(value, dict) else [("", v) for v in value]:
        if wrong := name and _misfit(name, item):
            yield wrong
        # The parameters of a call are texts, whatever their names are elsewhere.
        texts = (
            name == "params" and isinstance(item, dict) and set(map(type, item.values())) <= {str}
        )
        if name == "jobresult" and isinstance(item, dict) and list(item) == ["ipaddress"]:
            item = item["ipaddress"]  # associateIpAddress calls its whole row so
        if isinstance(item, dict | list) and not texts:
            yield from _oddities(item, depth + 1)


def _misfit(name: str, value: object) -> str:
    """Say what is wrong with the value of a field, "" if nothing is."""
    if value is None:
        return ""
    if name in ROWS and not (name == "params" and isinstance(value, dict)):
        return _no_rows(name, value)
    nested = isinstance(value, dict | list) and name != "jobresult" and ONE_VALUE.fullmatch(name)
    wrong_kind = name == "jobresult" and not isinstance(value, dict | str)
    if nested or wrong_kind or (name in WHOLE and type(value) is not int):
        return f"`{name}` is {_kind(value)}"
    if name in FORMS and not _has_form(name, value):
        return f"`{name}` is not one: {str(value)[:60]!r}"
    return ""


def _is_id(text: str) -> bool:
    return bool(ID.fullmatch(text))


# What reaches the arguments of a program, such as ssh.
FORMS = {
    "id": _is_id,
    "jobid": _is_id,
    "ipaddress": ipaddress.ip_address,
    "cidr": ipaddress.ip_interface,
}


def _has_form(name: str, value: object) -> bool:
    """Tell whether a value is empty, or of the form that values of this name have."""
    try:
        return value == "" or FORMS[name](str(value)) is not False
    except ValueError:
        return False


def _no_rows(name: str, rows: object) -> str:
    """Say why something is no list of objects, "" if it is one."""
    if not isinstance(rows, list):
        return f"`{name}` is {_kind(rows)}"
    other: object = next((row for row in rows if not isinstance(row, dict)), {})
    return f"a row of `{name}` is {_kind(other)}" if other != {} else ""


def _kind(value: object) -> str:
    names = {bool: "a truth value", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), "nothing" if value is None else "a number")


def code(found: object, otherwise: int) -> int:
    """Return an error code that an answer holds; `otherwise` if it holds none."""
    return int(str(found)) if re.fullmatch(r"[0-9]{1,6}", str(found)) else otherwise
