"""Service offerings: what a machine gets of one, also where that is left to be chosen.

An offering with `iscustomized` leaves open what its row does not tell: deployVirtualMachine is
given that as details, and refuses others (`UserVmManagerImpl.validateCustomParameters`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lib.api import find
from lib.cloud import Cloud
from lib.errors import CheckFailed
from lib.roles import Role
from lib.steps import Id

# parameter -> field of an offering's row, and what its detail is called
OPEN = {
    "cpu_number": ("cpunumber", "cpuNumber"),
    "cpu_speed": ("cpuspeed", "cpuSpeed"),
    "memory": ("memory", "memory"),
}


@dataclass(frozen=True)
class Custom:
    """What a machine gets where its service offering leaves that open; 0 is not set."""

    cpu_number: int = 0
    cpu_speed: int = 0  # MHz
    memory: int = 0  # MiB

    def __getitem__(self, parameter: str) -> int:
        return getattr(self, parameter)


def faults(offering: dict, custom: Custom) -> list[str]:
    """Return what is wrong with the `custom` values for an offering, by parameter."""
    found = []
    for name in _open(offering):
        least, most = _range(offering, OPEN[name][0])
        if not custom[name]:
            found.append(f"{name} is not set")
        elif not least <= custom[name] <= most:
            found.append(f"{name} is {custom[name]}, and the offering takes {least:g} to {most:g}")
    return found


def _open(offering: dict) -> list[str]:
    """Return the parameters that an offering leaves to be chosen."""
    if not offering.get("iscustomized"):
        return []
    return [name for name, (field, _) in OPEN.items() if offering.get(field) is None]


def _range(offering: dict, field: str) -> tuple[float, float]:
    details = offering.get("serviceofferingdetails") or {}
    ends = (details.get(f"min{field}", 1), details.get(f"max{field}", "inf"))
    return float(ends[0]), float(ends[1])


@dataclass(frozen=True)
class Offering:
    """A service offering: its name, its id, and the parameters that give it to a machine."""

    name: str
    id: str
    params: dict

    def __str__(self) -> str:
        return self.name


def choose(cloud: Cloud, names: list[str], custom: Custom) -> list[Offering]:
    """Return the service offerings of these names or ids, each once, in this order.

    Raises CheckFailed for `custom` values that one of them does not take.
    """
    rows = cloud.list("listServiceOfferings")
    found = [find.pick(rows, "listServiceOfferings", name) for name in names]
    return [_offering(r, custom) for r in {r["id"]: r for r in found}.values()]


def by_role(
    cloud: Cloud, roles: Sequence[Role], fallback: list[str], custom: Custom
) -> dict[str, list[Offering]]:
    """Return what `choose` does for each role that has a service offering of its own."""
    own = {r.name: [r.service_offering, *fallback] for r in roles if r.service_offering}
    return {name: choose(cloud, names, custom) for name, names in own.items()}


def _offering(row: dict, custom: Custom) -> Offering:
    if wrong := faults(row, custom):
        what = f"the custom service offering {row['name']}"
        raise CheckFailed(what, "cpu_number, cpu_speed and memory", "; ".join(wrong))
    details = {OPEN[name][1]: custom[name] for name in _open(row)}
    params: dict = {"serviceofferingid": Id.of(row)} | ({"details": [details]} if details else {})
    return Offering(row["name"], str(row["id"]), params)


def size(offering: dict, custom: Custom) -> tuple[int, int]:
    """Return how many CPUs and MiB of memory a machine gets."""
    cpus, memory = offering.get("cpunumber"), offering.get("memory")
    return cpus or custom.cpu_number, memory or custom.memory
