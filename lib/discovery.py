"""The discovery service, where the machines of a cluster find each other.

A token's URL is a secret: whoever has it can join the cluster. No error here carries it.
"""

import re
import secrets
import time
from urllib.parse import urlsplit

import requests

from lib import masks
from lib.errors import CheckFailed, ParamsError, Refused, Unreachable

PUBLIC = "https://discovery.etcd.io"
STATIC = "static"  # no service: the machines have fixed addresses
KEYS = "/v2/keys"
PRESENT = 412  # etcd's status for what was not to be there and is
TIMEOUT = (5, 30)  # seconds to connect, and to wait for an answer
PAUSE = 0.25  # seconds before a request is sent again
NEW_TOKEN = "A token serves one cluster once: run 90-remove-cluster, then 20-write-cloud-config."


class TokenUrl(str):
    """The URL of a token: whole as text, masked where it is merely shown."""

    def __new__(cls, url: str) -> "TokenUrl":
        """Make the token known as a secret."""
        masks.know(url.rstrip("/").rpartition("/")[2])
        return super().__new__(cls, url)

    def __repr__(self) -> str:
        return repr(masked(self))


def masked(url: str) -> str:
    """Return the URL with all but the first four characters of its token hidden.

    >>> masked("https://discovery.etcd.io/217d781a5ad5c7c4660bfbbc239bd0c0")
    'https://discovery.etcd.io/217d…'
    """
    base, _, token = url.rstrip("/").rpartition("/")
    return f"{base}/{token[:4] if len(token) >= 16 else ''}…"


def service(discovery: str, local: str) -> str:
    """Return the base URL for the parameter `discovery`; `local` is what the profile gives.

    "public" is discovery.etcd.io; a URL is a discovery service of one's own, or a key of an etcd
    with the version 2 API, such as http://10.1.0.5:2379/v2/keys/discovery; "static" is none.
    """
    if discovery == STATIC:
        return STATIC
    if discovery == "local":
        if not local:
            wanted = '"static", "public" or a URL with this profile'
            raise ParamsError("discovery", wanted, discovery)
        return local.rstrip("/")
    if discovery == "public":
        return PUBLIC
    parts = urlsplit(discovery)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ParamsError("discovery", '"local", "public", "static" or an http(s) URL', discovery)
    return discovery.rstrip("/")


def choose_token(base: str) -> TokenUrl | None:
    """Return a new token's URL below a key of an etcd, None where the service chooses tokens."""
    return TokenUrl(f"{base}/{secrets.token_hex(16)}") if KEYS in base else None


def register(url: TokenUrl, size: int) -> None:
    """Tell the etcd that the token is for a cluster of `size` machines; again does no harm.

    Raises CheckFailed for a token that is in use for another size.
    """
    form = {"value": size, "prevExist": "false"}
    answer = _answer(
        "PUT", f"{url}/_config/size", _base(url), ok=(PRESENT,), changes=True, data=form
    )
    found = size_of(url) if answer.status_code == PRESENT else size
    if found != size:
        what = f"machines that the token {masked(url)} is for"
        raise CheckFailed(what, size, found, NEW_TOKEN)


def enrol(url: TokenUrl, key: str, value: str) -> None:
    """Put a member of a cluster that has formed into the registry of its new token."""
    _answer("PUT", f"{url}/{key}", _base(url), changes=True, data={"value": value})


def ask_token(base: str, size: int) -> TokenUrl:
    """Ask for the token of a cluster of `size` machines, and return its URL.

    Asks once: a token made and lost does no harm, but asking twice makes two.
    """
    text = _answer("GET", f"{base}/new?size={size}", base, changes=True, tries=1).text.strip()
    if not re.fullmatch(r"https?://[^\s/]+/(\S+/)?[0-9a-f]{32}", text):
        raise CheckFailed(
            f"the answer of {base}/new", "the URL of a token", "something else", _is_service(base)
        )
    return TokenUrl(text)


def members(url: str) -> dict[str, str]:
    """Return which machines registered with the token: name -> address, {} if none has yet.

    Raises CheckFailed for a token that the service does not know.
    """
    node = _node(url, url)
    if node is None:
        base = _base(url)
        raise CheckFailed(f"the token {masked(url)}", f"known to {base}", "unknown", NEW_TOKEN)
    return dict(_member(n) for n in node.get("nodes") or [])


def has_begun(url: str) -> bool:
    """Tell whether an etcd 0.4 has begun a cluster with the token, even if its members are gone."""
    return _node(f"{url}/_state", url) is not None


def size_of(url: str) -> int | None:
    """Return how many machines the token is for, None if the service does not say."""
    value = (_node(f"{url}/_config/size", url) or {}).get("value", "")
    return int(value) if value.isdigit() else None


def _member(node: dict) -> tuple[str, str]:
    """Return name and address: etcd 0.4 has the name in the key, etcd 2 and 3 in the value."""
    key, value = node["key"].rpartition("/")[2], node.get("value", "")
    named = re.match(r"([^=/]+)=(?=https?://)", value)
    first = value[named.end() if named else 0 :].split(",")[0]
    return named[1] if named else key, _host(first)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url


def _node(url: str, token_url: str) -> dict | None:
    """Return what etcd holds at a key, None if it has no such key."""
    base = _base(token_url)
    answer = _answer("GET", url, base, ok=(404,))
    try:
        body = answer.json()
    except ValueError:
        body = None
    if answer.status_code == 404:
        return None
    if not isinstance(body, dict) or not isinstance(body.get("node"), dict):
        what = f"the listing of {masked(token_url)}"
        raise CheckFailed(what, "etcd's JSON", "something else", _is_service(base))
    return body["node"]


def _base(url: str) -> str:
    return url.rstrip("/").rpartition("/")[0]


def _is_service(base: str) -> str:
    return f"Is there a discovery service at {base}? Set the parameter discovery."


def _answer(
    method: str,
    url: str,
    base: str,
    *,
    ok: tuple[int, ...] = (),
    changes: bool = False,
    tries: int = 3,
    **more: object,
) -> requests.Response:
    """Return an answer below 400 or among `ok` to a request that may be sent again if it is lost.

    `changes` says that something is made by it.
    """
    command = f"{method} at the discovery service"
    answer = _sent(command, base, changes, tries, method=method, url=url, **more)
    if answer.status_code >= 400 and answer.status_code not in ok:
        raise Refused(command, answer.status_code, answer.reason or "", _is_service(base))
    return answer


def _sent(
    command: str, base: str, changes: bool, tries: int, **request: object
) -> requests.Response:
    """Send a request, once more after a lost connection, at most so many times in all.

    What `requests` raises names the URL; so nothing of it goes into the error but its kind.
    """
    begun = False
    for left in reversed(range(tries)):
        try:
            return requests.request(**request, timeout=TIMEOUT)
        except requests.RequestException as error:
            begun = begun or not _never_sent(error)
            if not left or not isinstance(error, requests.ConnectionError):
                told = {"may_have_changed": changes and begun}
                raise Unreachable(command, base, _cause(error), **told) from None
        time.sleep(PAUSE)
    raise AssertionError("the last try returns or raises")


def _never_sent(error: requests.RequestException) -> bool:
    kinds = requests.ConnectTimeout | requests.exceptions.SSLError
    return isinstance(error, kinds) or "NewConnection" in repr(error)


def _cause(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its TLS certificate was not accepted"
    return f"the connection failed ({type(error).__name__})"
