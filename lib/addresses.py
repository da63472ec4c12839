"""Fixed addresses: the machines of a cluster know each other from the start, without discovery.

Each etcd is called by its own address, so that one configuration serves all machines.
"""

import ipaddress
import re
from collections.abc import Sequence
from itertools import islice

from lib import find, held, own
from lib.discovery import STATIC
from lib.errors import CheckFailed, NotOne, ParamsError

PEER_PORT = 2380
ANEW = (
    "What was configured holds these addresses: free them, or run 90-remove-cluster and begin "
    "anew with others."
)


def address_of(machine: dict) -> str:
    """Return the address of a machine's default nic, "" if it has none.

    The order of a machine's nics promises nothing; `isdefault` marks the one that counts.
    """
    nics = machine.get("nic") or [{}]
    nic = next((n for n in nics if n.get("isdefault")), nics[0])
    return nic.get("ipaddress") or ""


def arguments(addresses: Sequence[str], cluster: str) -> str:
    """Return etcd's arguments for members at these addresses.

    >>> print(arguments(["10.1.0.7", "10.1.0.8"], "core"))
    --name=${ETCD_IP} --initial-cluster-state=new --initial-cluster-token=core \\
      --initial-cluster=10.1.0.7=http://10.1.0.7:2380,10.1.0.8=http://10.1.0.8:2380
    """
    members = ",".join(f"{a}=http://{a}:{PEER_PORT}" for a in addresses)
    first = f"--name=${{ETCD_IP}} --initial-cluster-state=new --initial-cluster-token={cluster}"
    return f"{first} \\\n  --initial-cluster={members}"


def fixed_in(text: str) -> list[str]:
    """Return the addresses that a configuration fixes, in the order of the machines; [] if none.

    >>> fixed_in(arguments(["10.1.0.7", "10.1.0.8"], "core"))
    ['10.1.0.7', '10.1.0.8']
    """
    found = re.search(r"--initial-cluster=([^\s\"'\\]+)", text)
    return [member.partition("=")[0] for member in found[1].split(",")] if found else []


def choose(
    cloud,
    *,
    discovery: str,
    zone: str,
    network: str,
    size: int,
    wanted: Sequence[str],
    kept: Sequence[str] = (),
) -> list[str]:
    """Return the addresses of `size` machines, [] unless `discovery` is "static".

    The `wanted` ones, else those `kept` from an earlier run, else the last that are free in the
    network. Raises ParamsError for wanted ones that cannot be, and CheckFailed when free ones
    cannot be told.
    """
    if discovery != STATIC:
        if wanted:
            raise ParamsError("fixed_addresses", '[] unless discovery is "static"', list(wanted))
        return []
    if wanted:
        return _demand_possible(list(map(str, wanted)), size, _network(cloud, zone, network))
    return list(kept) or _free(cloud, _network(cloud, zone, network), size)


def _demand_possible(wanted: list[str], size: int, network: dict) -> list[str]:
    if len(set(wanted)) != size:
        raise ParamsError("fixed_addresses", f"{size} different ones, one a machine", wanted)
    inside = ipaddress.ip_network(network.get("cidr") or "0.0.0.0/0")
    for address in wanted:
        try:
            fits = ipaddress.ip_address(address) in inside
        except ValueError:
            fits = False
        if not fits or address == network.get("gateway"):
            raise ParamsError("fixed_addresses", f"addresses of machines in {inside}", address)
    return wanted


def _network(cloud, zone: str, network: str) -> dict:
    """Return the named network; for "" the only one that there is."""
    place = {"zoneid": find.zone_id(cloud, zone)}
    if network:
        return find.one(cloud, "listNetworks", network, **place)
    rows = cloud.list("listNetworks", **place)
    if len(rows) != 1:
        names = [r["name"] for r in rows]
        raise NotOne(
            "network", f'zone {zone}: name it in `network`, as discovery is "static"', names
        )
    return rows[0]


def _free(cloud, network: dict, size: int) -> list[str]:
    """Return the last free addresses of a network, as far as this account sees who has which."""
    if not network.get("cidr"):
        raise CheckFailed(
            f"the addresses of network {network['name']}", "a cidr", "none", "Set fixed_addresses."
        )
    taken = set(_holders(cloud)) | held.addresses(cloud) | {network.get("gateway")}
    net = ipaddress.ip_network(network["cidr"])
    last_first = (str(net[-n]) for n in range(2, net.num_addresses))  # without listing a whole /8
    free = list(islice((a for a in last_first if a not in taken), size))
    if len(free) < size:
        what = f"free addresses in {net}"
        raise CheckFailed(what, size, len(free), "Choose another `network`.")
    return free[::-1]


def _holders(cloud) -> dict[str, str]:
    """Return which machine has each address."""
    rows = cloud.list("listVirtualMachines")
    return {n["ipaddress"]: r["name"] for r in rows for n in r.get("nic", []) if n.get("ipaddress")}


def demand_free(cloud, *, zone: str, names: list[str], addresses: Sequence[str]) -> None:
    """Raise CheckFailed unless each address is its machine's already, or nobody's."""
    if not addresses:
        return
    if len(addresses) != len(names):
        what = "addresses that the configuration fixes"
        raise CheckFailed(what, f"{len(names)}, the cluster_size", len(addresses), ANEW)
    holders, there = _holders(cloud), own.machines(cloud, zone, names)
    for name, address in zip(names, addresses, strict=True):
        holder = holders.get(address, name)
        if holder != name:
            raise CheckFailed(f"who has {address}, meant for {name}", "nobody", holder, ANEW)
        had = address_of(there.get(name, {}))
        if had not in ("", address) and there[name]["state"] != "Error":
            raise CheckFailed(f"the address of {name}", address, had, ANEW)
    if late := ", ".join(a for a in addresses if a in held.addresses(cloud)):
        return print(f"! {late} may still be held by machines that were destroyed. {ANEW}")
    print(f"✓ nobody else has the fixed addresses: {', '.join(addresses)}")
