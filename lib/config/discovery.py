"""The discovery service, where the etcds of a new cluster find each other by a token.

It serves the bootstrap only: a cluster that has formed asks it no more. A token is good for one
cluster, and its URL is a secret: whoever has it can join. No error here carries it.
"""

import re
import time
from contextlib import suppress
from urllib.parse import urlsplit

import requests

from lib.api import answers
from lib.errors import CheckFailed, ParamsError, Refused, Unreachable
from lib.record import masks

PUBLIC = "https://discovery.etcd.io"
STATIC = "static"  # no service: the machines have fixed addresses
TOKEN = "<token>"  # stands for a token that is yet to be asked for
TIMEOUT = (5, 30)  # seconds to connect, and to wait for an answer
LONGEST, LARGEST = 60, 1  # seconds and MB of a whole answer
PAUSE = 0.25  # seconds before a request is sent again
TRIES = 3


class TokenUrl(str):
    """The URL of a token: whole as text, masked where it is merely shown."""

    def __new__(cls, url: str) -> "TokenUrl":
        """Make the token known as a secret."""
        if not url.endswith(TOKEN):
            masks.add(url.rstrip("/").rpartition("/")[2])
        return super().__new__(cls, url)

    def __repr__(self) -> str:
        return repr(masked_url(self))


def masked_url(url: str) -> str:
    """Return the URL with all but the first four characters of its token hidden.

    >>> masked_url("https://discovery.etcd.io/217d781a5ad5c7c4660bfbbc239bd0c0")
    'https://discovery.etcd.io/217d…'
    """
    base, _, token = url.rstrip("/").rpartition("/")
    if token == TOKEN:
        return url
    return f"{base}/{token[:4] if len(token) >= 16 else ''}…"


def masked(text: str) -> str:
    """Return the text with the discovery token hidden but for its first four digits.

    Every other secret that this process knows is hidden in whole.

    >>> masked("discovery: https://discovery.etcd.io/217d781a5ad5c7c4660bfbbc239bd0c0")
    'discovery: https://discovery.etcd.io/217d…'
    """
    url = r"(?i)(discovery[\"']?\s*[:=]\s*[\"']?)(https?://[^\s\"']+)"
    text = re.sub(url, lambda m: m[1] + masked_url(m[2]), text)
    return str(masks.masked(re.sub(r"\b([0-9a-f]{4})[0-9a-f]{28}\b", r"\1…", text)))


def known(text: str) -> str:
    """Return the text, whose tokens are known secrets from here on, whoever prints it."""
    for url in _urls(text):
        TokenUrl(url)
    return text


def url_in(text: str) -> TokenUrl:
    """Return the token's URL in a configuration, "" if none. Raises CheckFailed for two of them."""
    found = _urls(text)
    if len(found) > 1:
        next_step = "Keep the one that the machines are to use."
        raise CheckFailed(f"the configuration has {len(found)} discovery URLs", next_step=next_step)
    return TokenUrl(found.pop() if found else "")


def _urls(text: str) -> set[str]:
    found = set(re.findall(r"(?m)^\s*discovery:\s*[\"']?(http[^\s\"']+)", text))
    return found | set(re.findall(r"--discovery=(http[^\s\"'\\]+)", text))


def service(discovery: str, local: str) -> str:
    """Return the base URL of the service for the parameter `discovery`, "static" if there is none.

    "local" is the service of the local cloud, whose URL the profile gives as `local`; "public" is
    discovery.etcd.io; a URL names a service that answers as that one does. Raises ParamsError.
    """
    if discovery == "local" and not local:
        raise ParamsError("discovery", '"static", "public" or a URL with this profile', discovery)
    url = {STATIC: STATIC, "local": local, "public": PUBLIC}.get(discovery, discovery).rstrip("/")
    parts = urlsplit(url)
    if "/v2/keys" in parts.path:
        wanted = (
            "the URL of a discovery service, which gives a token at /new?size=N. Keys of an etcd "
            'are none: put Debian\'s etcd-discovery before that etcd, or set "static"'
        )
        raise ParamsError("discovery", wanted, discovery)
    if url != STATIC and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ParamsError("discovery", '"local", "public", "static" or an http(s) URL', discovery)
    if parts.query:
        raise ParamsError("discovery", "the URL of a service, without ?…", discovery)
    return url


def demand_reachable(base: str) -> None:
    """Raise Unreachable unless a service answers; it is asked for a token that nobody has."""
    with suppress(Refused):
        _answer(f"{base}/{'0' * 32}", base, 404)


def ask_token(base: str, size: int) -> TokenUrl:
    """Ask for the token of a cluster of `size` machines, and return its URL.

    A token whose answer is lost does no harm, as nobody knows it: another one is asked for.
    """
    text = _answer(f"{base}/new?size={size}", base)[1].strip()
    if not re.fullmatch(r"https?://[^\s/]+/(\S+/)?[0-9a-f]{32}", text):
        what = f"{base}/new does not answer with the URL of a token"
        raise CheckFailed(what, next_step=_is_service(base))
    return TokenUrl(text)


def members(url: str) -> dict[str, str] | None:
    """Return which machines registered with the token: name -> address, {} if none has yet.

    None says that the service does not know the token, or no longer.
    """
    node = _node(url, url)
    return None if node is None else dict(_member(n) for n in node.get("nodes") or [])


def has_begun(url: str) -> bool:
    """Tell whether an etcd 0.4 has begun a cluster with the token, even if its members are gone."""
    return _node(f"{url}/_state", url) is not None


def size_of(url: str) -> int | None:
    """Return how many machines the token is for, None if the service does not say."""
    value = (_node(f"{url}/_config/size", url) or {}).get("value", "")
    return int(value) if re.fullmatch("[0-9]{1,6}", value) else None


def _member(node: dict) -> tuple[str, str]:
    """Return name and address: etcd 0.4 has the name in the key, etcd 2 and 3 in the value."""
    key, value = node.get("key", "").rpartition("/")[2], node.get("value", "")
    named = re.match(r"([^=/]+)=(?=https?://)", value)
    first = value[named.end() if named else 0 :].split(",")[0]
    return named[1] if named else key, _host(first)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url


def _node(url: str, token_url: str) -> dict | None:
    """Return what the service holds at a key of etcd's, None if it has no such key."""
    base = token_url.rstrip("/").rpartition("/")[0]
    status, text = _answer(url, base, 404)
    if status == 404:
        return None
    body = answers.parsed(text) or {}
    if not _is_node(body.get("node")):
        what = f"{masked_url(token_url)} does not answer with etcd's JSON"
        raise CheckFailed(what, next_step=_is_service(base))
    return body["node"]


def _is_node(node: object) -> bool:
    """Tell whether this is a key of etcd's, or a folder of keys."""
    inside = (node.get("nodes") or []) if isinstance(node, dict) else None
    rows = [node, *inside] if isinstance(inside, list) else [None]
    return all(
        isinstance(row, dict) and all(isinstance(row.get(n, ""), str) for n in ("key", "value"))
        for row in rows
    )


def _is_service(base: str) -> str:
    return f"Is there a discovery service at {base}? Set the parameter discovery."


def _answer(url: str, base: str, ok: int = 200) -> tuple[int, str]:
    """Return status, below 400 or `ok`, and text of an answer; a lost one is asked for again.

    Raises Refused for another answer, and Unreachable where none came, or a gateway's (500 and
    above). What `requests` raises names the URL, so nothing of it goes into an error but its kind.
    """
    command = "GET at the discovery service"
    for left in reversed(range(TRIES)):
        try:
            answer, data = answers.read(
                lambda: requests.get(url, timeout=TIMEOUT, stream=True), LONGEST, LARGEST
            )
            break
        except answers.OverBound:
            cause = f"its answer is larger than {LARGEST} MB, or takes longer than {LONGEST} s"
            raise Unreachable(command, base, cause, may_have_changed=False) from None
        except requests.RequestException as error:
            if not left or not isinstance(error, requests.ConnectionError):
                raise Unreachable(command, base, _cause(error), may_have_changed=False) from None
        time.sleep(PAUSE)
    if answer.status_code >= 500:
        cause = f"HTTP {answer.status_code} {answer.reason or ''}".strip()
        raise Unreachable(command, base, cause, may_have_changed=False)
    if answer.status_code >= 400 and answer.status_code != ok:
        raise Refused(command, answer.status_code, answer.reason or "", _is_service(base))
    return answer.status_code, data.decode("utf-8", "replace")


def _cause(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its TLS certificate was not accepted"
    return f"the connection failed ({type(error).__name__})"
