"""The discovery token in a configuration: a secret, and good for one cluster only."""

import difflib
import re
from collections.abc import Sequence

from lib import addresses, discovery
from lib.discovery import NEW_TOKEN, TokenUrl
from lib.errors import CheckFailed

ANEW = (
    "Set the parameters as they were when it was written, or run 90-remove-cluster and begin anew; "
    "to machines that run, 70-reconfigure-cluster gives other lines."
)


def masked(text: str) -> str:
    """Return the text with the discovery token hidden but for its first four digits.

    >>> masked("discovery: https://discovery.etcd.io/217d781a5ad5c7c4660bfbbc239bd0c0")
    'discovery: https://discovery.etcd.io/217d…'
    """
    url = r"(?i)(discovery[\"']?\s*[:=]\s*[\"']?)(https?://[^\s\"']+)"
    text = re.sub(url, lambda m: m[1] + discovery.masked(m[2]), text)
    return re.sub(r"\b([0-9a-f]{4})[0-9a-f]{28}\b", r"\1…", text)


def url_in(text: str) -> TokenUrl:
    """Return the token's URL in a cloud-config, "" if none. Raises CheckFailed for two of them."""
    found = _urls(text)
    if len(found) > 1:
        raise CheckFailed("the cloud-config", "one discovery URL", f"{len(found)}", ANEW)
    return TokenUrl(found.pop() if found else "")


def _urls(text: str) -> set[str]:
    found = set(re.findall(r"(?m)^\s*discovery:\s*[\"']?(http[^\s\"']+)", text))
    return found | set(re.findall(r"--discovery=(http[^\s\"']+)", text))


def difference(expected: str, found: str, names: Sequence[str] = ("wanted", "found")) -> str:
    """Return the lines that differ, as `diff -u` shows them, tokens masked."""
    texts = [masked(t).splitlines() for t in (expected, found)]
    lines = difflib.unified_diff(*texts, *names, lineterm="", n=1)
    return "\n".join(lines) or "(only the discovery token or the line ends)"


def known(text: str | None) -> str | None:
    """Return the text, whose token is a known secret from here on, whoever prints it."""
    for url in _urls(text or ""):
        TokenUrl(url)
    return text


def check_token_unused(text: str, machines: dict[str, str], size: int | None = None) -> None:
    """Raise CheckFailed unless the token in a text is for our machines (name -> address) alone.

    That is if others registered with it, and, before the first of ours is there, if a cluster of it
    had begun already, or it is for another `size`: etcd 0.4 does not look at that, later ones wait
    or turn away.
    """
    url = url_in(text)
    if not url and addresses.fixed_in(text):
        return print("✓ no token is needed: the machines know each other by fixed addresses")
    found = discovery.members(url) if url else {}
    strangers = sorted(set(found.values()) - set(machines.values()))
    if strangers:
        listed = ", ".join(strangers)
        raise CheckFailed("who registered with the token", "none but ours", listed, NEW_TOKEN)
    if url and not machines and discovery.has_begun(url):
        what, next_step = "clusters that used the token", f"Its members are gone. {NEW_TOKEN}"
        raise CheckFailed(what, "none", "one", next_step)
    if size and url and not machines and "--discovery=" in text:
        _demand_size(url, size)
    print(f"✓ the token is free for the cluster: {len(found)} of ours registered, no strangers")


def _demand_size(url: TokenUrl, size: int) -> None:
    found = discovery.size_of(url)
    if found not in (size, None):
        what = "machines that the token is for"
        raise CheckFailed(what, f"{size}, the cluster_size", f"{found}", NEW_TOKEN)
