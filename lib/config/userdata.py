"""User data: what is given to a machine at its deployment, and how much of it a server takes."""

import base64
import hashlib
import json
from collections.abc import Sequence

from lib.cloud import Cloud
from lib.config.config import STAGE
from lib.config.form import BAKED, IGNITION, USER_DATA
from lib.config.written import read
from lib.errors import CheckFailed
from lib.record import facts
from lib.steps import Pending
from lib.workstation import notes
from lib.workstation.shell import Shell

OLD_LIMIT = 2048  # bytes before base64, until 4.3
POST_LIMIT = 32764  # characters of base64, until 4.18: less than 32 KiB
LIMIT = 32768  # characters of base64 from then on, unless `vm.userdata.max.length` says otherwise


class UserData(str):
    """User data in base64, as the server wants them: whole as text, told by size where shown."""

    def __repr__(self) -> str:
        raw = base64.b64decode(self)
        return f"{len(raw)} bytes, sha256 {hashlib.sha256(raw).hexdigest()[:16]}…"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


def encoded(text: str) -> UserData:
    """Return a text as user data.

    Line ends fill it up to a multiple of three bytes: some gateways lose the `=` that base64 puts
    at the end of others, and a machine then does not read them.

    >>> base64.b64decode(encoded("abcd"))
    b'abcd\\n\\n'
    """
    return exactly(text + "\n" * (-len(text.encode()) % 3))


def exactly(text: str) -> UserData:
    """Return a text in base64, told by its size where it is shown, without what fills it up."""
    return UserData(base64.b64encode(text.encode()).decode())


def with_host_name(text: str, name: str) -> str:
    """Return a cloud-config, or an Ignition config, that also sets the machine's host name.

    >>> print(with_host_name("#cloud-config\\n\\nusers: []\\n", "core-1"))
    #cloud-config
    <BLANKLINE>
    hostname: core-1
    users: []
    <BLANKLINE>
    """
    if text.startswith("#"):
        first, rest = text.split("\n", 1)
        return f"{first}\n\nhostname: {name}\n{rest.lstrip()}"
    config = json.loads(text)
    file = {"path": "/etc/hostname", "mode": 0o644, "contents": {"source": f"data:,{name}%0A"}}
    config.setdefault("storage", {}).setdefault("files", []).append(file)
    return json.dumps(config, indent=1, ensure_ascii=False) + "\n"


def user_data(
    cloud: Cloud,
    shell: Shell,
    work_dir: str,
    delivery: str,
    cluster: str,
    machines: Sequence[str] = (),
) -> dict[str, UserData] | Pending | None:
    """Return the user data by name, None where the disk has all.

    One for the whole cluster, or one for each of the machines that are named, with its host name.
    Raises CheckFailed when the server would not take them, or the machines not read them.
    """
    if delivery != "userdata":
        return None
    baked = (notes.read(shell, work_dir).get("installed") or {}).get("config")
    if baked == IGNITION:
        raise CheckFailed("what the disk carries", "no Ignition config", baked, BAKED)
    there = read(shell, work_dir, USER_DATA)
    if not there.text:
        return Pending(there.where, STAGE)
    texts = {m: with_host_name(there.text, m) for m in machines} or {cluster: there.text}
    data = {name: encoded(text) for name, text in texts.items()}
    demand_fits(cloud, max(data.values(), key=len))
    facts.add(user_data={name: repr(one) for name, one in data.items()})
    return data


def demand_fits(cloud: Cloud, data: UserData) -> None:
    """Raise CheckFailed when the server would not take so much, before anything is sent."""
    if not cloud.can_take_long_user_data:
        what, size, most = "bytes", len(base64.b64decode(data)), OLD_LIMIT
    else:
        what, size = "characters of base64", len(data)
        most = LIMIT if cloud.can_keep_user_data else POST_LIMIT
    if size > most and cloud.can_keep_user_data:
        most = _configured(cloud, most)
    if size > most:
        next_step = 'Use fewer or shorter keys (ed25519), or config_delivery "disk".'
        raise CheckFailed("the user data", f"{most} {what} at most", f"{size}", next_step)


def _configured(cloud: Cloud, otherwise: int) -> int:
    """Return the server's own limit, as far as it tells this account."""
    name = "vm.userdata.max.length"
    rows = cloud.list_if_allowed("listConfigurations", name=name) or []
    return next((int(r["value"]) for r in rows if r.get("name") == name), otherwise)
