"""Booting: starts machines side by side or in turn, with other offerings where no host has room."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lib.cluster import capacity
from lib.config import discovery
from lib.errors import CheckFailed, CloudError
from lib.jobs import awaited
from lib.machines import addresses, plan_destroy
from lib.ours import Ours
from lib.plan import apply, attempt, first
from lib.resources import held
from lib.steps import Id, Step
from lib.survey.offerings import Offering

DEPLOY, START = "deployVirtualMachine", "startVirtualMachine"
UNREGISTERED = (
    "No other machine was started: etcd of 2014 takes them one at a time, and others than members "
    "come last. 60-verify-cluster shows more. Look at etcd's log on the machine: an empty "
    "$private_ipv4, or no way to the discovery service, keeps it out. Running this stage again "
    "goes on once it is listed."
)
GONE = "Somebody removed it after it failed to start. Run this stage again, which deploys it again."


@dataclass(frozen=True)
class Boot:
    """How machines are booted.

    `offerings_of` gives those to try for a machine. They register at the discovery `url`, if there
    is one; `in_turn` the next one starts when the last one is listed there. No job may take more
    than `within` seconds.
    """

    ours: Ours
    offerings_of: Callable[[str], list[Offering]]
    url: str
    in_turn: bool
    within: float


def wait_for_members(how: Boot) -> None:
    """Wait until the registry lists the etcd members: of others who come first it makes members."""
    if how.url and not how.in_turn and not _is_full(how):
        _demand_registered(how, how.ours.members)


def boot(how: Boot, steps: list[Step], beside: Sequence[Step] = ()) -> dict[str, CloudError]:
    """Start machines; one that no host takes is given the next offering and started again.

    The steps `beside` are applied meanwhile; returns the errors of these by name. Raises the last
    error of the others when there is no offering left.
    """
    ours, others = how.ours, {s.what for s in beside}
    errors = _attempt(how, [*steps, *beside])
    aside = {n: e for n, e in errors.items() if n in others}
    failed = {n: e for n, e in errors.items() if n not in others}
    while failed:
        failed = dict(sorted(failed.items(), key=lambda f: capacity.is_full(f[1])))
        name, error = next(iter(failed)), first(failed, len(steps))
        if not capacity.is_full(error):
            raise _explained(how, steps, name, error)
        there = there_of(ours, steps)
        tried = there.get(name) or next(s.params for s in steps if s.what == name)
        capacity.show_explained(ours.cloud, ours.zone_of(name), tried)
        stopped = _change_offerings(how, _of(steps, START))
        anew = _deploy_again(how, _of(steps, DEPLOY))
        steps = [*(stopped or []), *(anew or [])]
        if stopped is None or anew is None or not steps:
            raise _exhausted(error, how.offerings_of(name)[1:])
        failed = _attempt(how, steps)
    return aside


def _of(steps: list[Step], command: str) -> list[Step]:
    return [s for s in steps if s.command == command]


def _explained(how: Boot, steps: list[Step], name: str, error: CloudError) -> CloudError:
    """Return the error of a machine; what its deployment left in Error is destroyed before."""
    step = next(s for s in steps if s.what == name)
    clear_away(how.ours, _of(steps, DEPLOY), how.within)
    if step.command == START:
        return error
    return held.explained(how.ours, error, name, step.params.get("ipaddress", ""))


def _is_full(how: Boot) -> bool:
    """Tell whether the registry lists as many as the token is for: others joined, or will."""
    size = discovery.size_of(how.url) or len(how.ours.members)
    return len(discovery.members(how.url) or {}) >= size


def there_of(ours: Ours, steps: list[Step]) -> dict[str, dict]:
    """Return those of our machines, by name, that the steps are about."""
    named = {s.what for s in steps}
    return {n: m for n, m in ours.machines().items() if n in named} if named else {}


def _attempt(how: Boot, steps: list[Step]) -> dict[str, CloudError]:
    """Start machines side by side, or in turn; return the errors by name."""
    if not (how.url and how.in_turn):
        return attempt(how.ours.cloud, steps, "apply", within=how.within)
    _demand_registered(how, how.ours.names)
    for step in steps:
        if failed := attempt(how.ours.cloud, [step], "apply", within=how.within):
            return failed
        _demand_registered(how, how.ours.names)
    return {}


def _demand_registered(how: Boot, names: list[str]) -> None:
    """Wait until the registry lists all of these that run; raise CheckFailed if it does not."""
    there = how.ours.machines().items()
    wanted = set(names)
    running = addresses({n: m for n, m in there if n in wanted and m["state"] == "Running"})

    def missing() -> str:
        listed = set((discovery.members(how.url) or {}).values())
        return ", ".join(n for n, a in running.items() if a not in listed)

    what = "machines to boot and register"
    if not awaited(how.ours.cloud, lambda: not missing(), what, how.within):
        raise CheckFailed(f"the registration of {missing()}", "in time", "none", UNREGISTERED)


def _exhausted(error: CloudError, fallbacks: list[Offering]) -> CloudError:
    also = ", ".join(map(str, fallbacks))
    tried = f"also with {also}" if fallbacks else "fallback_offerings is empty"
    text, *others = str(error).split("\n")
    text += (
        f" No host could take it ({tried}). The notebook's table under Apply shows what an account "
        "can see of it; try later, or name other offerings in fallback_offerings."
    )
    error.args = ("\n".join([text, *others]),)
    return error


def clear_away(ours: Ours, steps: list[Step], within: float) -> None:
    """Destroy the machines of the steps that are in Error, so that their names are free again."""
    broken = [m for m in there_of(ours, steps).values() if m["state"] == "Error"]
    if gone := [plan_destroy(ours.cloud, m, "its deployment failed") for m in broken]:
        apply(ours.cloud, gone, "apply", within=within)


def change_offering(machine: dict, offering: Offering, why: str) -> Step:
    """Return the step that gives a stopped machine another service offering."""
    params = {"id": Id.of(machine), **offering.params}
    return Step("changeServiceForVirtualMachine", params, why, machine["name"])


def _next_offering(offerings: list[Offering], machine: dict) -> Offering | None:
    """Return the offering that comes after a machine's own, None after the last one."""
    ids, tried = [o.id for o in offerings], str(machine["serviceofferingid"])
    left = offerings[ids.index(tried) + 1 :] if tried in ids else offerings
    return left[0] if left else None


def _change_offerings(how: Boot, steps: list[Step]) -> list[Step] | None:
    """Give those machines that are still Stopped their next offering, and return their starts.

    Returns None when there is none left for one of them; raises CheckFailed when one is gone.
    """
    there = there_of(how.ours, steps)
    if gone := [s.what for s in steps if s.what not in there]:
        raise CheckFailed(f"machine {gone[0]}", "Stopped", "gone", GONE)
    left = [s for s in steps if there[s.what]["state"] == "Stopped"]
    new = {s.what: _next_offering(how.offerings_of(s.what), there[s.what]) for s in left}
    chosen = {n: o for n, o in new.items() if o}
    if len(chosen) < len(new):
        return None
    why = "no host takes it with the offering it has; the next is"
    changes = [change_offering(there[n], o, f"{why} {o}") for n, o in chosen.items()]
    if changes:
        apply(how.ours.cloud, changes, "apply", within=how.within)
    return left


def _deploy_again(how: Boot, steps: list[Step]) -> list[Step] | None:
    """Destroy what is in Error, and return the steps of what is missing with the next offering.

    Returns None when there is none left for one of them.
    """
    clear_away(how.ours, steps, how.within)
    there, again = there_of(how.ours, steps), []
    for step in (s for s in steps if s.what not in there):
        new = _next_offering(how.offerings_of(step.what), step.params)
        if new is None:
            return None
        print(f"trying the service offering {new} for {step.what}")
        again.append(replace(step, params=step.params | {"details": None} | new.params))
    return again
