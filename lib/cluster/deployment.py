"""Deployment: the steps that get a cluster's machines running, and how they are applied."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lib.cluster import booting, capacity, etcd, joining, placement
from lib.cluster.booting import DEPLOY, START, Boot, change_offering, clear_away, there_of
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
    placement.demand_possible(ours, how.place, missing, how.configured.addresses)
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
    come = adds + deploys if ours.cloud.deploys_started else deploys + adds
    return mends + registers + come + starts


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
    return params | ({} if cloud.deploys_started else {"startvm": False})


def _plan_start(ours: Ours, name: str, machine: dict | None) -> Step | None:
    if machine and machine["state"] == "Stopped":
        return Step(START, {"id": Id.of(machine)}, "it is stopped", name)
    if not ours.cloud.deploys_started and (not machine or machine["state"] == "Error"):
        what = Pending(f"machine {name}, deployed", "50-deploy-cluster")
        return Step(START, {"id": what}, "it is deployed stopped", name)
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
    return Step(DEPLOY, full, why, name, how.ours.tags_of(name), "UserVm")


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
    side, the etcd members first, while the rest is deployed; the rest is started once the discovery
    registry lists these, and with them where there is none. Where the text that configures them is
    for etcd 0.4 they are started one after the other, each once the last is listed: members that
    come at once find no leader. Raises CheckFailed when one is not listed in time.

    When no host takes a machine, a table explains that, and the machine gets the next of the
    offerings: a Stopped one changes it; one in Error is destroyed and deployed again. Raises the
    last error when no offering is left. What a deployment leaves in Error is destroyed, and the
    others are started; an error for a name that a destroyed machine still holds says how to
    continue.
    """
    check_mode(mode)
    ours, cloud, text = how.ours, how.ours.cloud, how.configured.text
    if mode == "plan" or not plan:
        apply_plan(cloud, plan, mode)
        return
    # Each "member add" is made right before its machine starts.
    later = {DEPLOY, "member add"} | ({START} if cloud.can_deploy_stopped else set())
    if mends := [s for s in plan if s.command not in later]:
        _mend(ours, mends, within)
    plan = placement.settled(ours, registered.settled(cloud, plan))
    first = DEPLOY if cloud.deploys_started else ""
    boots = [s for s in plan if s.command in later & {START, first}]
    deploys = [s for s in plan if s.command == DEPLOY != first]
    to_boot = Boot(ours, how.offerings_of, discovery.url_in(text), etcd.is_old(text), within)
    late, members, others = _in_order(how, to_boot, boots)
    rest = {s.what for s in others} if members and not to_boot.in_turn else set()
    failed = _deploy_stopped(ours, [s for s in deploys if s.what not in rest], within)
    if late and how.joins:
        joining.apply(how.joins, replace(to_boot, url=""), _with_ids(ours, late))
    if members:
        beside = [s for s in deploys if s.what in rest]
        failed_beside = _deploy_beside(to_boot, _with_ids(ours, members), beside)
        failed = failed or failed_beside
    if others:
        booting.wait_for_members(to_boot)
        booting.boot(to_boot, _with_ids(ours, others))
    if failed:
        raise _explained(ours, failed)


def _in_order(how: Deployment, to_boot: Boot, boots: list[Step]) -> tuple[list[Step], ...]:
    """Return the starts of members that join, of other members, and of the rest."""
    late = [s for s in boots if s.what in how.joining]
    boots = [s for s in boots if s.what not in how.joining]
    alike = not to_boot.url and not to_boot.in_turn and how.ours.cloud.deploys_started
    first = set(how.ours.names if alike else how.ours.members)
    return late, [s for s in boots if s.what in first], [s for s in boots if s.what not in first]


def _mend(ours: Ours, steps: list[Step], within: float) -> None:
    for name, error in attempt(ours.cloud, steps, "apply", within=within).items():
        if capacity.is_full(error):
            capacity.show_explained(ours.cloud, ours.zone_of(name), ours.machines()[name])
        raise error


def _deploy_stopped(ours: Ours, steps: list[Step], within: float) -> Failed | None:
    """Deploy machines stopped; after a failure destroy what is in Error, and return the failure."""
    failed = attempt(ours.cloud, steps, "apply", within=within) if steps else {}
    return _cleared(ours, steps, failed, within)


def _deploy_beside(how: Boot, members: list[Step], beside: list[Step]) -> Failed | None:
    """Start members while others are deployed, and return the first failure of these.

    What was not sent, since a member's start failed at first, is deployed afterwards.
    """
    try:
        errors = booting.boot(how, members, beside)
    except CloudError:
        clear_away(how.ours, beside, how.within)
        raise
    if failed := _cleared(how.ours, beside, errors, how.within):
        return failed
    there = there_of(how.ours, beside)
    return _deploy_stopped(how.ours, [s for s in beside if s.what not in there], how.within)


def _cleared(
    ours: Ours, steps: list[Step], failed: dict[str, CloudError], within: float
) -> Failed | None:
    """Destroy what failed deployments left in Error, and return the first failure."""
    if not failed:
        return None
    clear_away(ours, steps, within)
    name = next(iter(failed))
    return next(s for s in steps if s.what == name), first(failed, len(steps))


def _explained(ours: Ours, failed: Failed) -> CloudError:
    """Return the error of a deployment, which says how to continue."""
    step, error = failed
    return held.explained(ours, error, step.what, step.params.get("ipaddress", ""))


def _with_ids(ours: Ours, steps: list[Step]) -> list[Step]:
    """Return the steps with the ids of what is deployed by now, without those of what is not."""
    if not any(isinstance(s.params.get("id"), Pending) for s in steps):
        return steps
    there = there_of(ours, steps)
    start = [s for s in steps if s.command == DEPLOY or s.what in there]
    return [s if s.command == DEPLOY else replace(s, params={"id": Id.of(there[s.what])})
            for s in start]  # fmt: skip
