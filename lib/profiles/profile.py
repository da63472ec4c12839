"""The profile of one cloud, as its values describe it."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from lib.errors import ProfileError
from lib.record import masks

BOUNDS = {
    "deadline": "seconds",
    "max_answer": "megabytes",
    "max_rows": "rows",
    "max_pause": "seconds",
}
NO_WORDS = ("false", "no", "off", "0")


@dataclass(frozen=True)
class Profile:
    """What it takes to talk to one cloud. Keys are never part of its text.

    `timeout` in seconds; `expires` is how many seconds a signature stays good, 0 leaves the expiry
    off; `verify` is False, True or the path of a CA bundle; `login` are user and password of a
    proxy before the cloud (HTTP basic authentication). `deadline` are the seconds after which an
    answer must be complete, `max_answer` the MB that it may have, `max_rows` the rows of a list,
    `max_pause` the seconds that a cloud which throttles may let us wait. The last four are the
    local cloud's.
    """

    name: str
    endpoint: str
    key: str = field(repr=False)
    secret: str = field(repr=False)
    algorithm: str = "HmacSHA1"
    timeout: float = 30
    expires: int = 600
    verify: bool | str = True
    login: tuple[str, str] | tuple[()] = field(default=(), repr=False)
    deadline: float = 120
    max_answer: float = 64
    max_rows: float = 100_000
    max_pause: float = 60
    discovery: str = ""
    shell: tuple[str, ...] = ()
    machine_shell: tuple[str, ...] = ()
    time_scale: float = 1.0

    def __post_init__(self) -> None:
        for secret in (self.key, self.secret, *self.login[1:]):
            masks.add(secret)


def from_values(name: str, values: dict, where: str) -> Profile:
    """Return the profile that these values describe; raise ProfileError for one that is wrong."""
    missing = [k for k in ("endpoint", "key", "secret") if not values.get(k)]
    if missing:
        raise ProfileError(f"profile {name} in {where} lacks {', '.join(missing)}")
    endpoint, login = _endpoint(values["endpoint"], f"profile {name} in {where}")
    timeout = _number(values, "timeout", 30, where)
    bounds: dict[str, Any] = {
        b: _number(values, b, getattr(Profile, b), where, BOUNDS[b]) for b in BOUNDS
    }
    if "deadline" not in values:
        bounds["deadline"] = max(Profile.deadline, 4 * timeout)
    return Profile(
        name=name,
        endpoint=endpoint,
        key=values["key"],
        secret=values["secret"],
        algorithm=values.get("algorithm", "HmacSHA1"),
        timeout=timeout,
        expires=max(0, int(_number(values, "expiration", 600, where, least=-1e9))),
        verify=_verify(values, where),
        login=login,
        **bounds,
    )


def _endpoint(url: str, whose: str) -> tuple[str, tuple[str, str] | tuple[()]]:
    """Return an endpoint without the user and password in its URL, and these.

    A query could hold a secret, too; CloudStack's endpoint has none.
    """
    try:
        parts = urlsplit(url)
        labels = (parts.hostname or "").rstrip(".").split(".")
        is_host = all(0 < len(label) < 64 for label in labels) and parts.port != 0
        if parts.scheme not in ("http", "https") or not is_host or re.search(r"[\s\x00-\x1f]", url):
            raise ValueError
    except ValueError:
        raise ProfileError(f"{whose}: endpoint must be an http(s) URL") from None
    if parts.query or parts.fragment:
        raise ProfileError(f"{whose}: endpoint must end with its path, without ? or #")
    user, _, host = parts.netloc.rpartition("@")
    login = (unquote(parts.username or ""), unquote(parts.password or "")) if user else ()
    return urlunsplit(parts._replace(netloc=host)), login


def _verify(values: dict, where: str) -> bool | str:
    unchecked = values.get("dangerous_no_tls_verify", "").lower() not in ("", *NO_WORDS)
    word = values.get("verify", "true")
    if unchecked or word.lower() in NO_WORDS:
        return False
    if word.lower() in ("true", "yes", "on", "1"):
        return True
    path = Path(word).expanduser()
    if not path.exists():
        raise ProfileError(
            f"verify in {where}: there is no file {path}. It must be true, false, or the path of "
            "the certificates (PEM) of the authority that signed the server's. Nothing was sent."
        )
    return str(path)


def _number(
    values: dict,
    key: str,
    default: float,
    where: str,
    unit: str = "seconds",
    least: float = 0.001,
) -> float:
    """Return a number of a profile. Raises ProfileError where it is none, or not in its bounds."""
    text = values.get(key, default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= 1e9:
        more = f"{max(least, 0):g} to 1e9"
        raise ProfileError(f"{key} in {where}: wanted a number of {unit} ({more}), found {text!r}")
    return number
