"""Profiles of the environment, and of the files of `cs` and of cloudmonkey."""

import os
import warnings
from configparser import ConfigParser, InterpolationError, SectionProxy
from configparser import Error as IniError
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from lib.errors import ProfileError
from lib.profiles.profile import BOUNDS, Profile, from_values
from lib.record.journal import ROOT

CMK = {"url": "endpoint", "apikey": "key", "secretkey": "secret", "verifycert": "verify"}
CMK |= {"timeout": "timeout", "algorithm": "algorithm"} | {name: name for name in BOUNDS}
HEAD = "keys before any section"  # of cloudmonkey 6


def kept() -> list[str]:
    """Return what the environment and the files hold that may be a secret.

    A file that cannot be read holds none; reading a profile of it raises ProfileError.
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
    return found + [part for url in urls for part in _passwords(url)]


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


def from_env() -> Profile:
    names = ("CLOUDSTACK_ENDPOINT", "CLOUDSTACK_KEY", "CLOUDSTACK_SECRET")
    missing = [n for n in names if not os.environ.get(n)]
    if missing:
        raise ProfileError(f"profile env: wanted {', '.join(names)}; not set: {', '.join(missing)}")
    words = ("endpoint", "key", "secret", "verify", "timeout", "expiration", "algorithm", *BOUNDS)
    found = {w: os.environ.get(f"CLOUDSTACK_{w.upper()}") for w in words}
    return from_values("env", {k: v for k, v in found.items() if v}, "the environment")


def from_files(name: str) -> Profile:
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
    return from_values(name, *found[0])


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
