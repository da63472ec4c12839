"""What is to be run: the stages and values that the arguments of a command give."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from lib.commands.options import FORCE, NOTEBOOKS, REASON, RUNS, SIGN, TIMEOUT, option

# What the stages import; a kernel that is started early has it all before its stage begins.
PRELOAD = [
    "pandas.io.formats.style",
    "requests",
    "yaml",
    "lib.lab.kernel",
    "lib.plan",
    "lib.workstation.shell",
]


PATIENCE = 10  # seconds for an answer at the end of a run
DEPLOYS, REMOVES = 50, 90  # the stages that make a cluster of the template, and remove all


@dataclass(frozen=True)
class Order:
    """The stages to run, with which values, and how; `how` are further fields of `chain.run`.

    `name` is that of the run's folder, "" for one of the time and the cluster.
    """

    stages: Sequence
    table: dict
    values: dict
    runs: Path
    how: dict
    name: str = ""

    @property
    def is_plan(self) -> bool:
        """Return whether the run would only look."""
        return "mode" in self.values and self.values["mode"].value == "plan"

    @property
    def is_on_copy(self) -> bool:
        """Return whether the run is one of `rehearse`, on a copy of its cloud."""
        return "profile" in self.values and self.values["profile"].origin == "rehearsal"

    @property
    def is_rehearsal(self) -> bool:
        """Return whether the run is at the local cloud, or at none."""
        profile = str(self.values["profile"].value) if "profile" in self.values else "local"
        return profile.partition("?")[0] == "local"

    def with_mode(self, mode: str, **how: object) -> "Order":
        """Return the same order in another mode."""
        value = replace(self.values["mode"], value=mode)
        return replace(self, values=self.values | {"mode": value}, how=self.how | how)


def chooses(function: Callable) -> Callable:
    """Give a command the arguments that choose stages and values."""
    given = [
        click.argument("files", nargs=-1, metavar="[FILE]..."),
        option("-p given", "NAME=VALUE", "Set one parameter; wins over all files.", multiple=True),
        option("--stages numbers", "LIST", "As 10-42 or 10,20,50-60; else all below 70."),
        *(TIMEOUT, REASON, SIGN, FORCE, NOTEBOOKS, RUNS),
    ]
    for decorate in reversed(given):
        function = decorate(function)
    return function


def chosen(
    cell_timeout: int | None, reason: str | None, sign: Path | None, force: str | None
) -> dict:
    """Return how a run is to be carried out, as `run` and `resume` take it."""
    from lib import profiles

    how = {"cell_timeout": cell_timeout, "reason": reason or "", "key": sign}
    how |= {"force": force or "", "preload": PRELOAD, "at_end": take_tag_off}
    return how | {"secrets": profiles.kept()}


def take_tag_off(work: Any) -> None:
    """Take the tag of a run off its cluster, where one was put on; print why it stays there."""
    from lib import profiles, underway
    from lib.cloud import Cloud
    from lib.errors import RunbookError, plain

    if not underway.is_marked(work.folder):
        return
    held = {name: str(work.values[name].value) for name in ("profile", "project")}
    try:
        profile = replace(profiles.read(held["profile"]), deadline=PATIENCE)
        left = underway.end(Cloud(profile, held["project"], folder=work.folder))
    except RunbookError as error:
        left = f"The tag of this run is still at the cloud. {error}"
    if left:
        print(plain(left))


def claim_of(stages: Sequence, values: dict, force: str) -> Any:
    """Return what a run of the stages changes; None where notebooks name no cluster.

    The volume belongs to it only as long as a stage works on that: clusters may share a template.
    Raises `BadInput` for a profile that cannot be used, and AtWork while another run changes it.
    """
    from lib import profiles
    from lib.errors import AtWork, ProfileError
    from lib.record import locks
    from lib.record.faults import BadInput

    held = {name: str(value.value) for name, value in values.items()}
    if "profile" not in held:
        return None
    try:
        endpoint = profiles.read(held["profile"]).endpoint
        if "cluster_name" not in held:
            return None
        has_disk = held.get("template_from", "disk") == "disk"
        is_on_volume = has_disk and any(s.number < DEPLOYS or s.number == REMOVES for s in stages)
        volume = held.get("volume_name", "") if is_on_volume else ""
        claim = locks.Claim(endpoint, held.get("project", ""), held["cluster_name"], volume)
        if held.get("mode") != "plan" and not force:
            locks.demand_free(claim)
    except ProfileError as wrong:
        raise BadInput([f"profile: {wrong}"]) from None
    except AtWork as busy:
        raise AtWork(f"{busy}{locks.FORCE}") from None
    return claim


def order_of(
    files: Sequence[str],
    given: Sequence[str],
    numbers: str | None,
    notebooks: Path,
    runs: Path,
    **how: Any,
) -> Order:
    """Return the order that the arguments give; raise `BadInput` for faulty ones."""
    from lib import profiles
    from lib.chain import params, stages, values

    found = stages.choose(stages.find(notebooks), numbers)
    table = params.gather(notebooks)
    merged = values.load(table, files, given, profiles.kept())
    return Order(found, table, merged, runs, chosen(**how))
