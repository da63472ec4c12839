"""Etcd: what the etcd of each machine answers at its client port."""

import ipaddress
import json
import re
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests

from lib.api import answers
from lib.cloud import Cloud
from lib.errors import OutOfSight, ShellFailed
from lib.workstation.shell import Shell, run

OLD_PORT, PORT = 4001, 2379
TIMEOUT = (2, 5)  # seconds to connect, and to wait for an answer
LONGEST, LARGEST = 10, 10  # seconds and MB of a whole answer
# From here machines may not be reachable at all, which says nothing about them.
NO_WAY = (requests.ConnectTimeout, requests.ReadTimeout, answers.OverBound)

FOREIGN = "no etcd"  # something else listens at its port
AWAY = "on no network"  # a stand-in of the local cloud

OTHERS = ("proxy", "standby")  # it runs, and is no member
# An etcd 0.4 that is a standby sends whoever asks it to the leader (`StandbyServer`).
STANDBY = (301, 302, 307)
CURL_SILENT = (7, 28, 52, 56)  # curl: refused, too late, an empty answer, a broken one

Fetch = Callable[[str, str], tuple[int, str]]  # method, path -> status, body


@dataclass(frozen=True)
class Member:
    """A member as etcd lists it: its id, the host of its peer URL, and whether it ever started."""

    id: str
    address: str
    started: bool = True


@dataclass(frozen=True)
class Answer:
    """What an etcd answers.

    `state` is healthy, unhealthy, proxy, standby, silent, unreachable, FOREIGN or AWAY. `listed`
    are the members it knows. `started` tells one process from the one before, "" if it is not
    known.
    """

    state: str
    listed: tuple[Member, ...] = ()
    started: str = ""

    @property
    def members(self) -> frozenset[str]:
        """The addresses of the members it knows."""
        return frozenset(m.address for m in self.listed)


def is_old(text: str) -> bool:
    """Tell whether a configuration is for etcd 0.4, whose client port is 4001."""
    return "etcd-member" not in text


def ask_all(
    cloud: Cloud, found: dict[str, str], text: str, shells: dict[str, Shell] | None = None
) -> dict[str, Answer]:
    """Ask the etcd of each machine (name -> address), all at once: from here, else on its shell.

    One that cannot be reached although others can is silent. Without the text that configures
    them nobody knows their version, so both ports are asked.
    """
    kinds = [is_old(text)] if text else [False, True]

    def one(name: str) -> Answer:
        if cloud.profile.shell and not ipaddress.ip_address(found[name]).is_loopback:
            return Answer(AWAY)
        each = [_ask_one(found[name], old, (shells or {}).get(name)) for old in kinds]
        return next((a for a in each if a.state not in ("silent", "unreachable")), each[0])

    with ThreadPoolExecutor(8) as pool:
        by_name = dict(zip(found, pool.map(one, found), strict=True))
    heard = any(a.state not in ("unreachable", AWAY) for a in by_name.values())
    silent = Answer("silent")
    return {n: silent if heard and a.state == "unreachable" else a for n, a in by_name.items()}


def _ask_one(address: str, old: bool, shell: Shell | None) -> Answer:
    answer = ask(address, old)
    return ask_on(shell, address, old) if shell and answer.state == "unreachable" else answer


def ask(address: str, old: bool) -> Answer:
    """Ask the etcd of a machine from here."""
    base = f"http://{address}:{OLD_PORT if old else PORT}"
    try:
        return answered(lambda method, path: _from_here(method, base + path), old)
    except NO_WAY:
        return Answer("unreachable")
    except requests.RequestException as error:
        return Answer("silent" if "refused" in str(error) else "unreachable")


def _from_here(method: str, url: str, body: str = "{}") -> tuple[int, str]:
    with requests.Session() as session:
        session.trust_env = False  # a proxy would answer in its stead
        data = body if method == "POST" else None
        how = {"data": data, "timeout": TIMEOUT, "allow_redirects": False, "stream": True}
        answer, raw = answers.read(lambda: session.request(method, url, **how), LONGEST, LARGEST)
    return answer.status_code, raw.decode("utf-8", "replace")


def send(node: Shell | None, method: str, url: str, body: str = "{}") -> tuple[int, str]:
    """Send a change to the etcd at a URL, from here, else on its machine; return status and body.

    Raises `requests.RequestException`, or what the shell raises, where no answer came.
    """
    try:
        return _from_here(method, url, body)
    except NO_WAY:
        if node is None:
            raise
        return _curl(node, method, url, body)


def ask_on(node: Shell, address: str, old: bool) -> Answer:
    """Ask the etcd of a machine on the machine itself, with its curl."""
    base = f"http://{address}:{OLD_PORT if old else PORT}"
    try:
        return answered(lambda method, path: _curl(node, method, base + path), old)
    except ConnectionRefusedError:
        return Answer("silent")
    except OutOfSight:
        return Answer("unreachable")
    except ShellFailed as error:
        return Answer(f"not known ({error.output.strip()[-60:]})")


def _curl(node: Shell, method: str, url: str, body: str = "{}") -> tuple[int, str]:
    data = f"-d {shlex.quote(body)}" if method == "POST" else ""
    command = f"curl -s -m 5 --noproxy '*' -X {method} {data} -w '\\n%{{http_code}}' {url}"
    done = run(node, command, ok=(0, *CURL_SILENT))
    if done.rc:
        raise ConnectionRefusedError
    body, _, status = done.out.rpartition("\n")
    return int(status), body


def answered(fetch: Fetch, old: bool) -> Answer:
    """Return what an etcd says; `fetch` raises what it likes when nothing answers."""
    if old:
        status, text = fetch("GET", "/v2/machines")
        leads, _ = fetch("GET", "/v2/leader")
        if status == 404:
            return Answer(FOREIGN)
        if status in STANDBY:
            return Answer("standby")
        healthy = status == leads == 200
        begun = re.search(r'"startTime"\s*:\s*"([^"]+)', fetch("GET", "/v2/stats/self")[1])
        state = "healthy" if healthy else "unhealthy"
        urls = [u.strip() for u in text.split(",") if u.strip()]
        return Answer(state, tuple(Member("", host(u)) for u in urls), begun[1] if begun else "")
    if fetch("GET", "/v2/config/local/proxy")[0] == 200:
        return Answer("proxy")
    status, text = fetch("GET", "/health")
    healthy = status == 200 and re.search(r'"health"\s*:\s*"?true', text)
    found = _members(fetch)
    if not found and '"health"' not in text:
        return Answer(FOREIGN)
    begun = re.search(r"(?m)^process_start_time_seconds (\S+)", fetch("GET", "/metrics")[1])
    state = "healthy" if healthy else "unhealthy"
    return Answer(state, tuple(found), begun[1] if begun else "")


def _members(fetch: Fetch) -> list[Member]:
    """Return the members; etcd 2's list is asked for if there is no other."""
    for method, path in (("POST", "/v3/cluster/member/list"), ("GET", "/v2/members")):
        status, text = fetch(method, path)
        if status != 200:
            continue
        try:
            rows = json.loads(text).get("members") or []
            urls = [(row, url) for row in rows for url in row.get("peerURLs") or []]
            return [_member(row, url) for row, url in urls if isinstance(url, str)]
        except (ValueError, AttributeError, TypeError, RecursionError):
            return []  # it is no etcd that listens there
    return []


def _member(row: dict, url: str) -> Member:
    """Return a member; one that has yet to start has no name."""
    return Member(str(row.get("ID", row.get("id", ""))), host(url), bool(row.get("name")))


def host(url: str) -> str:
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url
