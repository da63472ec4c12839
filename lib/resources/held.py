"""Names that destroyed machines still hold.

CloudStack keeps a destroyed machine until it expunges it, and with it its host name and its
address: `expunge.delay` and `expunge.interval`, a day each by default. An account sees neither the
machine nor these settings; only the journals of our runs show what was destroyed. So this warns
and refuses nothing: the cloud may have expunged meanwhile. On 2.2 names need not be unique.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import inf

from lib import earlier
from lib.checks import Tick, tick
from lib.cloud import Cloud
from lib.errors import CloudError
from lib.ours import Ours
from lib.record.journal import Entry
from lib.steps import Step

KEPT = timedelta(days=2)  # expunge.delay and expunge.interval by default (UserVmManagerImpl)
TAKEN = "already exists in the network domain"  # the text of that 431 (UserVmManagerImpl)
INTERNAL_ERROR = 530  # ApiErrorCode.INTERNAL_ERROR
COMMANDS = ("deployVirtualMachine", "destroyVirtualMachine")
NOT_DONE = ("not-sent", "refused", "failed")


def destroyed(cloud: Cloud) -> dict[str, datetime]:
    """Return the names that may be held, and when their machines were destroyed.

    That is what the journals of the last two days hold of machines that were destroyed without
    being expunged, and not deployed again since.
    """
    ends = {}
    for entry in sorted(_entries(cloud, KEPT.total_seconds()), key=lambda e: e.at):
        if entry.state not in NOT_DONE:
            ends[entry.what] = entry
    ends = {n: e for n, e in ends.items() if e.command == "destroyVirtualMachine"}
    times = {n: _time(e) for n, e in ends.items() if not e.params.get("expunge")}
    return {n: at for n, at in times.items() if cloud.has_tags and datetime.now(UTC) < at + KEPT}


def _entries(cloud: Cloud, lately: float = inf) -> list[Entry]:
    """Return the journals' entries of machines deployed and destroyed, without remarks on them.

    Only of journals that were written to `lately`, in seconds.
    """
    found = (e for e in earlier.every(cloud, lately) if e.command in COMMANDS)
    return [e for e in found if e.state != "looked-after"]


def _time(entry: Entry) -> datetime:
    return datetime.fromisoformat(entry.at)


def addresses(cloud: Cloud) -> set[str]:
    """Return the fixed addresses of the machines that were destroyed and may not be expunged."""
    names = destroyed(cloud)
    entries = _entries(cloud) if names else []
    ids = {str(e.params["id"]) for e in entries if e.what in names and "id" in e.params}
    mine = [e for e in entries if e.what in names or str(e.resource) in ids]
    return {str(e.params["ipaddress"]) for e in mine if e.params.get("ipaddress")}


def rows(ours: Ours) -> list[Tick]:
    """Return a row on our names that may be held, alike ones in one, as a warning: with a dash."""
    cloud, names = ours.cloud, ours.names
    there, times = ours.machines(), destroyed(cloud)
    gone = [n for n in names if n in times and n not in there]
    until = _until(max((times[n] for n in gone), default=datetime.now(UTC)))
    found = dict.fromkeys(gone, f"held until it is expunged, {until}")
    if cloud.has_tags and not cloud.may_expunge:
        broken = [n for n in names if n in there and there[n]["state"] == "Error"]
        found |= dict.fromkeys(broken, "of a machine in Error, and held once that is destroyed")
    if not found:
        return []
    next_step = f"If 50-deploy-cluster is refused for it: {_way_on(names, found, there)}"
    alike: dict[str, list[str]] = {}
    for name, text in found.items():
        alike.setdefault(text, []).append(name)
    return [tick(_named(n), "free", text, None, next_step) for text, n in alike.items()]


def _named(names: list[str]) -> str:
    """Say a list of names in short.

    >>> _named(["a-1"]), _named(["a-1", "a-2", "a-3"])
    ('the name a-1', 'the names a-1 to a-3 (3)')
    """
    if len(names) == 1:
        return f"the name {names[0]}"
    return f"the names {names[0]} to {names[-1]} ({len(names)})"


def warn_of_held_names(ours: Ours) -> None:
    """Print what `rows` finds."""
    for row in rows(ours):
        print(f"! {row.what}: {row.found}. {row.next}")


def _until(at: datetime) -> str:
    """Say until when a name is held that is held since then."""
    local = (at + KEPT).astimezone()
    return f"by CloudStack's defaults {local:%Y-%m-%d %H:%M} at the latest"


def _way_on(names: list[str], held: Iterable[str], there: dict[str, dict]) -> str:
    """Return how to go on where some of the names are held and other machines are `there`.

    The next numbers are for a cluster of which nothing is left; what runs is never given up.
    """
    left = [n for n, m in there.items() if m["state"] != "Error"]
    if any(there[n]["state"] == "Running" for n in left):
        return f"run 50-deploy-cluster again once it is expunged. {', '.join(left)} can stay."
    first = f"90-remove-cluster removes {', '.join(left)}, and then " if left else ""
    return first + _command(names, {*held, *left})


def _command(names: list[str], held: Iterable[str]) -> str:
    """Return the command that builds at once, under the next numbers of which none is held."""
    stem, _, first = names[0].rpartition("-")
    number, held = int(first), set(held)
    while held & {_moved(n, number - int(first)) for n in names}:
        number += 1
    return (
        f"`runbook run` with the same parameters and `-p first_number={number}` goes on at once "
        f"with {stem}-{number} and following (keep it in the parameter file)."
    )


def _moved(name: str, by: int) -> str:
    stem, _, number = name.rpartition("-")
    return f"{stem}-{int(number) + by}"


def tell(ours: Ours, plan: list[Step]) -> None:
    """Print which names the cloud holds of a removed cluster, or will once the plan is applied."""
    cloud = ours.cloud
    gone = [s for s in plan if s.command == "destroyVirtualMachine" and not s.params.get("expunge")]
    times = destroyed(cloud) | ({s.what: datetime.now(UTC) for s in gone} if cloud.has_tags else {})
    found = sorted(filter(ours.bears_name, times), key=lambda n: int(n.split("-")[-1]))
    if found:
        until = _until(max(times[n] for n in found))
        print(
            f"Until the cloud expunges the machines, {until}, it holds their names: "
            f"{', '.join(found)}. To build before that, {_command(found, found)}"
        )


def explained(ours: Ours, error: CloudError, name: str, address: str = "") -> CloudError:
    """Return the error of the deployment of one of our names, which says how to go on.

    That is when the name is held, or the `address` that was asked for may be taken. When a name is
    held that no journal knows of, the others that are missing may be held as well.
    """
    code, text = getattr(error, "code", None), getattr(error, "text", "")
    more, times, there = [], destroyed(ours.cloud), ours.machines()
    known = {*times, *(set(ours.names) - there.keys() if TAKEN in text else ())}
    if code == INTERNAL_ERROR and address:
        more.append(
            f"CloudStack answers so, too, where {address} is taken or not of the network; a "
            "destroyed machine keeps its address until it is expunged."
        )
    if TAKEN in text or name in times:
        until = f", {_until(times[name])}" if name in times else ""
        more.append(
            f"A destroyed machine, which an account does not see, holds its name until the cloud "
            f"expunges it{until}: {_way_on(ours.names, known, there)}"
        )
    if more:
        error.args = (" ".join([f"{str(error).rstrip('.')}.", *more]),)
    return error
