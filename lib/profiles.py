"""Profiles: which cloud, and with whose keys.

`local` is the embedded cloud (`local?dialect=2.2&time_scale=0.005` sets its options), `env` reads
CLOUDSTACK_ENDPOINT, CLOUDSTACK_KEY and CLOUDSTACK_SECRET, any other name is a section of cs's
files (~/.cloudstack.ini, ./cloudstack.ini, $CLOUDSTACK_CONFIG; the last one wins, as with `cs`) or
of cloudmonkey's ~/.cmk/config. No profile ever borrows from another.
"""

import json
import os
import subprocess
import sys
import warnings
from configparser import ConfigParser
from configparser import Error as IniError
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from lib import masks
from lib.errors import ProfileError

ROOT = Path(__file__).resolve().parent.parent
CMK = {"url": "endpoint", "apikey": "key", "secretkey": "secret", "verifycert": "verify"}
CMK |= {"timeout": "timeout", "algorithm": "algorithm"}
LOCAL_OPTIONS = ("dialect", "time_scale", "etcd", "expunge_delay", "may_expunge", "refuse")
LOCAL_OPTIONS += ("project", "custom_offering", "second_nic")
NO_WORDS = ("false", "no", "off", "0")


@dataclass(frozen=True)
class Profile:
    """What it takes to talk to one cloud. Keys are never part of its text.

    `timeout` in seconds; `expires` is how many seconds a signature stays good, 0 leaves the expiry
    off; `verify` is False, True or the path of a CA bundle. The last four are the local cloud's.
    """

    name: str
    endpoint: str
    key: str = field(repr=False)
    secret: str = field(repr=False)
    algorithm: str = "HmacSHA1"
    timeout: float = 30
    expires: int = 600
    verify: bool | str = True
    discovery: str = ""
    shell: tuple[str, ...] = ()
    machine_shell: tuple[str, ...] = ()
    time_scale: float = 1.0

    def __post_init__(self):
        masks.know(self.key)
        masks.know(self.secret)


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
    """Return all keys and secrets that any profile of this user holds, for those who mask them.

    A file that is not INI holds no profile; `read` tells that to who asks for one.
    """
    texts = [_texts_of_ini(p) for p in [*_cs_files(), _cmk_file()]] + [_local_texts()]
    texts += [[os.environ.get(f"CLOUDSTACK_{w}", "") for w in ("KEY", "SECRET")]]
    return list(dict.fromkeys(t for found in texts for t in found if len(t) >= masks.SHORTEST))


def _texts_of_ini(path: Path) -> list[str]:
    ini = ConfigParser(interpolation=None)
    try:
        ini.read(path, encoding="utf-8")
    except (IniError, UnicodeDecodeError):
        return []
    names = ("key", "secret", "apikey", "secretkey", "password")
    return [ini.get(section, n, fallback="") for section in ini.sections() for n in names]


def _local_texts() -> list[str]:
    """Return the keys of the local clouds that were started."""
    base = Path(os.environ.get("RUNBOOK_LOCALCLOUD") or ROOT / ".localcloud")
    facts = [json.loads(path.read_text("utf-8")) for path in base.glob("*/server.json")]
    return [fact.get(name, "") for fact in facts for name in ("apikey", "secretkey")]


def _local(name: str, options: dict) -> Profile:
    unknown = sorted(set(options) - set(LOCAL_OPTIONS))
    if unknown:
        known = ", ".join(LOCAL_OPTIONS)
        raise ProfileError(f"profile {name}: unknown option {unknown[0]}; there are {known}")
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "lib.localcloud", "start", "--json", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
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
    words = ("endpoint", "key", "secret", "verify", "timeout", "expiration", "algorithm")
    found = {w: os.environ.get(f"CLOUDSTACK_{w.upper()}") for w in words}
    return _profile("env", {k: v for k, v in found.items() if v}, "the environment")


def _from_files(name: str) -> Profile:
    cs, cmk = _cs_files(), _cmk_file()
    found = [(v, "cs's files") for v in [_section(cs, name)] if v]
    found += [(_renamed(v), str(cmk)) for v in [_section([cmk], name)] if v and name != "core"]
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


def _section(paths: list[Path], name: str) -> dict:
    ini = ConfigParser(interpolation=None)
    for path in paths:
        if path.is_file():
            _warn_if_open(path)
            try:
                ini.read(path, encoding="utf-8")
            except (IniError, UnicodeDecodeError) as fault:
                line = getattr(fault, "lineno", None) or "?"
                raise ProfileError(f"{path}: line {line} is not INI; nothing was sent") from None
    return {k: v for k, v in ini.items(name) if v} if ini.has_section(name) else {}


def _warn_if_open(path: Path) -> None:
    if path.stat().st_mode & 0o077:
        warnings.warn(f"{path} can be read by others: chmod 600 {path}", stacklevel=2)


def _renamed(values: dict) -> dict:
    return {CMK[k]: v for k, v in values.items() if k in CMK}


def _profile(name: str, values: dict, where: str) -> Profile:
    missing = [k for k in ("endpoint", "key", "secret") if not values.get(k)]
    if missing:
        raise ProfileError(f"profile {name} in {where} lacks {', '.join(missing)}")
    if urlsplit(values["endpoint"]).scheme not in ("http", "https"):
        raise ProfileError(f"profile {name} in {where}: endpoint must be an http(s) URL")
    return Profile(
        name=name,
        endpoint=values["endpoint"],
        key=values["key"],
        secret=values["secret"],
        algorithm=values.get("algorithm", "HmacSHA1"),
        timeout=_number(values, "timeout", 30, where),
        expires=int(_number(values, "expiration", 600, where)),
        verify=_verify(values),
    )


def _verify(values: dict) -> bool | str:
    unchecked = values.get("dangerous_no_tls_verify", "").lower() not in ("", *NO_WORDS)
    word = values.get("verify", "true")
    if unchecked or word.lower() in NO_WORDS:
        return False
    return True if word.lower() in ("true", "yes", "on", "1") else word


def _number(values: dict, key: str, default: float, where: str) -> float:
    try:
        return max(0.0, float(values.get(key, default)))
    except ValueError:
        raise ProfileError(
            f"{key} in {where}: wanted a number of seconds, found {values[key]!r}"
        ) from None
