"""User data: what is given to a machine at its deployment, and how much of it a server takes."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

from lib.cloud import Cloud
from lib.config.addresses import as_first_started, joining
from lib.config.form import BAKED, IGNITION, USER_DATA, role_file
from lib.config.placeholders import OF_MACHINE, for_machine
from lib.config.writing import STAGE
from lib.config.written import Written, read
from lib.errors import CheckFailed
from lib.machines import stem_of
from lib.ours import Ours
from lib.record import facts
from lib.steps import Pending
from lib.workstation import notes
from lib.workstation.shell import Shell

HOST_NAME = "/etc/hostname"
BAKED_MEMBERS = (
    "The template's text starts an etcd of the first members only. Set etcd_members to their "
    "number: machines beyond them are no members. With a neutral template more can become members."
)
OLD_LIMIT = 2048  # bytes before base64, until 4.3
POST_LIMIT = 32764  # characters of base64, until 4.18: less than 32 KiB
LIMIT = 32768  # characters of base64 from then on, unless `vm.userdata.max.length` says otherwise


class UserData(str):
    """User data in base64: whole as text, by size and checksum where they are shown."""

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
    """Return a text as user data, without filling it up."""
    return UserData(base64.b64encode(text.encode()).decode())


def with_host_name(text: str, name: str) -> str:
    """Return a cloud-config, or an Ignition config, that also sets the machine's host name.

    Raises CheckFailed where it sets another one.

    >>> print(with_host_name("#cloud-config\\n\\nusers: []\\n", "core-1"))
    #cloud-config
    <BLANKLINE>
    hostname: core-1
    users: []
    <BLANKLINE>
    """
    found = _host_name(text)
    if found is not None:
        if found != name:
            what = f"user_data_each sets the host name {name}, the config_file another: {found}"
            raise CheckFailed(what, next_step="Write ${host_name} in the file, or leave it out.")
        return text
    if text.startswith("#"):
        first, rest = text.split("\n", 1)
        return f"{first}\n\nhostname: {name}\n{rest.lstrip()}"
    config = json.loads(text)
    file = {"path": HOST_NAME, "mode": 0o644, "contents": {"source": f"data:,{name}%0A"}}
    config.setdefault("storage", {}).setdefault("files", []).append(file)
    return json.dumps(config, indent=1, ensure_ascii=False) + "\n"


def _host_name(text: str) -> str | None:
    """Return the host name that a configuration sets, None if it sets none."""
    if text.startswith("#"):
        found = re.search(r"(?m)^[\"']?hostname[\"']?\s*:\s*[\"']?([^\s\"']*)", text)
        return found[1] if found else None
    files = json.loads(text).get("storage", {}).get("files", [])
    file = next((f for f in files if f["path"] == HOST_NAME), {})
    head, _, data = (file.get("contents", {}).get("source") or "").partition(",")
    raw = unquote_to_bytes(data)
    raw = base64.b64decode(raw) if head.endswith(";base64") else raw
    return raw.decode(errors="replace").strip() if file else None


def text_for(text: str, name: str, address: str, each: bool) -> str:
    """Return the text of one machine: with its values, and with `each` its host name."""
    text = for_machine(text, name, address)
    return with_host_name(text, name) if each else text


def are_of(data: str, text: str, name: str, address: str) -> bool:
    """Tell whether user data are a text as a machine is given it, with its host name or without.

    They may list other members of etcd.
    """
    given = base64.b64decode(data).decode(errors="replace")
    own = text_for(as_first_started(text, given), name, address, False)
    named = own if _host_name(own) else with_host_name(own, name)
    return data in (encoded(own), encoded(named))


def differs(text: str) -> bool:
    """Tell whether a text is another one for each machine."""
    return bool(OF_MACHINE.search(text))


def user_data(
    ours: Ours, shell: Shell, work_dir: str, delivery: str, each: bool = False,
    joins: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> dict[str, UserData] | Pending | None:  # fmt: skip
    """Return the user data by name, None where the disk has all.

    One for the whole cluster, or one for each machine where they differ, as with `each`, which
    sets its host name. Those that join a cluster that runs have the addresses of its members then
    (`joins`), their own last. Raises CheckFailed when the server would not take them, or the
    machines not read them.
    """
    demand_given(delivery, joins)
    if delivery != "userdata":
        return None
    noted = notes.read(shell, work_dir)
    notes.demand_of(ours.cluster_name, noted, work_dir)
    baked = (noted.get("installed") or {}).get("config")
    if baked == IGNITION and ours.needs_disk:
        raise CheckFailed(f"the disk carries {baked}, an Ignition config", next_step=BAKED)
    there = read(shell, work_dir, USER_DATA)
    if not there.text:
        return Pending(there.where, STAGE)
    found = of_stems(ours, shell, work_dir)
    if lacking := [w for w in found.values() if not w.text]:
        return Pending(lacking[0].where, STAGE)
    texts = {stem: written.text for stem, written in found.items()}
    fixed = dict(zip_longest(ours.names, there.addresses[: len(ours.names)], fillvalue=""))
    given = dict(texts)
    if each or any(map(differs, texts.values())):
        given = {n: text_for(texts[stem_of(n)], n, fixed[n], each) for n in ours.names}
    for name, members in joins.items():
        text = joining(texts[stem_of(name)], members)
        given[name] = text_for(text, name, members[-1], each)
    data = {name: encoded(text) for name, text in given.items()}
    demand_fits(ours.cloud, max(data.values(), key=len))
    facts.add(user_data={name: repr(one) for name, one in data.items()})
    return data


def of_stems(ours: Ours, shell: Shell, work_dir: str) -> dict[str, Written]:
    """Return the text of the user data of each role, by what its machines' names begin with."""
    files = {r.stem(ours.cluster_name): role_file(r.name) for r in ours.roles}
    files = files or {ours.cluster_name: USER_DATA}
    return {stem: read(shell, work_dir, file) for stem, file in files.items()}


def demand_given(delivery: str, joins: Mapping[str, Sequence[str]]) -> None:
    """Raise CheckFailed where machines could join a cluster only by user data that they lack."""
    if delivery != "userdata" and joins:
        what = f"config_delivery, by which {', '.join(joins)} could join etcd"
        raise CheckFailed(what, "userdata", delivery, BAKED_MEMBERS)


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
