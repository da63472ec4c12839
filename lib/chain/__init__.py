"""The chain runs notebooks in order through papermill, checks their input and seals the record."""

import sys

# papermill imports jsonschema, whose optional check of IRIs takes over a second to build a grammar.
# We do not need that check, and jsonschema skips it when the module is missing.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

__all__ = [
    "abandoned",
    "approving",
    "history",
    "listing",
    "params",
    "results",
    "resume",
    "run",
    "stages",
    "summary",
    "terminal",
    "values",
    "verify",
    "watch",
]
