"""Service offerings: what a machine gets of one, also where that is left to be chosen.

An offering with `iscustomized` leaves open what its row does not tell: deployVirtualMachine is
given that as details, and refuses others (`UserVmManagerImpl.validateCustomParameters`).
"""

from lib.errors import CheckFailed

# parameter -> field of an offering's row, and what its detail is called
OPEN = {
    "cpu_number": ("cpunumber", "cpuNumber"),
    "cpu_speed": ("cpuspeed", "cpuSpeed"),
    "memory": ("memory", "memory"),
}


def faults(offering: dict, custom: dict[str, int]) -> list[str]:
    """Return what is wrong with the `custom` values, by parameter, for an offering; 0 is none."""
    found = []
    for name in _open(offering):
        least, most = _range(offering, OPEN[name][0])
        if not custom.get(name):
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


def params(offering: dict, custom: dict[str, int]) -> dict:
    """Return what gives a machine an offering: its id, and the details that it leaves open.

    Raises CheckFailed for values that the offering does not take.
    """
    if wrong := faults(offering, custom):
        what = f"the custom service offering {offering['name']}"
        raise CheckFailed(what, "cpu_number, cpu_speed and memory", "; ".join(wrong))
    details = {OPEN[name][1]: custom[name] for name in _open(offering)}
    return {"serviceofferingid": offering["id"]} | ({"details": [details]} if details else {})


def size(offering: dict, custom: dict[str, int]) -> tuple[int, int]:
    """Return how many CPUs and MiB of memory a machine gets."""
    cpus, memory = offering.get("cpunumber"), offering.get("memory")
    return cpus or custom["cpu_number"], memory or custom["memory"]
