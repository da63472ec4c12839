"""Scripts for the workstation: the files of the folder `sh`, with words filled in."""

import re
from functools import cache
from pathlib import Path


def script(name: str, **words: object) -> str:
    """Return a script without its comments, each `@word@` in it replaced once."""
    return re.sub(r"@(\w+)@", lambda found: str(words[found[1]]), _text(name))


@cache
def _text(name: str) -> str:
    text = (Path(__file__).with_name("sh") / f"{name}.sh").read_text("utf-8")
    return re.sub(r"(?m)^#.*\n", "", text)
