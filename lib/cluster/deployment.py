"""Deployment: the steps that get a cluster's machines running, and how they are applied."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lib.cluster import booting, capacity, etcd, joining, placement
from lib.cluster.booting import Boot, change_offering, clear_away, there_of
from lib.cluster.joining import Joins
from lib.cluster.placement import Placement
from lib.config import Written, discovery, registered
from lib.config.userdata import UserData
from lib.errors import CheckFailed, CloudError
from lib.machines import plan_destroy, stem_of
from lib.ours import Ours, is_neutral
from lib.plan import apply as apply_plan
from lib.plan import attempt, check_mode, first
from lib.resources import held
from lib.steps import Id, Pending, Step
from lib.survey.offerings import Offering

GivenData = dict[str, UserData] | Pending | None
Failed = tuple[Step, CloudError]


@dataclass(frozen=True)
class Deployment:
    """How the machines of a cluster are deployed.

    A machine gets the first of the service `offerings`, or that of its role; one that is Stopped
    keeps any of them.
    An etcd member gets its address if the text `configured` fixes some. `user_data` are for all
    machines under the cluster's name, or for each under its own. Members that join an etcd that
    runs are in `joins`.
    """

    ours: Ours
    offerings: list[Offering]
    configured: Written
    user_data: GivenData = None
    place: Placement = field(default_factory=Placement)
    group: str = ""
    joins: Joins | None = None
    by_role: Mapping[str, list[Offering]] = field(default_factory=dict)

    def offerings_of(self, machine: str) -> list[Offering]:
        """Return the service offerings to try for a machine, by its role."""
        role = self.ours.role_of(machine)
        return self.by_role.get(role.name if role else "", self.offerings)

    @property
    def joining(self) -> dict[str, str]:
        """The addresses of the members that join an etcd that runs, by name."""
        return self.joins.new if self.joins else {}


def plan(how: Deployment) -> list[Step]:
    """Return the steps to running machines, and those that clear away what is in Error.

    User data are registered where the cloud can do that. Raises CheckFailed when a machine of the
    name was deployed from another template, or in a zone that is not named, and when both the
    template and the user data hold a token, or neither does.
    """
    ours, sources = how.ours, {p.zone: p.template() for p in how.ours.places}
    for source in sources.values():
        _demand_one_token(source, how.user_data)
    there, names = ours.machines(), ours.names
    missing = [n for n in names if n not in there or there[n]["state"] == "Error"]
    placement.demand_possible(ours, missing, how.configured.addresses)
    mends = [s for n, m in there.items() for s in _plan_mend(how, m, sources[ours.zone_of(n)])]
    registers, given = _plan_user_data(how, missing)
    registers += placement.plan_group(ours, how.place) if missing else []
    params = {p.zone: _params(how, p, sources[p.zone]) for p in ours.places}
    fixed = dict(zip(ours.members, how.configured.addresses, strict=False)) | how.joining
    given = {n: g | ({"ipaddress": fixed[n]} if n in fixed else {}) for n, g in given.items()}
    deploys = [_deploy(how, n, params[ours.zone_of(n)] | given[n]) for n in missing]
    starts = [s for n in names if (s := _plan_start(ours, n, there.get(n)))]
    boots = {s.what for s in deploys + starts}
    adds = [s for s in joining.plan(how.joins) if s.what in boots] if how.joins else []
    return mends + registers + deploys + adds + starts


def _params(how: Deployment, ours: Ours, source: dict | None) -> dict:
    """Return the parameters of deployVirtualMachine that all machines of a zone share."""
    cloud = ours.cloud
    stage = "42-create-template" if ours.needs_disk else "43-register-template"
    pending = Pending(f"template {ours.template_name}, ready in {ours.zone}", stage)
    params = {
        "zoneid": ours.zone_id,
        "templateid": Id.of(source) if source and source.get("isready") else pending,
        **placement.params(ours, how.place),
    }
    params |= {"group": how.group} if how.group else {}
    return params | ({"startvm": False} if cloud.can_deploy_stopped else {})


def _plan_start(ours: Ours, name: str, machine: dict | None) -> Step | None:
    if machine and machine["state"] == "Stopped":
        return Step("startVirtualMachine", {"id": Id.of(machine)}, "it is stopped", name)
    if ours.cloud.can_deploy_stopped and (not machine or machine["state"] == "Error"):
        what = Pending(f"machine {name}, deployed", "50-deploy-cluster")
        return Step("startVirtualMachine", {"id": what}, "it is deployed stopped", name)
    return None


def _plan_user_data(how: Deployment, missing: list[str]) -> tuple[list[Step], dict[str, dict]]:
    """Return the steps that register user data, and the parameters of each missing machine."""
    data, cloud = how.user_data, how.ours.cloud
    if not isinstance(data, dict):
        return [], {n: {"userdata": data} if data else {} for n in missing}
    cluster = how.ours.cluster_name
    of = {n: n if n in data else stem_of(n) for n in missing}
    if not missing or not cloud.may_register:
        return [], {n: {"userdata": data[of[n]]} for n in missing}
    wanted = {n: data[n] for n in dict.fromkeys(of.values())}
    steps, ids = registered.plan_register(cloud, cluster, wanted, anew=bool(how.joining))
    return steps, {n: {"userdataid": ids[of[n]]} for n in missing}


def _demand_one_token(source: dict | None, user_data: GivenData) -> None:
    if not source or not source.get("tags") or is_neutral(source) == bool(user_data):
        return
    kinds = 'neutral (config_delivery "userdata")', 'with a token (config_delivery "disk")'
    wanted, found = kinds if user_data else kinds[::-1]
    next_step = "Set config_delivery to what the template is made for, or choose another one."
    raise CheckFailed(f"the template {source['name']}", wanted, f"one {found}", next_step)


def _deploy(how: Deployment, name: str, params: dict) -> Step:
    full = how.offerings_of(name)[0].params | params | {"name": name, "displayname": name}
    why = f"there is no machine {name}; from {how.ours.template_name}"
    return Step("deployVirtualMachine", full, why, name, how.ours.tags_of(name), "UserVm")


def _plan_mend(how: Deployment, machine: dict, source: dict | None) -> list[Step]:
    """Return what an existing machine needs: removal from Error, our tags, an offering."""
    name, cloud = machine["name"], how.ours.cloud
    if machine["state"] == "Error":
        return [plan_destroy(cloud, machine, "a failed deployment, to be cleared away")]
    if source and str(machine.get("templateid")) != str(source["id"]):
        raise CheckFailed(
            f"the template of machine {name}",
            source["name"],
            machine.get("templatename", "another"),
            "Choose another cluster_name, or remove that machine.",
        )
    offerings = how.offerings_of(name)
    tags = how.ours.plan_tags(machine, "UserVm", **how.ours.tags_of(name))
    ids = [o.id for o in offerings]
    stays = machine["state"] != "Stopped" or str(machine["serviceofferingid"]) in ids
    if stays or not cloud.can_deploy_stopped:
        return tags
    why = f"it is stopped and has {machine.get('serviceofferingname', 'another offering')}"
    first = offerings[0]
    return [*tags, change_offering(machine, first, f"{why}, not {first}")]


def apply(how: Deployment, plan: list[Step], mode: str, *, within: float) -> None:
    """Carry out a plan: mend what is there, deploy what is missing, start it.

    Members that join a cluster that runs come first, one by one. The others are started side by
    side, the etcd members first: the rest once the discovery registry lists these. Where the text
    that configures them is for etcd 0.4 they are started one after the other, each once the last
    is listed: members that come at once find no leader. Raises CheckFailed when one is not listed
    in time.

    When no host takes a machine, a table explains that, and the machine gets the next of the
    offerings: a Stopped one changes it; on 2.2, where it is in Error, it is destroyed and deployed
    again. Raises the last error when no offering is left. What a deployment leaves in Error is
    destroyed, and the others are started; an error for a name that a destroyed machine still holds
    says how to continue.
    """
    check_mode(mode)
    cloud, text = how.ours.cloud, how.configured.text
    if mode == "plan" or not plan:
        apply_plan(cloud, plan, mode)
        return
    booted = "startVirtualMachine" if cloud.can_deploy_stopped else "deployVirtualMachine"
    boots = [s for s in plan if s.command == booted]
    deploys = [s for s in plan if s.command == "deployVirtualMachine" != booted]
    # Each "member add" is made right before its machine starts.
    later = (booted, "deployVirtualMachine", "member add")
    if mends := [s for s in plan if s.command not in later]:
        _mend(how.ours, mends, within)
    failed = None
    if deploys:
        deploys = placement.settled(how.ours, registered.settled(cloud, deploys))
        failed = _deploy_stopped(how.ours, deploys, within)
        there = there_of(how.ours, boots)
        boots = [_with_id(s, there[s.what]) for s in boots if s.what in there]
    late = [s for s in boots if s.what in how.joining]
    url = discovery.url_in(text)
    to_boot = Boot(how.ours, how.offerings_of, url, etcd.is_old(text), within)
    if late and how.joins:
        joining.apply(how.joins, replace(to_boot, url=""), late)
    if boots := [s for s in boots if s not in late]:
        booting.boot_all(to_boot, boots)
    if failed:
        raise _explained(how.ours, failed)


def _mend(ours: Ours, steps: list[Step], within: float) -> None:
    for name, error in attempt(ours.cloud, steps, "apply", within=within).items():
        if capacity.is_full(error):
            capacity.show_explained(ours.cloud, ours.zone_of(name), ours.machines()[name])
        raise error


def _deploy_stopped(ours: Ours, steps: list[Step], within: float) -> Failed | None:
    """Deploy machines stopped; after a failure destroy what is in Error, and return the failure."""
    failed = attempt(ours.cloud, steps, "apply", within=within)
    if not failed:
        return None
    clear_away(ours, steps, within)
    name = next(iter(failed))
    return next(s for s in steps if s.what == name), first(failed, len(steps))


def _explained(ours: Ours, failed: Failed) -> CloudError:
    """Return the error of a deployment, which says how to continue."""
    step, error = failed
    return held.explained(ours, error, step.what, step.params.get("ipaddress", ""))


def _with_id(step: Step, machine: dict) -> Step:
    """Return a step with the id of the machine that is deployed by now."""
    return replace(step, params={"id": Id.of(machine)})
