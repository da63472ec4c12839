"""Profiles: which cloud, and with whose keys.

`local` is the embedded cloud (`local?dialect=2.2&time_scale=0.005` sets its options), `env` reads
CLOUDSTACK_ENDPOINT, CLOUDSTACK_KEY and CLOUDSTACK_SECRET, any other name is a section of cs's
files (~/.cloudstack.ini, ./cloudstack.ini, $CLOUDSTACK_CONFIG; the last one wins, as with `cs`) or
of cloudmonkey's ~/.cmk/config (of version 5 or 6). No profile ever borrows from another. A user
and password in the endpoint's URL are taken out of it: they go to the server, and nowhere else.
What a cloud may do to us is bounded by four settings, which a section or the environment (as
CLOUDSTACK_DEADLINE) can set: deadline, max_answer, max_rows and max_pause.
"""

import json
import math
import os
import subprocess
import sys
import warnings
from configparser import ConfigParser, InterpolationError, SectionProxy
from configparser import Error as IniError
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit
from urllib.request import getproxies

from lib.errors import ProfileError
from lib.record import masks
from lib.record.journal import ROOT

CMK = {"url": "endpoint", "apikey": "key", "secretkey": "secret", "verifycert": "verify"}
CMK |= {"timeout": "timeout", "algorithm": "algorithm"}
BOUNDS = {
    "deadline": "seconds",
    "max_answer": "megabytes",
    "max_rows": "rows",
    "max_pause": "seconds",
}
CMK |= {name: name for name in BOUNDS}
LOCAL_OPTIONS = (
    *("dialect", "time_scale", "etcd", "expunge_delay", "may_expunge", "refuse"),
    *("project", "custom_offering", "second_nic"),
)
NO_WORDS = ("false", "no", "off", "0")
HEAD = "keys before any section"  # of cloudmonkey 6


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


def read(name: str) -> Profile:
    """Return the profile of that name.

    Raises ProfileError naming what was looked for and where; keys are never shown.
    """
    base, _, options = name.partition("?")
    if base == "local":
        return _local(name, dict(parse_qsl(options)))
    if name == "env":
        return _from_env()
    return _from_files(name)


def kept() -> list[str]:
    """Return all secrets that any profile of this user holds, for those who look for them.

    A file that cannot be read holds none; `read` tells that to who asks for a profile.
    """
    found = [os.environ.get(f"CLOUDSTACK_{word}", "") for word in ("KEY", "SECRET")]
    urls = [os.environ.get("CLOUDSTACK_ENDPOINT", ""), *getproxies().values()]
    for path in [*_cs_files(), _cmk_file()]:
        try:
            ini = _ini(path)
        except (OSError, IniError, UnicodeDecodeError):
            continue
        for section in ini.values():
            found += [_raw(section, n) for n in ("key", "secret", "apikey", "secretkey")]
            urls += [_raw(section, n) for n in ("endpoint", "url")]
    found += [part for url in urls for part in _passwords(url)] + _local_texts()
    return list(dict.fromkeys(t for t in found if len(t) >= masks.SHORTEST))


def _raw(section: SectionProxy, name: str) -> str:
    """Return a value; as it is written where `%` is used otherwise than `cs` allows."""
    try:
        return section.get(name, "")
    except InterpolationError:
        return section.get(name, "", raw=True)


def _passwords(url: str) -> list[str]:
    """Return the password in a URL, as it is and as it is written."""
    try:
        written = urlsplit(url).password or ""
    except ValueError:
        return []
    return [written, unquote(written)]


def _local_texts() -> list[str]:
    """Return the keys of the local clouds that were started."""
    base = Path(os.environ.get("RUNBOOK_LOCALCLOUD") or ROOT / ".localcloud")
    texts = []
    for path in base.glob("*/server.json"):
        with suppress(OSError, ValueError, AttributeError):  # damaged: for the local cloud to tell
            fact = json.loads(path.read_text("utf-8"))
            texts += [str(fact.get(name, "")) for name in ("apikey", "secretkey")]
    return texts


def _local(name: str, options: dict) -> Profile:
    unknown = sorted(set(options) - set(LOCAL_OPTIONS))
    if unknown:
        known = ", ".join(LOCAL_OPTIONS)
        raise ProfileError(f"profile {name}: unknown option {unknown[0]}; there are {known}")
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "lib.localcloud", "start", "--json", *flags]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", timeout=60
    )
    if done.returncode:
        raise ProfileError(f"the local cloud did not start: {done.stderr.strip()[-500:]}")
    facts = json.loads(done.stdout)
    return Profile(
        name=name,
        endpoint=facts["endpoint"],
        key=facts["apikey"],
        secret=facts["secretkey"],
        discovery=facts["discovery"],
        shell=tuple(facts["shell"]),
        machine_shell=tuple(facts["machine_shell"]),
        time_scale=facts["time_scale"],
    )


def _from_env() -> Profile:
    names = ("CLOUDSTACK_ENDPOINT", "CLOUDSTACK_KEY", "CLOUDSTACK_SECRET")
    missing = [n for n in names if not os.environ.get(n)]
    if missing:
        raise ProfileError(f"profile env: wanted {', '.join(names)}; not set: {', '.join(missing)}")
    words = ("endpoint", "key", "secret", "verify", "timeout", "expiration", "algorithm", *BOUNDS)
    found = {w: os.environ.get(f"CLOUDSTACK_{w.upper()}") for w in words}
    return _profile("env", {k: v for k, v in found.items() if v}, "the environment")


def _from_files(name: str) -> Profile:
    cs, cmk = _cs_files(), _cmk_file()
    found = [(v, where) for v, where in [_section(cs, name)] if v]
    if name not in ("core", HEAD):
        found += [(_renamed(v, cmk), where) for v, where in [_section([cmk], name)] if v]
    if len(found) == 2:
        raise ProfileError(f"profile {name} is both in {found[0][1]} and {found[1][1]}: rename one")
    if not found:
        looked = ", ".join(str(p) for p in [*cs, cmk])
        raise ProfileError(
            f"no profile {name!r}. Looked for a section of that name in {looked}. "
            'Write one with endpoint, key and secret, or use "local" or "env".'
        )
    return _profile(name, *found[0])


def _cs_files() -> list[Path]:
    """Return cs's files, the project's own too: a notebook's folder is not where one stands."""
    named = os.environ.get("CLOUDSTACK_CONFIG")
    here = dict.fromkeys([ROOT / "cloudstack.ini", Path.cwd() / "cloudstack.ini"])
    files = [Path.home() / ".cloudstack.ini", *here]
    return [*files, Path(named).expanduser()] if named else files


def _cmk_file() -> Path:
    return Path.home() / ".cmk" / "config"


def _section(paths: list[Path], name: str) -> tuple[dict, str]:
    """Return the values of a section, as `cs` reads them, and the files that it stands in."""
    values: dict[str, str] = {}
    where = []
    for path in paths:
        if path.is_file():
            _warn_if_open(path)
            try:
                ini = _ini(path)
                if ini.has_section(name):
                    values |= ini.items(name)
                    where.append(str(path))
            except InterpolationError as fault:
                raise ProfileError(
                    f"{path}: {fault.option} of profile {name} has a % by itself: write it as %%"
                ) from None
            except (IniError, UnicodeDecodeError) as fault:
                line = getattr(fault, "lineno", None) or "?"
                raise ProfileError(f"{path}: line {line} is not INI; nothing was sent") from None
            except OSError as fault:
                raise ProfileError(f"{path} cannot be read: {fault.strerror}") from None
    return {k: v for k, v in values.items() if v}, ", ".join(where)


def _ini(path: Path) -> ConfigParser:
    """Return what stands in a file of `cs`, or in that of cloudmonkey, whose % is a character.

    Version 6 of it writes keys before any section (`cmk/config/config.go`, by go-ini).
    """
    of_cmk = path == _cmk_file()
    ini = ConfigParser(interpolation=None, strict=False) if of_cmk else ConfigParser()
    if path.is_file():
        head = f"[{HEAD}]\n" if of_cmk else ""
        ini.read_string(head + path.read_text("utf-8"), str(path))
    return ini


def _warn_if_open(path: Path) -> None:
    if path.stat().st_mode & 0o077:
        warnings.warn(f"{path} can be read by others: chmod 600 {path}", stacklevel=2)


def _renamed(values: dict, cmk: Path) -> dict:
    """Return values of cloudmonkey as `cs` calls them; version 6 has one `verifycert` for all."""
    common = _ini(cmk).get(HEAD, "verifycert", fallback="true")
    return {"verify": common} | {CMK[k]: v for k, v in values.items() if k in CMK}


def _profile(name: str, values: dict, where: str) -> Profile:
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
        if parts.scheme not in ("http", "https") or not parts.hostname:
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
