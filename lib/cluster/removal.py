"""Removal: everything that carries a cluster's names and tags, in order of dependence."""

import shlex
from collections.abc import Callable

import pandas as pd

from lib.checks import Tick, asked
from lib.cluster import etcd, left, placement, published
from lib.config import registered
from lib.errors import CheckFailed, ParamsError
from lib.install import detached
from lib.machines import plan_destroy
from lib.ours import Ours
from lib.plan import apply
from lib.resources import snapshots, templates, volumes
from lib.steps import Step
from lib.workstation import files, notes
from lib.workstation.shell import Shell, find_text, run

KEEPABLE = ("template", "snapshot", "volume")
GONE = ("Destroyed", "Expunging")
KEEP = (
    "Nothing was removed. Set keep: [template], or remove the clusters of these machines first; "
    "if they are of this one, name their zones in `zones`."
)
ONLY_VOLUME = (
    "the next run stops at 11 or 30: the disk has CoreOS on it, and the notes on that go with the "
    "template. Keep the template, too, or give the next run another volume_name."
)
LOWER = (
    "Set the role's count to what is to be left, and run 80-remove-machines: it takes them out of "
    "etcd before. Nothing was removed."
)
WAIT = "Wait for its end (30-install-coreos shows it), then run this stage again."


def check_keep(keep: list[str]) -> list[str]:
    """Return what to keep; raise ParamsError for a word that is none of KEEPABLE."""
    unknown = [k for k in keep if k not in KEEPABLE]
    if unknown:
        raise ParamsError("keep", f"a list of {', '.join(KEEPABLE)}", unknown[0])
    if "volume" in keep and "template" not in keep:
        print(f"! keep: {keep}: {ONLY_VOLUME}")
    return keep


def rows(keep: list[str]) -> list[Tick]:
    """Return a row on what is to be kept, none where nothing is."""
    return asked("keep", check_keep, keep)


def demand_idle(shell: Shell, work_dir: str) -> None:
    """Raise CheckFailed while an installer runs: it would write on all the same."""
    if detached.is_running(shell, notes.job(work_dir)):
        began = (notes.find(shell, work_dir) or {}).get("installing") or {}
        found = f"{began.get('installer', 'one')} on {began.get('device', 'a disk')}"
        raise CheckFailed("installers at work on the workstation", "none", found, WAIT)


def demand_role(ours: Ours, role: str, text: str) -> None:
    """Raise CheckFailed for a role that may have members of etcd; `text` configures the machines.

    Raises ParamsError where there is no such role.
    """
    ours.names_of(role)
    if not role:
        return
    if role == ours.roles[0].name or etcd.is_old(text):
        who = "the first role" if role == ours.roles[0].name else "etcd of 2014, of any role"
        raise CheckFailed(f"members of etcd in the role {role}", "none", f"those of {who}", LOWER)


def plan_machines(ours: Ours, role: str = "") -> list[Step]:
    """Return the steps that destroy the cluster's machines, or a role's, however many there are.

    On servers with tags they are known by these; on others by the names `cluster-<number>`.
    """
    mine = ours.of_ours(left.wherever(ours)) + left.leavers(ours)
    known = ours.own(mine)
    mine = [r for r in mine if r in known or r["state"] == "Error"]
    gone = ("Expunging", "Expunged") + (() if ours.cloud.may_expunge else ("Destroyed",))
    there = [m for m in mine if m["state"] not in gone and (not role or _is_of(ours, m, role))]
    return [plan_destroy(ours.cloud, m, "made by this runbook") for m in there]


def _is_of(ours: Ours, machine: dict, role: str) -> bool:
    found = ours.role_of(machine["name"])
    return found is not None and found.name == role


def plan_first(ours: Ours, role: str = "") -> list[Step]:
    """Return the first steps: give public addresses back, destroy the machines, detach the disk.

    Of a role only its machines go.
    """
    if role:
        return plan_machines(ours, role)
    public = published.plan_removal(ours)
    return public + plan_machines(ours) + volumes.plan_release(ours)


def plan_then(ours: Ours, keep: list[str], role: str = "") -> list[Step]:
    """Return the steps that delete template, snapshots and volume, except for what is kept.

    Of a role all of it stays.

    They are in the order in which they depend on each other: deleting a snapshot fails at times
    while its volume is being deleted (530 "Failed to delete snapshot chain.", CloudStack 4.22).
    Raises CheckFailed when machines of another cluster use the template.
    """
    if role:
        return []
    steps = {
        "template": templates.plan_removal(ours),
        "snapshot": snapshots.plan_removal(ours),
        "volume": volumes.plan_removal(ours),
    }
    rest = [s for kind, found in steps.items() if kind not in keep for s in found]
    _demand_unused(ours, rest)
    groups = placement.plan_removal(ours)
    return registered.plan_removal(ours.cloud, cluster=ours.cluster_name) + groups + rest


def apply_then(ours: Ours, steps: list[Step], mode: str, *, within: float) -> None:
    """Apply the steps of `plan_then` one after the other.

    Looks again for other machines of the template, as it is deleted by force.
    """
    if mode == "apply":
        _demand_unused(ours, steps)
    apply(ours.cloud, steps, mode, at_once=1, within=within)


def _demand_unused(ours: Ours, steps: list[Step]) -> None:
    """Raise CheckFailed when other machines were deployed from a template that is to be deleted.

    Destroyed machines that are not expunged do not count, whoever's they were: the account does
    not see them, and they will be expunged.
    """
    ids = {str(s.params["id"]) for s in steps if s.command == "deleteTemplate"}
    if not ids:
        return
    own = {str(s.params["id"]) for s in plan_machines(ours)}
    rows = ours.cloud.list("listVirtualMachines")
    there = [r for r in rows if str(r["id"]) not in own and r["state"] not in GONE]
    if users := [r["name"] for r in there if str(r.get("templateid")) in ids]:
        raise CheckFailed("other machines of the template", "none", ", ".join(users), KEEP)


def inventory(ours: Ours) -> pd.DataFrame:
    """Return a table of what there is of the cluster: kind, name, state, id."""
    wanted = {str(s.params["id"]) for s in plan_machines(ours)}
    machines = [r for r in ours.cloud.list("listVirtualMachines") if str(r["id"]) in wanted]
    disk = ours.volume()
    image = None if ours.template_from == "existing" else ours.template()
    images = ours.own([image]) if image else []
    data = registered.rows_of(ours.cloud, ours.cluster_name)
    rows = [("machine", r["name"], r["state"], r["id"]) for r in machines]
    rows += [("user data", r["name"], "registered", r["id"]) for r in data]
    rows += [("public address", r["ipaddress"], r["state"], r["id"])
             for r in published.addresses(ours)]  # fmt: skip
    rows += [("affinity group", g["name"], g["type"], g["id"]) for g in placement.groups(ours)]
    rows += [("template", r["name"], _readiness(r), r["id"]) for r in images]
    rows += [("snapshot", r["name"], r["state"], r["id"]) for r in ours.snapshots(disk)]
    rows += [("volume", r["name"], r["state"], r["id"]) for r in [disk] if r]
    return pd.DataFrame(rows, columns=["kind", "name", "state", "id"]).astype("str")


def _readiness(template: dict) -> str:
    return "ready" if template.get("isready") else str(template.get("status", "not ready"))


def clear_notes(
    shell: Shell, work_dir: str, cluster: str, keep: list[str], mode: str, role: str = ""
) -> None:
    """Delete the cloud-config with its spent token, and the notes, from the workstation.

    The configuration that a kept template carries stays; user data go, so that the next run asks
    for a token. What another cluster has noted stays, too.
    Raises CheckFailed while an installer runs.
    """
    if mode == "plan" or role:
        return
    demand_idle(shell, work_dir)
    if (other := notes.cluster(notes.find(shell, work_dir) or {})) not in ("", cluster):
        return print(f"kept {work_dir}: it holds the configuration of {other}")
    files.settle_files(shell, files.workstation(shell))
    if "template" not in keep:
        return _delete(shell, work_dir, notes.clear, work_dir)
    where = f"{work_dir}/{notes.CONFIGS[-1]}"
    if find_text(shell, where) is None:
        return print(f"kept {work_dir}: the template kept carries that token, now used up")
    _delete(shell, where, notes.clear_user_data, work_dir)
    print(f"kept {work_dir}, but for the user data with the token, now used up")


def _delete(shell: Shell, where: str, clear: Callable[[Shell, str], None], work_dir: str) -> None:
    """Delete by `clear` what is there, and record that."""
    if run(shell, f"[ -e {shlex.quote(where)} ]", ok=(0, 1)).rc:
        return
    at, what = files.workstation(shell), f"{where} on {shell.name}"
    with files.journalled(at, "delete", what, {"file": where}):
        clear(shell, work_dir)
