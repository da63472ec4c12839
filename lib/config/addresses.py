"""Bootstrap: the machines of a cluster find each other by a token, or know fixed addresses."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from lib.cloud import Cloud
from lib.config.discovery import STATIC
from lib.errors import CheckFailed, NotOne, ParamsError
from lib.machines import address_of
from lib.ours import Ours
from lib.survey import held

HELD = (
    "The configuration holds these addresses: free them. If no machine of the cluster runs yet, "
    "90-remove-cluster clears the way for others."
)


@dataclass(frozen=True)
class Bootstrap:
    """How the etcds of a new cluster find each other.

    By a token for `size` members from a service (its base URL), or by fixed `addresses`. With
    `others` more machines may come, which are no members.
    """

    cluster: str
    size: int
    service: str
    addresses: tuple[str, ...] = ()
    others: bool = False


def bootstrap(ours: Ours, service: str, addresses: tuple[str, ...] = ()) -> Bootstrap:
    """Return how the etcd members of a cluster find each other."""
    size = len(ours.members)
    return Bootstrap(ours.cluster_name, size, service, addresses, ours.etcd_members > 0)


def fixed_in(text: str) -> tuple[str, ...]:
    """Return the addresses that a configuration fixes, in the order of the machines; () if none.

    >>> fixed_in("--initial-cluster=10.1.0.7=http://10.1.0.7:2380,10.1.0.8=http://10.1.0.8:2380")
    ('10.1.0.7', '10.1.0.8')
    """
    found = re.search(r"--initial-cluster=([^\s\"'\\]+)", text)
    return tuple(member.partition("=")[0] for member in found[1].split(",")) if found else ()


def settle(
    cloud: Cloud,
    bootstrap: Bootstrap,
    zone: str,
    network: str,
    wanted: Sequence[str],
    kept: Sequence[str] = (),
) -> Bootstrap:
    """Return the bootstrap with the addresses of its machines, as it is where a service is used.

    The `wanted` ones, else those `kept` from an earlier run, else the last that are free in the
    network. Raises ParamsError for addresses that cannot be, and CheckFailed where the network
    has too few, or does not say which are free.
    """
    if bootstrap.service != STATIC:
        if wanted:
            text = 'only discovery "static" fixes addresses: leave it [], or set discovery'
            raise ParamsError("fixed_addresses", text=text)
        return bootstrap
    if wanted:
        place = _network(cloud, zone, network)
        found = _demand_possible(list(map(str, wanted)), bootstrap.size, place)
    else:
        found = kept or _free(cloud, _network(cloud, zone, network), bootstrap.size)
    return replace(bootstrap, addresses=tuple(found))


def _demand_possible(wanted: list[str], size: int, network: dict) -> list[str]:
    if len(set(wanted)) != size:
        raise ParamsError("fixed_addresses", f"{size} different ones, one for each machine", wanted)
    inside = ipaddress.ip_network(network.get("cidr") or "0.0.0.0/0", strict=False)
    for address in wanted:
        try:
            fits = ipaddress.ip_address(address) in inside
        except ValueError:
            fits = False
        if not fits or address == network.get("gateway"):
            raise ParamsError("fixed_addresses", f"addresses of machines in {inside}", address)
    return wanted


def _network(cloud: Cloud, zone: str, network: str) -> dict:
    """Return the named network; for "" the only one that there is."""
    place = {"zoneid": cloud.zone_id(zone)}
    if network:
        return cloud.one("listNetworks", network, **place)
    rows = cloud.list("listNetworks", **place)
    if len(rows) != 1:
        names = [r["name"] for r in rows]
        raise NotOne(
            "network", f'zone {zone}: name it in `network`, as discovery is "static"', names
        )
    return rows[0]


def _free(cloud: Cloud, network: dict, size: int) -> list[str]:
    """Return the last free addresses of a network, as far as this account sees who has which."""
    if not network.get("cidr"):
        what = f"network {network['name']} has no CIDR, so no free addresses can be chosen in it"
        raise CheckFailed(what, next_step="Set fixed_addresses.")
    taken = set(_holders(cloud)) | held.addresses(cloud) | {network.get("gateway")}
    net = ipaddress.ip_network(network["cidr"], strict=False)
    last_first = (str(net[-n]) for n in range(2, net.num_addresses))  # without listing a whole /8
    free = list(islice((a for a in last_first if a not in taken), size))
    if len(free) < size:
        what = f"free addresses in {net}"
        raise CheckFailed(what, size, len(free), "Choose another `network`.")
    return free[::-1]


def _holders(cloud: Cloud) -> dict[str, str]:
    """Return which machine has each address."""
    rows = cloud.list("listVirtualMachines")
    return {n["ipaddress"]: r["name"] for r in rows for n in r.get("nic", []) if n.get("ipaddress")}


def demand_free(ours: Ours, addresses: Sequence[str]) -> None:
    """Raise CheckFailed unless each address is its member's already, or nobody's."""
    if not addresses:
        return
    cloud, names = ours.cloud, ours.members
    if len(addresses) != len(names):
        what = "addresses that the configuration fixes"
        raise CheckFailed(what, f"{len(names)}, one for each etcd member", len(addresses), HELD)
    holders, there = _holders(cloud), ours.machines()
    for name, address in zip(names, addresses, strict=True):
        holder = holders.get(address, name)
        if holder != name:
            what = f"{address} is meant for {name}, but the machine {holder} has it"
            raise CheckFailed(what, next_step=HELD)
        had = address_of(there.get(name, {}))
        if had not in ("", address) and there[name]["state"] != "Error":
            raise CheckFailed(f"the address of {name}", address, had, HELD)
    if late := ", ".join(a for a in addresses if a in held.addresses(cloud)):
        return print(f"! {late} may still be held by machines that were destroyed. {HELD}")
    print(f"✓ nobody else has the fixed addresses: {', '.join(addresses)}")
