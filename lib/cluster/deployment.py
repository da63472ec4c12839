"""Deployment: gets the machines running, with other offerings where no host has room."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pandas as pd

from lib import held, own
from lib.checks import not_allowed, tick, ticks
from lib.cloud import Cloud
from lib.cluster import etcd
from lib.config import discovery, registered
from lib.config.userdata import UserData
from lib.errors import CheckFailed, CloudError
from lib.jobs import awaited
from lib.machines import address_of, plan_destroy
from lib.offerings import Offering
from lib.plan import apply, attempt, check_mode
from lib.steps import Pending, Step
from lib.waiting import show_table

NO_CAPACITY = 533  # ApiErrorCode.INSUFFICIENT_CAPACITY_ERROR
INTERNAL_ERROR = 530  # ApiErrorCode.INTERNAL_ERROR
NO_HOST = "No suitable host found"
UNREGISTERED = (
    "No other machine was started: etcd of 2014 takes them one at a time. 60-verify-cluster tells "
    "more. Look at etcd's log on the machine: an empty $private_ipv4, or no way to the discovery "
    "service, keeps it out. Running this stage again goes on once it is listed."
)


def plan_deploy(
    cloud: Cloud,
    *,
    zone: str,
    cluster: str,
    names: list[str],
    template: str,
    offerings: list[Offering],
    network: str,
    group: str,
    owner: dict,
    user_data: dict[str, UserData] | Pending | None = None,
    fixed: Sequence[str] = (),
) -> list[Step]:
    """Return the steps to running machines of these names, and clear away what is in Error.

    A machine gets the first of the service `offerings`; one that is Stopped keeps any of them.
    Each gets its own of the `fixed` addresses, if there are any, and of the `user_data`, which are
    those of all under the cluster's name, or of each under its own; they are registered where the
    cloud can do that.
    Raises CheckFailed when a machine of the name was made from another template, and when the
    template has a token of its own beside that of `user_data`, or there is none in either.
    """
    source = own.template(cloud, zone, template, owner)
    _demand_one_token(source, user_data)
    there = own.machines(cloud, zone, names)
    zone_id = cloud.zone_id(zone)
    what = Pending(f"template {template}, ready", "42-create-template")
    params = {
        "zoneid": zone_id,
        **offerings[0].params,
        "templateid": source["id"] if source and source.get("isready") else what,
        "networkids": [cloud.one("listNetworks", network, zoneid=zone_id)["id"]]
        if network
        else None,
        "group": group or None,
        "startvm": False if _starts_apart(cloud) else None,
    }
    params = {k: v for k, v in params.items() if v is not None}
    wanted = dict.fromkeys(names, params)
    if fixed:
        pairs = zip(wanted, fixed, strict=True)
        wanted = {n: params | {"ipaddress": address} for n, address in pairs}
    missing = [n for n in wanted if n not in there or there[n]["state"] == "Error"]
    mends = [s for m in there.values() for s in _plan_mend(cloud, m, source, owner, offerings)]
    registers, given = _plan_user_data(cloud, cluster, missing, user_data)
    deploys = [_deploy(n, wanted[n] | given[n], template, owner) for n in missing]
    return mends + registers + deploys + _plan_starts(cloud, names, there)


def _starts_apart(cloud: Cloud) -> bool:
    """Tell whether machines are deployed stopped and started after that.

    So a machine that finds no host stays Stopped, with its name and address, and can be given
    another offering; otherwise it ends in Error and holds its name until the cloud expunges it.
    2.2 has no `startvm`, and names need not be unique there.
    """
    return cloud.has_tags


def _next_offering(offerings: list[Offering], machine: dict) -> Offering | None:
    """Return the offering that comes after a machine's own, None after the last one."""
    ids, tried = [o.id for o in offerings], str(machine["serviceofferingid"])
    left = offerings[ids.index(tried) + 1 :] if tried in ids else offerings
    return left[0] if left else None


def _plan_starts(cloud: Cloud, names: list[str], there: dict[str, dict]) -> list[Step]:
    """Return the steps that start what is Stopped, and where it starts apart, what is missing."""
    return [s for n in names if (s := _plan_start(cloud, n, there.get(n)))]


def _plan_start(cloud: Cloud, name: str, machine: dict | None) -> Step | None:
    if machine and machine["state"] == "Stopped":
        return Step("startVirtualMachine", {"id": machine["id"]}, "it is stopped", name)
    if _starts_apart(cloud) and (not machine or machine["state"] == "Error"):
        what = Pending(f"machine {name}, deployed", "50-deploy-cluster")
        return Step("startVirtualMachine", {"id": what}, "it is deployed stopped", name)
    return None


def _plan_user_data(
    cloud: Cloud, cluster: str, missing: list[str], user_data: dict[str, UserData] | Pending | None
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


def _plan_mend(
    cloud: Cloud, machine: dict, source: dict | None, owner: dict, offerings: list[Offering]
) -> list[Step]:
    """Return what a machine that is there needs: removal from Error, our marks, an offering."""
    name = machine["name"]
    if machine["state"] == "Error":
        return [plan_destroy(cloud, machine, "a failed deployment, to be cleared away")]
    if source and str(machine.get("templateid")) != str(source["id"]):
        raise CheckFailed(
            f"the template of machine {name}",
            source["name"],
            machine.get("templatename", "another"),
            "Choose another cluster_name, or remove that machine.",
        )
    marks = own.plan_marks(cloud, machine, "UserVm", owner)
    ids = [o.id for o in offerings]
    stays = machine["state"] != "Stopped" or str(machine["serviceofferingid"]) in ids
    if stays or not _starts_apart(cloud):
        return marks
    why = f"it is stopped and has {machine.get('serviceofferingname', 'another offering')}"
    return [*marks, _change_offering(machine, offerings[0], f"{why}, not {offerings[0]}")]


def _change_offering(machine: dict, offering: Offering, why: str) -> Step:
    params = {"id": machine["id"], **offering.params}
    return Step("changeServiceForVirtualMachine", params, why, machine["name"])


def deploy(
    cloud: Cloud, plan: list[Step], mode: str, *, zone: str, names: list[str], text: str,
    offerings: list[Offering], within: float,
) -> None:  # fmt: skip
    """Carry out a plan of `plan_deploy`: mend what is there, deploy what is missing, start it.

    Machines are started side by side, but one after the other where the `text` that configures
    them is for etcd 0.4, each waited for until the discovery registry lists it: there members that
    come at once find no leader. Raises CheckFailed when it does not list one in time.

    When no host takes a machine that is explained, and the next of the `offerings` is tried with
    it: a Stopped machine is given that offering; on 2.2, where it is in Error, it is destroyed and
    deployed again. Raises the last error when none is left. What a deployment leaves in Error is
    destroyed; an error for a name that a destroyed machine still holds tells how to go on.
    """
    check_mode(mode)
    if mode == "plan" or not plan:
        return apply(cloud, plan, mode)
    booting = "startVirtualMachine" if _starts_apart(cloud) else "deployVirtualMachine"
    boots = [s for s in plan if s.command == booting]
    deploys = [s for s in plan if s.command == "deployVirtualMachine" and s not in boots]
    first = [s for s in plan if s not in boots + deploys]
    if first:
        _mend(cloud, first, zone, within)
    if deploys:
        _deploy_stopped(cloud, registered.settled(cloud, deploys), zone, names, within)
        boots = _with_ids(cloud, zone, boots)
    if boots:
        url = discovery.url_in(text) if etcd.is_old(text) else ""
        boot = partial(_one_by_one, zone=zone, names=names, url=url) if url else attempt
        _boot_all(cloud, boots, boot, zone, offerings, within)


def _deploy_stopped(
    cloud: Cloud, steps: list[Step], zone: str, names: list[str], within: float
) -> None:
    """Deploy machines without starting them; after a failure destroy what is in Error."""
    if failed := attempt(cloud, steps, "apply", within=within):
        clear_away(cloud, zone, [s.what for s in steps], within)
        name, error = next(iter(failed.items()))
        step = next(s for s in steps if s.what == name)
        address = step.params.get("ipaddress", "")
        raise held.explained(cloud, error, zone, name, names, address)


def _with_ids(cloud: Cloud, zone: str, steps: list[Step]) -> list[Step]:
    """Return the steps with the ids of the machines that were deployed meanwhile."""
    there = own.machines(cloud, zone, [s.what for s in steps])
    return [replace(s, params={"id": there[s.what]["id"]}) if s.what in there else s for s in steps]


def _one_by_one(
    cloud: Cloud,
    steps: list[Step],
    mode: str,
    *,
    within: float,
    zone: str,
    names: list[str],
    url: str,
) -> dict[str, CloudError]:
    """Do as `attempt` does, but each step only when the machines that run have registered."""
    _demand_registered(cloud, zone, names, url, within)
    for step in steps:
        if failed := attempt(cloud, [step], mode, within=within):
            return failed
        _demand_registered(cloud, zone, names, url, within)
    return {}


def _demand_registered(cloud: Cloud, zone: str, names: list[str], url: str, within: float) -> None:
    there = own.machines(cloud, zone, names).items()
    running = {n: address_of(m) for n, m in there if m["state"] == "Running"}

    def missing() -> str:
        listed = (discovery.members(url) or {}).values()
        return ", ".join(n for n, a in running.items() if a not in listed)

    if not awaited(cloud, lambda: not missing(), "machines to boot and register", within):
        raise CheckFailed(f"the registration of {missing()}", "in time", "none", UNREGISTERED)


def _mend(cloud: Cloud, steps: list[Step], zone: str, within: float) -> None:
    for name, error in attempt(cloud, steps, "apply", within=within).items():
        if _is_full(error):
            _show_explained(cloud, zone, own.machines(cloud, zone, [name])[name])
        raise error


def _is_full(error: CloudError) -> bool:
    """Tell whether no host could take a machine.

    That is 533, or 530 where no host has the offering's tag (both seen on CloudStack 4.22).
    """
    code, text = getattr(error, "code", None), getattr(error, "text", "")
    return code == NO_CAPACITY or (code == INTERNAL_ERROR and NO_HOST in text)


def _boot_all(
    cloud: Cloud, steps: list[Step], boot: Callable[..., dict[str, CloudError]], zone: str,
    offerings: list[Offering], within: float,
) -> None:  # fmt: skip
    move = _change_offerings if _starts_apart(cloud) else _deploy_again
    while failed := boot(cloud, steps, "apply", within=within):
        name, error = min(failed.items(), key=lambda f: _is_full(f[1]))
        if not _is_full(error):
            raise error
        there = own.machines(cloud, zone, [s.what for s in steps])
        _show_explained(cloud, zone, there.get(name) or _params(steps, name))
        steps = move(cloud, zone, steps, offerings, within)
        if not steps:
            raise _exhausted(error, offerings[1:])


def _params(steps: list[Step], name: str) -> dict:
    return next(s.params for s in steps if s.what == name)


def _exhausted(error: CloudError, fallbacks: list[Offering]) -> CloudError:
    also = ", ".join(map(str, fallbacks))
    tried = f"also with {also}" if fallbacks else "fallback_offerings is empty"
    error.args = (
        f"{error.args[0]} No host could take it ({tried}). The notebook's table under Apply shows "
        "what an account can see of it; try later, or name other offerings in fallback_offerings.",
    )
    return error


def clear_away(cloud: Cloud, zone: str, wanted: list[str], within: float) -> None:
    """Destroy those of the machines that are in Error, so that their names are free again."""
    there = own.machines(cloud, zone, wanted).values()
    broken = [m for m in there if m["state"] == "Error"]
    if steps := [plan_destroy(cloud, m, "its deployment failed") for m in broken]:
        apply(cloud, steps, "apply", within=within)


def _change_offerings(
    cloud: Cloud, zone: str, steps: list[Step], offerings: list[Offering], within: float
) -> list[Step]:
    """Give those machines that are still Stopped their next offering, and return their starts.

    Returns [] when there is none left for one of them.
    """
    there = own.machines(cloud, zone, [s.what for s in steps])
    left = [s for s in steps if there[s.what]["state"] == "Stopped"]
    new = {s.what: _next_offering(offerings, there[s.what]) for s in left}
    if None in new.values():
        return []
    why = "no host takes it with the offering it has; the next is"
    changes = [_change_offering(there[n], o, f"{why} {o}") for n, o in new.items()]
    apply(cloud, changes, "apply", within=within)
    return left


def _deploy_again(
    cloud: Cloud, zone: str, steps: list[Step], offerings: list[Offering], within: float
) -> list[Step]:
    """Destroy what is in Error, and return the steps of what is missing with the next offering.

    Returns [] when there is none left.
    """
    clear_away(cloud, zone, [s.what for s in steps], within)
    new = _next_offering(offerings, steps[0].params)
    if new is None:
        return []
    print(f"trying the service offering {new}")
    there = own.machines(cloud, zone, [s.what for s in steps])
    changed = {"details": None} | new.params
    return [replace(s, params=s.params | changed) for s in steps if s.what not in there]


def _show_explained(cloud: Cloud, zone: str, machine: dict) -> None:
    print("No place was found for a machine. What this account can see of the causes:")
    show_table(explain(cloud, zone, machine["templateid"], machine["serviceofferingid"]))


def explain(cloud: Cloud, zone: str, template_id: str, offering_id: str) -> pd.DataFrame:
    """Return a table of what an account can ask about a 533, each row with a tick.

    What this account may not ask has a dash.
    """
    place = cloud.one("listZones", zone, available=True)
    template = _row(
        cloud.list("listTemplates", templatefilter="executable", id=template_id), template_id
    )
    offering = _row(cloud.list("listServiceOfferings", id=offering_id), offering_id)
    kinds = _hypervisors(cloud, place["id"])
    kind, state = template.get("hypervisor", "?"), place.get("allocationstate", "Enabled")
    tags = offering.get("hosttags") or "none"
    size = f"{offering.get('cpunumber')} CPU, {offering.get('memory')} MB"
    rows = [
        tick("zone", "Enabled", state, state == "Enabled", "The provider has closed the zone."),
        tick("template ready here", True, template.get("isready"), template.get("isready") is True,
             "Wait for it, or run 42-create-template again."),
        tick("hypervisor of the template", not_allowed("listHypervisors") if kinds is None else
             " or ".join(kinds), kind, None if kinds is None else kind in kinds,
             "No cluster of that hypervisor here: make the template in this zone."),
        tick("host tags of the offering", "none", tags, tags == "none",
             "Only hosts with that tag can take it: try an offering without."),
        tick("size of the offering", "free on one host", size, False,
             "An account cannot see this: try a smaller offering, or later."),
        *_error_events(cloud),
    ]  # fmt: skip
    return ticks(rows)


def _hypervisors(cloud: Cloud, zone_id: str) -> list[str] | None:
    """Return the hypervisors of a zone, None where this account may not ask for them."""
    rows = cloud.list_if_allowed("listHypervisors", zoneid=zone_id)
    return None if rows is None else [r["name"] for r in rows]


def _row(rows: list[dict], wanted_id: str) -> dict:
    return next((r for r in rows if str(r["id"]) == str(wanted_id)), {})


def _error_events(cloud: Cloud) -> list[dict]:
    """Return the newest errors among the events of deployments and starts, three at most."""
    kinds = ("VM.CREATE", "VM.START") if _starts_apart(cloud) else ("VM.CREATE",)
    found = [cloud.list_if_allowed("listEvents", type=kind) for kind in kinds]
    if None in found:
        return [tick("events", "no error", not_allowed("listEvents"), None)]
    rows = [e for rows in found for e in rows if e.get("level") == "ERROR"]
    newest = sorted(rows, key=lambda e: e.get("created", ""))[-3:]
    return [
        tick(f"event {e.get('created', '')}", "no error", e.get("description"), False)
        for e in newest
    ]
