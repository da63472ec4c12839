"""Roles: the kinds of machines in a cluster, each with its number, size and configuration."""

import re
from dataclasses import dataclass, fields

from lib.errors import ParamsError

NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?", re.ASCII)
METADATA = re.compile(r"[\w.-]+=[\w.:/-]*(,[\w.-]+=[\w.:/-]*)*", re.ASCII)  # as fleet reads it
MOST = 10_000
CLASHES = "has digits alone between hyphens, as the number of a machine: choose another name"


@dataclass(frozen=True)
class Role:
    """A kind of machines: `count` of them, called CLUSTER-NAME-1 and so on.

    Without a name they are called CLUSTER-1, as in a cluster without roles. What is "" is as the
    parameter of that name says; `metadata` are words such as `disk=ssd,rack=2`.
    """

    name: str
    count: int
    service_offering: str = ""
    config_file: str = ""
    metadata: str = ""

    def stem(self, cluster: str) -> str:
        """Return what the names of its machines begin with.

        >>> Role("worker", 2).stem("core"), Role("", 2).stem("core")
        ('core-worker', 'core')
        """
        return f"{cluster}-{self.name}" if self.name else cluster

    @property
    def words(self) -> str:
        """The metadata of its machines, with the role among them.

        >>> Role("worker", 2, metadata="disk=ssd").words
        'role=worker,disk=ssd'
        """
        return ",".join(filter(None, [f"role={self.name}" if self.name else "", self.metadata]))


def read(rows: list[dict]) -> tuple[Role, ...]:
    """Return the roles of the parameter `roles`; raise ParamsError for what cannot be.

    The first one has the members of etcd.
    """
    known = [field.name for field in fields(Role)]
    for row in rows:
        if unknown := [key for key in row if key not in known]:
            raise ParamsError("roles", f"the keys {', '.join(known)}", unknown[0])
        if "count" not in row:
            raise ParamsError("roles", "a count for each role", f"none for {row.get('name', '')}")
    found = tuple(Role(**{"name": "", **row}) for row in rows)
    for role in found:
        _demand_possible(role, least=1 if role == found[0] else 0)
    names = [role.name for role in found]
    if twice := [n for n in names if names.count(n) > 1]:
        raise ParamsError("roles", "a name for each role, once", f"{twice[0] or 'none'} twice")
    return found


def _demand_possible(role: Role, least: int) -> None:
    what, name, count = f"roles {role.name}".rstrip(), role.name, role.count
    if name and not NAME.fullmatch(name):
        wanted = "a letter, then a-z, 0-9 and -, 20 characters at most"
        raise ParamsError("roles", f"a name of {wanted}", name)
    if re.search(r"(^|-)\d+(-|$)", name):
        raise ParamsError("roles", text=f"{name} {CLASHES}")
    if isinstance(count, bool) or not isinstance(count, int) or not least <= count <= MOST:
        raise ParamsError(what, f"a count of {least} to {MOST:,}", count)
    if role.metadata and not METADATA.fullmatch(role.metadata):
        raise ParamsError(what, "metadata such as disk=ssd,rack=2", role.metadata)
