"""The chain: notebooks run in order through papermill, checked before and recorded after."""

import sys

# papermill imports jsonschema, whose optional check of IRIs builds a grammar for over a second.
# Nothing here needs that check, and jsonschema does without it when the module is missing.
sys.modules.setdefault("rfc3987_syntax", None)

__all__ = [
    "abandoned",
    "listing",
    "params",
    "resume",
    "run",
    "stages",
    "terminal",
    "values",
    "verify",
]
