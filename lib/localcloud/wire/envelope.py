"""The envelope: answers and errors as text, in JSON as each dialect writes it, or in XML."""

import json
import re
from html import escape
from typing import Any

from ..state.cloud import Cloud, Listing
from ..state.refusals import ApiError
from ..state.rows import Row
from ..state.views import show

dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
UNICODE = re.compile(r"\\u([0-9a-fA-F]{4})")


def in_json(text: str) -> str:
    """Return JSON as CloudStack's library writes it.

    It converts every backslash-u sequence of the text back to a character, even within an escaped
    backslash: such a text is not JSON any more, on a real server too.
    """
    return UNICODE.sub(lambda m: chr(int(m[1], 16)), text) if "\\u" in text else text


def answer(cloud: Cloud, command: str, body: str) -> str:
    """Return an answer: a body under its only key."""
    return cloud.dialect.answer(f"{command.lower()}response", body)


def listing(cloud: Cloud, command: str, found: Listing, page: slice, total: int) -> str:
    """Return a page of a list."""
    texts = [row_text(cloud, found, row) for row in found.rows[page]]
    return answer(cloud, command, cloud.dialect.listing(found.kind, texts, total))


def row_text(cloud: Cloud, found: Listing, row: Row) -> str:
    """Return a row as JSON, cached until the cloud changes."""
    if cloud.texts_of != cloud.state.version:
        cloud.texts, cloud.texts_of = {}, cloud.state.version
    if found.extra or "id" not in row:
        more = found.extra(row) if found.extra else {}
        return dumps(show(cloud, found.kind, row, **more))
    key = (found.kind, row["id"])
    if key not in cloud.texts:
        cloud.texts[key] = dumps(show(cloud, found.kind, row))
    return cloud.texts[key]


def sync_object(cloud: Cloud, command: str, kind: str, view: dict) -> str:
    """Return an answer of one object under its kind."""
    return answer(cloud, command, cloud.dialect.object(kind, dumps(view)))


def flat(cloud: Cloud, command: str, view: dict) -> str:
    """Return an answer with its fields in the envelope itself."""
    return answer(cloud, command, dumps(view))


def success(cloud: Cloud, command: str) -> str:
    """Return an answer with `success` only."""
    return cloud.dialect.success(f"{command.lower()}response")


def key_of(command: str, error: ApiError) -> str:
    """Return the key of an error."""
    return error.key or ("errorresponse" if error.code == 432 else f"{command.lower()}response")


def refusal(cloud: Cloud, command: str, error: ApiError, *, escaped: bool) -> str:
    """Return an error; in JSON, 2.2 does not escape its text, so that a quote breaks it."""
    body = cloud.dialect.error(key_of(command, error), error, escaped)
    return body if isinstance(body, str) else dumps(body)


def xml(cloud: Cloud, text: str) -> str:
    """Return an answer in XML, the format without `response=json`."""
    [(key, body)] = json.loads(text, strict=False).items()
    head = f'<?xml version="1.0" encoding="UTF-8"?><{key} cloud-stack-version='
    return f'{head}"{cloud.dialect.version}">{"".join(_elements(body))}</{key}>'


def _elements(body: dict) -> list[str]:
    return [
        f"<{name}>{_content(one)}</{name}>"
        for name, value in body.items()
        for one in (value if isinstance(value, list) else [value])
    ]


def _content(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(_elements(value))
    return escape(value if isinstance(value, str) else dumps(value))
