"""The discovery registry, as it is of use while a cluster forms: whom it lists."""

import re
from collections.abc import Collection
from dataclasses import replace

from lib.checks import LATER, NOT_ASKED, Tick, later, tick
from lib.config import Written, discovery
from lib.errors import CheckFailed, Refused, Unreachable

NOWHERE = re.compile(r"(https?://)?(:\d+|127\.0\.0\.1)?/?")
NO_ADDRESS = (
    "An empty $private_ipv4: the image does not know it. Set oem as it is: 20-write-cloud-config "
    "writes what finds the address on an image that does not."
)
REUSED = (
    "A reused token: another cluster had it before. A template with a baked-in token makes one "
    "cluster only. Or it is what a machine has left that is gone: etcd 0.4 keeps that for a week."
)
BOOTSTRAP = (
    "The registry serves the bootstrap only: an etcd that has formed a cluster asks it no more. "
    "The column etcd counts."
)
KEPT_OUT = (
    "Look at etcd's log there: an empty $private_ipv4, or a token used before, keeps a machine out."
)
DEPLOY = "Run 50-deploy-cluster."
NO_TEXT = "Is work_dir the folder of this cluster? Else its text was lost, or 20 has yet to run."
WHAT, LISTED = "registered", "listed"


def ticks(
    names: list[str],
    found: dict[str, str],
    written: Written,
    formed: bool,
    further: Collection[str] = (),
) -> list[Tick]:
    """Return a tick for each member, and one for each stranger.

    `found` are the addresses of all machines by name, `further` those of machines too many.

    The registry serves the bootstrap only. So a source that is gone has a dash, as has whatever is
    amiss in it once the etcds have `formed` a healthy cluster of exactly these machines.
    """
    if not written.url:
        sign, lost = "✗" if found else LATER, f"no token in {written.where}"
        rows = [Tick(sign, WHAT, LISTED, lost, NO_TEXT, n) for n in names]
        return [_past(r) for r in rows] if formed else rows
    try:
        members = discovery.members(written.url)
        gone = "" if members is not None else "The service no longer knows the token."
    except (CheckFailed, Refused, Unreachable) as error:
        members, gone = None, _cause(error)
    if members is None:
        return [tick(WHAT, LISTED, NOT_ASKED, None, f"{gone} {BOOTSTRAP}", n) for n in names]
    listed = set(members.values())
    rows = [_machine(n, found.get(n), listed) for n in names]
    rows += [_stranger(a) for a in sorted(listed - set(found.values()) - set(further))]
    return [_past(r) for r in rows] if formed else rows


def _machine(name: str, address: str | None, listed: set[str]) -> Tick:
    if address is None:
        return later(WHAT, LISTED, "not deployed", DEPLOY, name)
    ok = address in listed
    return tick(WHAT, LISTED, LISTED if ok else "not listed", ok, KEPT_OUT, name)


def _stranger(address: str) -> Tick:
    if NOWHERE.fullmatch(address):
        return tick(WHAT, "a machine's own address", "nobody's address", False, NO_ADDRESS, address)
    return tick(WHAT, "these machines only", "a stranger", False, REUSED, address)


def _cause(error: CheckFailed | Refused | Unreachable) -> str:
    """Say in few words why the registry cannot be asked."""
    if isinstance(error, CheckFailed):
        return f"{error.what}: {error.got}."
    return f"{getattr(error, 'cause', '') or error.text}.".replace("..", ".")


def _past(row: Tick) -> Tick:
    """Return a tick on the registry as it counts for a cluster that has formed: not at all."""
    return row if row.ok == "✓" else replace(row, ok="-", next=BOOTSTRAP)
