"""Machines: the cluster's members, how they should be, and the steps that get them there."""

import re
from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd

from lib import discovery, etcd, find, own, registered, tokens
from lib.addresses import address_of
from lib.checks import tick, ticks
from lib.errors import CheckFailed, CloudError
from lib.plan import Pending, Step, apply, attempt, check_mode
from lib.progress import awaited, show_table
from lib.userdata import UserData

NO_CAPACITY = 533  # ApiErrorCode.INSUFFICIENT_CAPACITY_ERROR
NAME = re.compile(
    r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)  # what CloudStack takes as host name
UNREGISTERED = (
    "No other machine was deployed: etcd of 2014 takes them one at a time. 60-verify-cluster tells "
    "more. Look at etcd's log on the machine: an empty $private_ipv4, or no way to the discovery "
    "service, keeps it out. Running this stage again goes on once it is listed."
)


def names(cluster: str, size: int) -> list[str]:
    """Return the names of the members: `cluster-1` to `cluster-N`.

    Raises CheckFailed for names that CloudStack would refuse.
    """
    wanted = [f"{cluster}-{i}" for i in range(1, size + 1)]
    bad = [n for n in wanted if not NAME.fullmatch(n)]
    if bad:
        rule = "a letter, then letters, digits and -, 63 at most"
        raise CheckFailed("cluster_name", rule, f"machines called {bad[0]}")
    return wanted


def plan_deploy(
    cloud,
    *,
    zone: str,
    cluster: str,
    size: int,
    template: str,
    offering: str,
    network: str,
    group: str,
    owner: dict,
    user_data: dict[str, UserData] | Pending | None = None,
    fixed: Sequence[str] = (),
) -> list[Step]:
    """Return the steps to N running machines: deploy, start, mark, and clear away what is in Error.

    Each gets its own of the `fixed` addresses, if there are any, and of the `user_data`, which are
    those of all under the cluster's name, or of each under its own; they are registered where the
    cloud can do that.
    Raises CheckFailed when a machine of the name was made from another template, and when the
    template has a token of its own beside that of `user_data`, or there is none in either.
    """
    source = own.template(cloud, zone, template, owner)
    _demand_one_token(source, user_data)
    there = own.machines(cloud, zone, names(cluster, size))
    zone_id = find.zone_id(cloud, zone)
    what = Pending(f"template {template}, ready", "42-create-template")
    params = {
        "zoneid": zone_id,
        "serviceofferingid": find.one(cloud, "listServiceOfferings", offering)["id"],
        "templateid": source["id"] if source and source.get("isready") else what,
        "networkids": find.network_ids(cloud, network, zone_id) or None,
        "group": group or None,
    }
    params = {k: v for k, v in params.items() if v is not None}
    wanted = dict.fromkeys(names(cluster, size), params)
    if fixed:
        pairs = zip(wanted, fixed, strict=True)
        wanted = {n: params | {"ipaddress": address} for n, address in pairs}
    missing = [n for n in wanted if n not in there or there[n]["state"] == "Error"]
    mends = [s for m in there.values() for s in _plan_mend(cloud, m, source, owner)]
    registers, given = _plan_user_data(cloud, cluster, missing, user_data)
    return mends + registers + [_deploy(n, wanted[n] | given[n], template, owner) for n in missing]


def _plan_user_data(
    cloud, cluster: str, missing: list[str], user_data: dict[str, UserData] | Pending | None
) -> tuple[list[Step], dict[str, dict]]:
    """Return the steps that register user data, and the parameters of each missing machine."""
    if not isinstance(user_data, dict):
        return [], dict.fromkeys(missing, {"userdata": user_data} if user_data else {})
    of = {n: n if n in user_data else cluster for n in missing}
    if not missing or not cloud.may_register:
        return [], {n: {"userdata": user_data[of[n]]} for n in missing}
    wanted = {name: user_data[name] for name in dict.fromkeys(of.values())}
    steps, ids = registered.plan_register(cloud, wanted)
    return steps, {n: {"userdataid": ids[of[n]]} for n in missing}


def _demand_one_token(source: dict | None, user_data: dict | Pending | None) -> None:
    if not source or not source.get("tags") or own.is_neutral(source) == bool(user_data):
        return
    kinds = 'neutral (config_delivery "userdata")', 'with a token (config_delivery "disk")'
    wanted, found = kinds if user_data else kinds[::-1]
    next_step = "Set config_delivery to what the template is made for, or choose another one."
    raise CheckFailed(f"the template {source['name']}", wanted, f"one {found}", next_step)


def _deploy(name: str, params: dict, template: str, owner: dict) -> Step:
    full = params | {"name": name, "displayname": name}
    why = f"there is no machine {name}; from {template}"
    return Step("deployVirtualMachine", full, why, name, owner, "UserVm")


def _plan_mend(cloud, machine: dict, source: dict | None, owner: dict) -> list[Step]:
    """Return what a machine that is there needs: removal from Error, a start, our marks."""
    name = machine["name"]
    if machine["state"] == "Error":
        return [_destroy(cloud, machine, "a failed deployment, to be cleared away")]
    if source and str(machine.get("templateid")) != str(source["id"]):
        raise CheckFailed(
            f"the template of machine {name}",
            source["name"],
            machine.get("templatename", "another"),
            "Choose another cluster_name, or remove that machine.",
        )
    marks = own.plan_marks(cloud, machine, "UserVm", owner)
    if machine["state"] == "Stopped":
        return [*marks, Step("startVirtualMachine", {"id": machine["id"]}, "it is stopped", name)]
    return marks


def _destroy(cloud, machine: dict, why: str) -> Step:
    expunge = {"expunge": True} if cloud.may_expunge else {}
    params = {"id": machine["id"], **expunge}
    return Step("destroyVirtualMachine", params, why, machine["name"])


def deploy(
    cloud, plan: list[Step], mode: str, *, zone: str, names: list[str], text: str,
    fallbacks: list[str], within: float,
) -> None:  # fmt: skip
    """Carry out a plan of `plan_deploy`: first mend what is there, then deploy what is missing.

    That is done side by side, but one after the other where the `text` that configures the
    machines is for etcd 0.4, each waited for until the discovery registry lists it: there members
    that come at once find no leader. Raises CheckFailed when it does not list one in time.

    A 533 is explained; after that of a deployment what is broken is cleared away, and the next
    offering tried. Raises the last error when none is left, and that of a machine that does not
    start.
    """
    check_mode(mode)
    first = [s for s in plan if s.command != "deployVirtualMachine"]
    steps = [s for s in plan if s not in first]
    if first:
        _mend(cloud, first, mode, zone, within)
        steps = registered.settled(cloud, steps)
    if steps or not first:
        url = tokens.url_in(text) if etcd.is_old(text) else ""
        deploying = partial(_one_by_one, zone=zone, names=names, url=url) if url else attempt
        _deploy_all(cloud, steps, mode, deploying, zone, fallbacks, within)


def _one_by_one(
    cloud, steps: list[Step], mode: str, *, within: float, zone: str, names: list[str], url: str
) -> dict[str, CloudError]:
    """Do as `attempt` does, but each step only when the machines there are have registered."""
    if mode == "plan" or not steps:
        return attempt(cloud, steps, mode, within=within)
    _demand_registered(cloud, zone, names, url, within)
    for step in steps:
        if failed := attempt(cloud, [step], mode, within=within):
            return failed
        _demand_registered(cloud, zone, names, url, within)
    return {}


def _demand_registered(cloud, zone: str, names: list[str], url: str, within: float) -> None:
    there = addresses(cloud, zone, names)

    def missing() -> str:
        listed = discovery.members(url).values()
        return ", ".join(n for n, a in there.items() if a not in listed)

    if not awaited(cloud, lambda: not missing(), "machines to boot and register", within):
        raise CheckFailed(f"the registration of {missing()}", "in time", "none", UNREGISTERED)


def _mend(cloud, steps: list[Step], mode: str, zone: str, within: float) -> None:
    for name, error in attempt(cloud, steps, mode, within=within).items():
        if _is_full(error):
            _show_explained(cloud, zone, own.machines(cloud, zone, [name])[name])
        raise error


def _is_full(error: CloudError) -> bool:
    return getattr(error, "code", None) == NO_CAPACITY


def _deploy_all(
    cloud, steps: list[Step], mode: str, deploying: Callable[..., dict[str, CloudError]],
    zone: str, fallbacks: list[str], within: float,
) -> None:  # fmt: skip
    offerings = list(fallbacks)
    while failed := deploying(cloud, steps, mode, within=within):
        name, error = next(iter(failed.items()))
        if not _is_full(error):
            raise error
        _show_explained(cloud, zone, next(s.params for s in steps if s.what == name))
        clear_away(cloud, zone, [s.what for s in steps], within)
        if not offerings:
            raise _exhausted(error, fallbacks)
        steps = _with_offering(cloud, zone, steps, offerings.pop(0))


def _exhausted(error: CloudError, fallbacks: list[str]) -> CloudError:
    tried = f"also with {', '.join(fallbacks)}" if fallbacks else "fallback_offerings is empty"
    error.args = (
        f"{error.args[0]} No host could take it ({tried}). The notebook's table under Apply shows "
        "what an account can see of it; try later, or name other offerings in fallback_offerings.",
    )
    return error


def clear_away(cloud, zone: str, wanted: list[str], within: float) -> None:
    """Destroy those of the machines that are in Error, so that their names are free again."""
    there = own.machines(cloud, zone, wanted).values()
    broken = [m for m in there if m["state"] == "Error"]
    apply(
        cloud, [_destroy(cloud, m, "its deployment failed") for m in broken], "apply", within=within
    )


def _with_offering(cloud, zone: str, steps: list[Step], offering: str) -> list[Step]:
    """Return the steps whose machine is still missing, with another service offering."""
    print(f"trying the service offering {offering}")
    there = own.machines(cloud, zone, [s.what for s in steps])
    new = {"serviceofferingid": find.one(cloud, "listServiceOfferings", offering)["id"]}
    left = [s for s in steps if s.what not in there]
    return [_deploy(s.what, s.params | new, "the same template", s.tags) for s in left]


def _show_explained(cloud, zone: str, machine: dict) -> None:
    print(
        "533 says that no place was found for a machine. What this account can see of the causes:"
    )
    show_table(explain(cloud, zone, machine["templateid"], machine["serviceofferingid"]))


def explain(cloud, zone: str, template_id: str, offering_id: str) -> pd.DataFrame:
    """Return a table of what an account can ask about a 533, each row with a tick."""
    place = find.one(cloud, "listZones", zone, available=True)
    template = _row(
        cloud.list("listTemplates", templatefilter="executable", id=template_id), template_id
    )
    offering = _row(cloud.list("listServiceOfferings", id=offering_id), offering_id)
    kinds = [h["name"] for h in cloud.list("listHypervisors", zoneid=place["id"])]
    kind, state = template.get("hypervisor", "?"), place.get("allocationstate", "Enabled")
    tags = offering.get("hosttags") or "none"
    size = f"{offering.get('cpunumber')} CPU, {offering.get('memory')} MB"
    rows = [
        tick("zone", "Enabled", state, state == "Enabled", "The provider has closed the zone."),
        tick("template ready here", True, template.get("isready"), template.get("isready") is True,
             "Wait for it, or run 42-create-template again."),
        tick("hypervisor of the template", " or ".join(kinds), kind, kind in kinds,
             "No cluster of that hypervisor here: make the template in this zone."),
        tick("host tags of the offering", "none", tags, tags == "none",
             "Only hosts with that tag can take it: try an offering without."),
        tick("size of the offering", "free on one host", size, False,
             "An account cannot see this: try a smaller offering, or later."),
        *_error_events(cloud),
    ]  # fmt: skip
    return ticks(rows)


def _row(rows: list[dict], wanted_id: str) -> dict:
    return next((r for r in rows if str(r["id"]) == str(wanted_id)), {})


def _error_events(cloud) -> list[dict]:
    """Return the newest errors among the events of deployments, three at most."""
    rows = [e for e in cloud.list("listEvents", type="VM.CREATE") if e.get("level") == "ERROR"]
    newest = sorted(rows, key=lambda e: e.get("created", ""))[-3:]
    return [
        tick(f"event {e.get('created', '')}", "no error", e.get("description"), False)
        for e in newest
    ]


def addresses(cloud, zone: str, wanted: list[str]) -> dict[str, str]:
    """Return the address of each machine that has one, by name; a stopped one keeps its own."""
    there = own.machines(cloud, zone, wanted).items()
    return {n: address_of(m) for n, m in there if address_of(m)}


def plan_removal(cloud, *, zone: str, cluster: str, owner: dict) -> list[Step]:
    """Return the steps that destroy the cluster's machines, however many there are.

    On servers with tags the tags tell which; on others the names `cluster-<number>`.
    """
    rows = cloud.list("listVirtualMachines", zoneid=find.zone_id(cloud, zone))
    mine = [r for r in rows if re.fullmatch(re.escape(cluster) + r"-\d+", r["name"])]
    known = own.ours(cloud, mine, owner)
    mine = [r for r in mine if r in known or r["state"] == "Error"]
    gone = (
        ("Expunging", "Expunged") if cloud.may_expunge else ("Destroyed", "Expunging", "Expunged")
    )
    return [_destroy(cloud, m, "made by this runbook") for m in mine if m["state"] not in gone]
