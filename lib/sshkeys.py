"""The public SSH keys that the machines are to accept."""

from pathlib import Path

from lib.cloudlint import key_fault
from lib.errors import ParamsError
from lib.profiles import ROOT


def ssh_keys(path: str) -> list[str]:
    """Return the public keys of a file, one a line; a relative path starts at the project's root.

    Raises ParamsError naming the line that is no public key; nothing of the file is repeated.
    """
    file = ROOT / Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8").removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as fault:
        raise _bad_key_file(path, f"one that cannot be read ({type(fault).__name__})") from None
    if "PRIVATE KEY" in text or text.startswith("PuTTY-User-Key-File"):
        raise _bad_key_file(path, "a private key: give the .pub file beside it")
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1)]
    keys = [(n, line) for n, line in lines if line and not line.startswith("#")]
    for number, key in keys:
        if key_fault(key):
            raise _bad_key_file(path, f"in line {number} something else: {key_fault(key)}")
    if not keys:
        raise _bad_key_file(path, "none in it")
    return [key for _, key in keys]


def _bad_key_file(path: str, found: str) -> ParamsError:
    return ParamsError(f"ssh_key_file {path}", "public ssh keys, one a line", found)
