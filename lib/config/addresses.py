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
from lib.resources import held

HELD = (
    "The configuration holds these addresses: free them. If no machine of the cluster runs yet, "
    "90-remove-cluster clears the way for others."
)
# What a unit of the templates tells etcd of its members, and the proxies of the members.
LIST = re.compile(r"--initial-cluster=[^\s\"'\\]+")
PROXIES = re.compile(r"(case \\?\",)[\d.,]+(,\\?\" in)")
TOKEN = re.compile(r"--name=%m --discovery=[^\s\"'\\]+ --discovery-fallback=\w+")
STATE_NEW, STATE_EXISTING = "--initial-cluster-state=new", "--initial-cluster-state=existing"


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


def listing(text: str, addresses: Sequence[str]) -> str:
    """Return a configuration that fixes addresses with these in their place.

    >>> listing("--initial-cluster=a=http://a:2380", ["b"])
    '--initial-cluster=b=http://b:2380'
    """
    cluster = ",".join(f"{a}=http://{a}:2380" for a in addresses)
    text = LIST.sub(f"--initial-cluster={cluster}", text)
    return PROXIES.sub(lambda m: f"{m[1]}{','.join(addresses)}{m[2]}", text)


def joining(text: str, addresses: Sequence[str]) -> str:
    """Return the configuration of an etcd that joins a cluster whose members are at `addresses`.

    Its own address is among them; each member counts as called by its address, as etcd compares
    their URLs (`membership.ValidateClusterAndAssignIDs`). Raises CheckFailed for a text in which
    etcd is not started as this runbook does it.

    >>> joining("--name=%m --discovery=http://d/1 --discovery-fallback=exit", ["b"])
    '--name=${ETCD_IP} --initial-cluster-state=existing --initial-cluster=b=http://b:2380'
    """
    text = TOKEN.sub("--name=${ETCD_IP} --initial-cluster-state=new --initial-cluster=x", text)
    if not LIST.search(text) or STATE_NEW not in text:
        what = "the configuration does not start etcd as this runbook writes it"
        raise CheckFailed(what, next_step="Without its flags a machine cannot join. Run 20 again.")
    return listing(text.replace(STATE_NEW, STATE_EXISTING), addresses)


def as_first_started(text: str, own: str) -> str:
    """Return a cluster's configuration with the members that a machine's own text lists.

    etcd reads them at its first start only, so machines that came later have others there.
    """
    listed = fixed_in(own)
    if STATE_EXISTING in own and "etcd-member" in text:
        return joining(text, listed)
    return listing(text, listed) if listed else text


def kept(ours: Ours, written: Sequence[str]) -> list[str]:
    """Return the address that is written for each member, "" for those that need another one.

    These are new members, and one that is gone and whose address the cloud still holds, while
    others run.
    """
    there, late = ours.machines(), held.addresses(ours.cloud)
    runs = any(there[n]["state"] == "Running" for n in ours.members if n in there)
    found = dict(zip(ours.members, written, strict=False))
    lost = {n for n, a in found.items() if runs and n not in there and a in late}
    return ["" if n in lost else found.get(n, "") for n in ours.members] if written else []


def settle(
    cloud: Cloud,
    bootstrap: Bootstrap,
    zone: str,
    network: str,
    wanted: Sequence[str],
    kept: Sequence[str] = (),
) -> Bootstrap:
    """Return the bootstrap with the addresses of its machines, as it is where a service is used.

    The `wanted` ones, else those `kept` from an earlier run; "" among them, and without any the
    last that are free in the network. Raises ParamsError for addresses that cannot be, and
    CheckFailed where the network has too few, or does not say which are free.
    """
    if bootstrap.service != STATIC:
        if wanted:
            text = 'only discovery "static" fixes addresses: leave it [], or set discovery'
            raise ParamsError("fixed_addresses", text=text)
        return bootstrap
    if wanted:
        place = network_of(cloud, zone, network)
        found = _demand_possible(list(map(str, wanted)), bootstrap.size, place)
    else:
        found = list(kept) or [""] * bootstrap.size
        if count := found.count(""):
            place = network_of(cloud, zone, network)
            free = free_addresses(cloud, place, count, taken=found)
            found = [a or free.pop(0) for a in found]
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


def network_of(cloud: Cloud, zone: str, network: str) -> dict:
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


def free_addresses(cloud: Cloud, network: dict, size: int, taken: Sequence[str] = ()) -> list[str]:
    """Return the last free addresses of a network, as far as this account sees who has which.

    Those that are `taken` by a plan are left out. Raises CheckFailed where there are too few.
    """
    if not network.get("cidr"):
        what = f"network {network['name']} has no CIDR, so no free addresses can be chosen in it"
        raise CheckFailed(what, next_step="Set fixed_addresses.")
    taken = {*taken, *holders(cloud), *held.addresses(cloud), network.get("gateway")}
    net = ipaddress.ip_network(network["cidr"], strict=False)
    last_first = (str(net[-n]) for n in range(2, net.num_addresses))  # without listing a whole /8
    free = list(islice((a for a in last_first if a not in taken), size))
    if len(free) < size:
        what = f"free addresses in {net}"
        raise CheckFailed(what, size, len(free), "Choose another `network`.")
    return free[::-1]


def holders(cloud: Cloud) -> dict[str, str]:
    """Return which machine has each address."""
    rows = cloud.list("listVirtualMachines")
    return {n["ipaddress"]: r["name"] for r in rows for n in r.get("nic", []) if n.get("ipaddress")}


def demand_free(ours: Ours, addresses: Sequence[str]) -> None:
    """Raise CheckFailed unless each address is its member's already, or nobody's."""
    if not addresses:
        return
    cloud, names = ours.cloud, ours.members
    having, there = holders(cloud), ours.machines()
    if len(addresses) < len(names) and not there:  # more members may join one that runs
        what, wanted = (
            "addresses that the configuration fixes",
            f"{len(names)}, one for each etcd member",
        )
        raise CheckFailed(what, wanted, len(addresses), "Run 20-write-cloud-config first.")
    for name, address in zip(names, addresses, strict=False):
        holder = having.get(address, name)
        if holder != name:
            what = f"{address} is meant for {name}, but the machine {holder} has it"
            raise CheckFailed(what, next_step=HELD)
        had = address_of(there.get(name, {}))
        if had not in ("", address) and there[name]["state"] != "Error":
            raise CheckFailed(f"the address of {name}", address, had, HELD)
    alive = {n for n, m in there.items() if m["state"] != "Error"}
    asked = [a for n, a in zip(names, addresses, strict=False) if n not in alive]
    if late := ", ".join(a for a in asked if a in held.addresses(cloud)):
        return print(f"! {late} may still be held by machines that were destroyed. {HELD}")
    print(f"✓ nobody else has the fixed addresses: {', '.join(addresses)}")
