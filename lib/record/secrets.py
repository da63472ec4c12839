"""Recognizes parameters that hold a secret, so that they are refused and never shown."""

import re

_NAME = re.compile(r"secret|api_?key|passw|passphrase|token|private_?key|credential", re.I)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")
_USER_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONG = re.compile(r"[A-Za-z0-9_+=-]{64,}|(?![/~.])[A-Za-z0-9+/]{62,}={0,2}")


def secret_name(name: str) -> bool:
    """Return whether a parameter of this name probably holds a secret.

    >>> secret_name("apiKey"), secret_name("ssh_key_file")
    (True, False)
    """
    return bool(_NAME.search(name))


def secret_value(value: object) -> bool:
    """Return whether a value, or any item of a list, looks like a key rather than a name.

    >>> secret_value("coreos_cluster_disk"), secret_value("x1" * 32)
    (False, True)
    """
    if isinstance(value, list):
        return any(secret_value(item) for item in value)
    return isinstance(value, str) and bool(
        _PRIVATE_KEY.search(value) or _USER_IN_URL.search(value) or _key_like(value)
    )


def checksum(name: str, value: object) -> bool:
    """Return whether a parameter is a checksum by its name and its value.

    >>> checksum("image_sha256", "0a" * 32), checksum("image", "0a" * 32)
    (True, False)
    """
    return name.endswith("_sha256") and bool(_SHA256.fullmatch(str(value)))


def _key_like(text: str) -> bool:
    """Return whether the text has a long run of letters and digits without a word break."""
    runs = (run.group() for run in _LONG.finditer(text))
    return any(
        len(run) >= 64 and re.search(r"\d", run) and re.search(r"[A-Za-z]", run) for run in runs
    )
