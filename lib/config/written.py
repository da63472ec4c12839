"""What is configured, read back from the workstation, and whether machines can be made with it."""

import base64
import json
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lib.config import discovery
from lib.config.addresses import fixed_in, holders
from lib.config.form import ON_DISK, USER_DATA
from lib.errors import CheckFailed
from lib.ours import Ours
from lib.record import masks
from lib.workstation.files import sha256
from lib.workstation.notes import SECRETS
from lib.workstation.shell import Shell, find_text, run, write_text

NEW_TOKEN = "A token serves one cluster once: run 90-remove-cluster, then 20-write-cloud-config."
OTHERS = (
    "If they are another cluster's, this one needs a folder of its own: Set work_dir. If they are "
    "gone, run 90-remove-cluster, then 20-write-cloud-config."
)
BY_HAND = (
    "If the cluster has formed, its machines need the token no more, and a new one joins by "
    "`etcdctl member add` and --initial-cluster-state=existing. If it has not, move_discovery of "
    "70-reconfigure-cluster gives its machines a new token."
)
DAMAGED = (
    "Without it a secret in the configuration would be shown. If the configuration beside it holds "
    "none, rename it there (mv {0} {0}.damaged). If it holds one, change that secret first."
)
DISCOVERY_FLAG = "--discovery="  # of etcd 2 and newer; etcd 0.4 is told by its own section


@dataclass(frozen=True)
class Written:
    """A configuration on the workstation: where it is, or was looked for, and its text, "" if none.

    Its repr is the text with the token and all secrets masked.
    """

    where: str
    text: str = ""

    def __post_init__(self):
        discovery.known(self.text)

    @property
    def url(self) -> discovery.TokenUrl:
        """Return the URL of the token, "" if there is none."""
        return discovery.url_in(self.text)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the addresses by which the machines know each other, () if by none."""
        return fixed_in(self.text)

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of the text as hex digits, "" if it is absent."""
        return sha256(self.text) if self.text else ""

    def __repr__(self) -> str:
        return discovery.masked(self.text) or f"no configuration at {self.where}"


def read(shell: Shell, work_dir: str, *names: str) -> Written:
    """Return the first of these files that is there.

    Without names it is the text that makes machines a cluster: the user data where there are any,
    else what goes onto the disk. Secrets that were ever written there are known from here on.
    Raises CheckFailed where the list of them is damaged.
    """
    files = [f"{work_dir}/{n}" for n in names or (USER_DATA, *ON_DISK.values())]
    listed, secrets = " ".join(map(shlex.quote, files)), shlex.quote(f"{work_dir}/{SECRETS}")
    command = (
        f"if [ -e {secrets} ]; then base64 <{secrets} | tr -d '\\n'; else printf W10=; fi; echo; "
        f'for f in {listed}; do if [ -e "$f" ]; then echo "$f"; exec cat -- "$f"; fi; done'
    )
    known, _, rest = run(shell, command).out.partition("\n")
    for secret in _kept(base64.b64decode(known), f"{work_dir}/{SECRETS}"):
        masks.add(secret)
    where, _, text = rest.partition("\n")
    return Written(where or (files[0] if len(files) == 1 else work_dir), text)


def keep_secrets(shell: Shell, work_dir: str, secrets: Sequence[str]) -> None:
    """Add secrets to those kept beside the configuration that holds them, for `read` to mask."""
    path = f"{work_dir}/{SECRETS}"
    text = find_text(shell, path) if secrets else None
    kept = [] if text is None else _kept(text, path)
    if new := [secret for secret in secrets if secret not in kept]:
        write_text(shell, path, json.dumps(kept + new) + "\n")


def _kept(text: str | bytes, path: str) -> list[str]:
    """Return the secrets in the text of a file. Raises CheckFailed where it is damaged."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list) and all(isinstance(secret, str) for secret in found):
        return found
    what = f"{path} on the workstation is not a JSON list of secrets"
    raise CheckFailed(what, next_step=DAMAGED.format(path))


def demand_usable(ours: Ours, written: Written, joining: Collection[str] = ()) -> None:
    """Raise CheckFailed unless machines that are yet to be deployed can find each other.

    A cluster that is complete needs its token no more, so nothing is asked then. Before the first
    machine the token must be for as many, and unused: etcd 0.4 does not look at that, later ones
    wait for ever or turn away. Beside machines of ours the registry may list as many others as are
    missing, where they are of etcd 0.4: it keeps the address of one that is gone for a week, and a
    new one joins all the same. A later etcd keeps it for ever, and `joining` need no token.
    """
    there, names = ours.machines(), ours.names
    if not written.url and written.addresses:
        return print("✓ no token is needed: the machines know each other by fixed addresses")
    missing = [n for n in names if n not in there or there[n]["state"] == "Error"]
    if not missing:
        return print("✓ the cluster is complete: its token is not needed any more")
    if set(missing) <= set(joining):
        return print("✓ no token is needed: the members that run take in what is missing")
    found = _members(written, BY_HAND if there else NEW_TOKEN)
    own = {n.get("ipaddress") for m in there.values() for n in m.get("nic") or []}
    strangers = sorted(set(found.values()) - own)
    if strangers and _may_be_gone(ours, written, strangers):
        return print(f"! registered, and taken for what is missing: {', '.join(strangers)}")
    if strangers:
        advice = BY_HAND if there else OTHERS
        what = f"others have registered with the token: {', '.join(strangers)}"
        raise CheckFailed(what, next_step=advice)
    if written.url and not there:
        _demand_fresh(written, len(ours.members))
    print(f"✓ the token is free for the cluster: {len(found)} of ours registered, no strangers")


def _may_be_gone(ours: Ours, written: Written, strangers: list[str]) -> bool:
    """Tell whether strangers in the registry may be former machines of a cluster that runs."""
    there = ours.machines()
    runs = any(m["state"] == "Running" for m in there.values())
    if DISCOVERY_FLAG not in written.text:
        return runs and len(strangers) <= len(ours.names) - len(there)
    return runs and not set(strangers) & holders(ours.cloud).keys()


def _members(written: Written, advice: str) -> dict[str, str]:
    found = discovery.members(written.url) if written.url else {}
    if found is None:
        base = written.url.rpartition("/")[0]
        what = f"{base} does not know the token {discovery.masked_url(written.url)}"
        raise CheckFailed(what, next_step=advice)
    return found


def _demand_fresh(written: Written, size: int) -> None:
    if discovery.has_begun(written.url):
        what = "a cluster has begun with the token already, and its members are gone"
        raise CheckFailed(what, next_step=NEW_TOKEN)
    found = discovery.size_of(written.url) if DISCOVERY_FLAG in written.text else None
    if found not in (size, None):
        what, wanted = "machines that the token is for", f"{size}, the etcd members"
        raise CheckFailed(what, wanted, f"{found}", NEW_TOKEN)
