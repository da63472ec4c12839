"""Etcd: what the etcd of each machine answers at its client port."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests

OLD_PORT, PORT = 4001, 2379
TIMEOUT = (2, 5)  # seconds to connect, and to wait for an answer
# From here machines may not be reachable at all, which says nothing about them.
AWAY = (requests.ConnectTimeout, requests.ReadTimeout)

Fetch = Callable[[str, str], tuple[int, str]]  # method, path -> status, body


@dataclass(frozen=True)
class Answer:
    """What an etcd says: `state` is healthy, unhealthy, proxy, silent or unreachable.

    `members` are the addresses of the members it knows.
    """

    state: str
    members: frozenset[str] = frozenset()


def is_old(text: str) -> bool:
    """Tell whether a configuration is for etcd 0.4, whose client port is 4001."""
    return "etcd-member" not in text


def ask(address: str, old: bool) -> Answer:
    """Ask the etcd of a machine from here."""
    base = f"http://{address}:{OLD_PORT if old else PORT}"

    def fetch(method: str, path: str) -> tuple[int, str]:
        body = "{}" if method == "POST" else None
        with requests.Session() as session:
            session.trust_env = False  # a proxy would answer in its stead
            answer = session.request(method, base + path, data=body, timeout=TIMEOUT)
        return answer.status_code, answer.text

    try:
        return told(fetch, old)
    except AWAY:
        return Answer("unreachable")
    except requests.RequestException as error:
        return Answer("silent" if "refused" in str(error) else "unreachable")


def told(fetch: Fetch, old: bool) -> Answer:
    """Return what an etcd says; `fetch` raises what it likes when nothing answers."""
    if old:
        status, text = fetch("GET", "/v2/machines")
        leads, _ = fetch("GET", "/v2/leader")
        healthy = status == leads == 200
        return Answer("healthy" if healthy else "unhealthy", _hosts(text.split(",")))
    if fetch("GET", "/v2/config/local/proxy")[0] == 200:
        return Answer("proxy")
    status, text = fetch("GET", "/health")
    healthy = status == 200 and re.search(r'"health"\s*:\s*"?true', text)
    return Answer("healthy" if healthy else "unhealthy", _members(fetch))


def _members(fetch: Fetch) -> frozenset[str]:
    """Return the members' addresses; the list of etcd 2 is asked for where there is no other."""
    for method, path in (("POST", "/v3/cluster/member/list"), ("GET", "/v2/members")):
        status, text = fetch(method, path)
        if status == 200:
            rows = json.loads(text).get("members") or []
            return _hosts(u for row in rows for u in row.get("peerURLs") or [])
    return frozenset()


def _hosts(urls) -> frozenset[str]:
    return frozenset(urlsplit(u.strip()).hostname or u.strip() for u in urls if u.strip())
