"""The public SSH keys that the machines accept."""

import base64
import re
from pathlib import Path

from lib.errors import ParamsError
from lib.record import whole
from lib.record.journal import ROOT

BLANKS = re.compile("[\u3000\u00a0\u200b\ufeff]")  # no blanks to YAML or ssh
KEY_TYPE = re.compile(
    r"ssh-(rsa|dss|ed25519)|ecdsa-sha2-nistp\d+|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com"
)


def ssh_keys(path: str) -> tuple[str, ...]:
    """Return the public keys of a file, one a line; a relative path starts at the project's root.

    Raises ParamsError naming the line that is no public key; nothing of the file is repeated.
    """
    file = ROOT / Path(path).expanduser()
    try:
        text = whole.text(file)
    except (OSError, UnicodeDecodeError) as fault:
        raise _bad_key_file(path, f"it cannot be read ({type(fault).__name__})") from None
    except ValueError as fault:
        raise _bad_key_file(path, f"it {fault}") from None
    if "PRIVATE KEY" in text or text.startswith("PuTTY-User-Key-File"):
        raise _bad_key_file(path, "it holds a private key: give the .pub file beside it")
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1)]
    keys = [(n, line) for n, line in lines if line and not line.startswith("#")]
    for number, key in keys:
        if key_fault(key):
            raise _bad_key_file(path, f"line {number} is no public key: {key_fault(key)}")
    if not keys:
        raise _bad_key_file(path, "it holds no key: give a file with public keys, one a line")
    return tuple(key for _, key in keys)


def _bad_key_file(path: str, text: str) -> ParamsError:
    return ParamsError(f"ssh_key_file {path}", text=text)


def key_fault(key: str) -> str:
    """Return what is wrong with a line of a public ssh key, "" if nothing is; it is not repeated.

    >>> key_fault("ssh-rsa AAAAB3xxx")
    'its base64 part is damaged'
    """
    if BLANKS.search(key):
        return "it holds a blank that is not ASCII (a full-width space?)"
    kind, _, rest = key.strip().partition(" ")
    if not KEY_TYPE.fullmatch(kind):
        return "it does not begin with a type such as ssh-ed25519 or ssh-rsa"
    try:
        blob = base64.b64decode(rest.split(" ")[0], validate=True)
    except ValueError:  # binascii.Error among them
        return "its base64 part is damaged"
    parts = _parts(blob)
    return "" if len(parts) > 1 and parts[0] == kind.encode() else "it is cut off or damaged"


def _parts(blob: bytes) -> list[bytes]:
    """Split a key into its length-prefixed parts (RFC 4253), [] if they do not fill it exactly."""
    parts, at = [], 0
    while at < len(blob):
        end = at + 4 + int.from_bytes(blob[at : at + 4])
        parts.append(blob[at + 4 : end])
        at = end
    return parts if at == len(blob) else []
