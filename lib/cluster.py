"""The cluster: whether the machines that were made are the members that formed."""

from lib import addresses, cloudconfig, discovery, own
from lib.checks import tick
from lib.progress import Waiting


def formed(
    cloud, shell, *, zone: str, names: list[str], work_dir: str, mode: str, within: float
) -> list[dict]:
    """Return rows with ticks: each machine Running, addresses distinct, registry exactly these.

    In apply mode machines that still boot are waited for, `within` seconds at most; what is not
    as wanted then has no tick.
    """
    text = cloudconfig.cluster_text(shell, work_dir)
    started = cloud.clock()
    with Waiting() as waiting:
        while True:
            rows = _rows(cloud, zone, names, text)
            gone = cloud.clock() - started
            patience = min(within, 300 * max(cloud.profile.time_scale, 0.02))
            if all(r["ok"] == "✓" for r in rows) or mode == "plan" or gone > patience:
                return rows
            waiting.show("machines to boot and register")
            cloud.sleep(min(max(gone / 2, 0.1), 2))


def _rows(cloud, zone: str, names: list[str], text: str) -> list[dict]:
    there = own.machines(cloud, zone, names)
    rows = [_machine(n, there.get(n)) for n in names]
    found = [a for a in map(_address, there.values()) if a]
    distinct = len(set(found)) == len(found)
    rows.append(tick("addresses", "all distinct", "distinct" if distinct else found, distinct))
    found = {n: _address(m) for n, m in there.items()}
    if fixed := addresses.fixed_in(text):
        return rows + _fixed(found, dict(zip(names, fixed, strict=False)))
    return rows + _registry(found, names, cloudconfig.discovery_url(text))


def _address(machine: dict) -> str:
    return (machine.get("nic") or [{}])[0].get("ipaddress", "")


def _machine(name: str, machine: dict | None) -> dict:
    if machine is None:
        return tick(name, "Running", "absent", False, "Run 50-deploy-cluster.")
    ok = machine["state"] == "Running" and bool(_address(machine))
    found = f"{machine['state']} at {_address(machine) or 'no address'}"
    return tick(name, "Running with an address", found, ok, "Run 50-deploy-cluster.")


def _fixed(found: dict[str, str], wanted: dict[str, str]) -> list[dict]:
    """Return a row on whether the machines have the addresses by which they know each other."""
    other = ", ".join(f"{n} has {a}" for n, a in found.items() if a != wanted.get(n))
    has = other or f"{len(found)} of {len(wanted)}"
    ok = not other and found.keys() == wanted.keys()
    step = "etcd knows its members by these addresses: remove the machines and deploy them again."
    return [tick("fixed addresses", f"{len(wanted)} of {len(wanted)}", has, ok, step)]


def _registry(addresses: dict[str, str], names: list[str], url: str) -> list[dict]:
    """Return a row for each machine in the registry, and one for each stranger there."""
    what = "the discovery registry"
    if not url:
        return [tick(what, "a token", "no cloud-config", False, "Run 20-write-cloud-config.")]
    members = discovery.members(url)
    seen = {n: a for n, a in addresses.items() if a in members.values()}
    strangers = sorted(set(members.values()) - set(addresses.values()))
    count = f"{len(seen)} of {len(names)}"
    missing = ", ".join(n for n in names if n not in seen)
    rows = [tick(what, f"{len(names)} of {len(names)}", count, len(seen) == len(names),
                 f"Not registered: {missing}. Look at etcd's log there: an empty $private_ipv4, or "
                 "a token used before, keeps a machine out.")]  # fmt: skip
    return rows + [
        tick("a stranger in the registry", "none", a, False, "The token was used for another "
             "cluster: a template with a baked-in token makes one cluster only.")
        for a in strangers
    ]  # fmt: skip
