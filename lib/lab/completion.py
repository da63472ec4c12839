"""Completion: the commands of a cloud, their parameters and columns, when Tab is pressed.

They are what the cloud's listApis says, asked at the first Tab.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from lib.api.client import Client
from lib.errors import RunbookError

_METHODS = "call|ask|list|list_if_allowed|named|one|help"
_COMMAND = re.compile(rf"""\b(\w+)\s*\.\s*({_METHODS})\(\s*["'](\w*)\Z""")
_LISTED = re.compile(r"""\blisted(\()\s*(\w+)\s*,\s*["'](\w*)\Z""")
_COLUMN = re.compile(r"""\blisted\(\s*(\w+)\s*,\s*["'](\w+)["']\s*,\s*["'](?:\w+\s+)*(\w*)\Z""")
_INSIDE = r"""\(\s*["'](\w+)["']\s*,(?:[^()]*,)?\s*(\w*)\Z"""
_PARAMETER = re.compile(rf"\b(\w+)\s*\.\s*(?:{_METHODS}){_INSIDE}")


def matcher(names: Mapping[str, Any]) -> Callable[[CompletionContext], dict]:
    """Return a matcher for IPython's completer; `names` are the variables of the notebook.

    Where it knows better, jedi's own completions are left out.
    """

    @context_matcher()
    def cloud_matcher(context: CompletionContext) -> dict:
        before = context.full_text.split("\n")[: context.cursor_line]
        found, begun = completions("\n".join([*before, context.text_until_cursor]), names)
        shown = [SimpleCompletion(text, type="function") for text in found]
        return {"completions": shown, "matched_fragment": begun, "suppress": bool(shown)}

    return cloud_matcher


def completions(text: str, names: Mapping[str, Any]) -> tuple[list[str], str]:
    """Return what may stand at the end of a text of code, and what of it has been typed."""
    if m := _COMMAND.search(text):
        only = "list" if m[2].startswith("list") else ""
        return _begun([c for c in _known(names, m[1]) if c.startswith(only)], m[3])
    if m := _LISTED.search(text):
        return _begun([c for c in _known(names, m[2]) if c.startswith("list")], m[3])
    if m := _COLUMN.search(text):
        return _begun(_fields(names, m[1], m[2], "response"), m[3])
    if m := _PARAMETER.search(text):
        return _begun([f"{name}=" for name in _fields(names, m[1], m[2], "params")], m[3])
    return [], ""


def _begun(words: list[str], begun: str) -> tuple[list[str], str]:
    return sorted(w for w in set(words) if w.startswith(begun)), begun


def _known(names: Mapping[str, Any], variable: str) -> dict[str, dict]:
    """Return the commands of the cloud in a variable, {} if there is none in it."""
    cloud = names.get(variable)
    try:
        return cloud.commands if isinstance(cloud, Client) else {}
    except RunbookError:  # the next call tells what is wrong with the cloud
        return {}


def _fields(names: Mapping[str, Any], variable: str, command: str, kind: str) -> list[str]:
    rows = _known(names, variable).get(command, {}).get(kind, [])
    return [row["name"] for row in rows if row.get("name")]
