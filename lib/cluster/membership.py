"""Membership: etcd's members, added and removed one at a time while the others keep the quorum.

A change goes to a member that is healthy, from here or on its machine. etcd itself refuses what
would cost it the quorum (`strict-reconfig-check`); here nothing is sent that it would refuse.
"""

import json
from dataclasses import dataclass

import requests

from lib.cluster import etcd
from lib.cluster.etcd import AWAY, Answer, Member
from lib.cluster.left import wherever
from lib.cluster.login import Access, connect
from lib.errors import CheckFailed, ShellFailed, Unreachable
from lib.jobs import awaited
from lib.machines import BAD, address_of
from lib.ours import Ours
from lib.waiting import tell
from lib.workstation import files
from lib.workstation.shell import Shell

ELECTION = 30  # seconds that members are given to agree on a leader
OLD_PEER_PORT, PEER_PORT = 7001, 2380
UNSETTLED = "unhealthy cluster"  # members must be connected for 5 s (`isConnectedFullySince`)
NOT_FOUND = "member not found"  # so etcd 3.4 refuses to add one just after another left
NO_ANSWER = (requests.RequestException, ShellFailed, ConnectionRefusedError)
UNASKED = "Without it nobody knows whether the quorum holds: set machine_user. Nothing was sent."
UNHEALTHY = (
    "Run 60-verify-cluster, and bring them back, or replace them one by one "
    "(80-remove-machines, `-p replace=NAME`). Nothing was sent to etcd."
)
AGAIN = "Run this stage again: it looks at the members first."


@dataclass(frozen=True)
class Seen:
    """What the etcds of a cluster answer: `machines` by name, and an answer of each that runs.

    These are all machines that bear the cluster's name, whatever its size is to be.
    """

    machines: dict[str, dict]
    answers: dict[str, Answer]

    @property
    def listed(self) -> tuple[Member, ...]:
        """The members, as one that is healthy lists them; () where none is."""
        return next((a.listed for a in self.answers.values() if a.state == "healthy"), ())

    @property
    def can_elect(self) -> bool:
        """Whether none is healthy, but more than half of the members answer."""
        lists = [a.listed for a in self.answers.values() if a.state == "unhealthy"]
        return not self.listed and any(len(lists) >= quorum(len(x)) for x in lists if x)

    @property
    def on_no_network(self) -> bool:
        """Whether the machines are stand-ins of a local cloud, whose etcds nobody can ask."""
        return bool(self.answers) and all(a.state == AWAY for a in self.answers.values())

    @property
    def unknown(self) -> list[str]:
        """The machines that run, and whose etcd nobody could ask."""
        known = ("healthy", "unhealthy", "silent", etcd.FOREIGN, AWAY, *etcd.OTHERS)
        return [n for n, a in self.answers.items() if a.state not in known]

    def member_of(self, name: str) -> Member | None:
        """Return a machine's member, None where it is none."""
        address = address_of(self.machines.get(name, {}))
        return next((m for m in self.listed if m.address == address), None)

    def healthy(self, without: str = "") -> list[str]:
        """Return the addresses of the members that are healthy, but for one."""
        good = {address_of(self.machines[n]) for n, a in self.answers.items()
                if a.state == "healthy"}  # fmt: skip
        return [m.address for m in self.listed if m.address in good - {without}]

    def gone(self) -> list[Member]:
        """Return the members that are no machine of the cluster any more."""
        there = {address_of(m) for m in self.machines.values()}
        return [m for m in self.listed if m.address not in there]


@dataclass(frozen=True)
class Etcds:
    """The etcds of a cluster, and how they are asked; `text` configures them."""

    ours: Ours
    access: Access
    text: str = ""

    def look(self) -> Seen:
        """Ask the cloud for the machines, and each that runs for its etcd.

        Where enough of the members answer to elect a leader, as they do when the last one is lost,
        it waits for that, not for long.
        """
        seen = self._ask()
        if seen.can_elect:
            return self.settled(lambda now: bool(now.listed), "a leader", ELECTION) or self._ask()
        return seen

    def _ask(self) -> Seen:
        cloud = self.ours.cloud
        alive = [r for r in wherever(self.ours) if r["state"] not in BAD or r["state"] == "Error"]
        mine = self.ours.own(self.ours.of_ours(alive))
        there = {r["name"]: r for r in mine}
        found = {n: address_of(m) for n, m in there.items() if m["state"] == "Running"}
        found = {n: a for n, a in found.items() if a}
        shells = {n: self.shell(there[n]) for n in found} if self.access.user else {}
        shells = {n: s for n, s in shells.items() if s}
        return Seen(there, etcd.ask_all(cloud, found, self.text, shells))

    def shell(self, machine: dict) -> Shell | None:
        """Return the shell of a machine, None where nobody is to log in."""
        return connect(self.access, machine) if self.access.user else None

    def settled(self, is_so, what: str, within: float) -> Seen | None:
        """Wait until it `is_so` of what is seen, and return that; None if it is not in time."""
        seen = []

        def look() -> bool:
            seen[:] = [self._ask()]
            return is_so(seen[0])

        return seen[0] if awaited(self.ours.cloud, look, what, within) else None

    def add(self, name: str, address: str, within: float) -> None:
        """Add a member that has yet to start, unless it is one: all others must be healthy.

        Raises CheckFailed where they are not, and where etcd refuses it.
        """

        def all_healthy(seen: Seen) -> bool:
            others = [m for m in seen.listed if m.address != address]
            return bool(others) and len(seen.healthy()) >= len(others)

        seen = self.settled(all_healthy, f"all members before {name} joins", min(within, ELECTION))
        if not seen:
            now = self._ask()
            found = f"{len(now.healthy())} of {len(now.listed)}"
            raise CheckFailed(f"healthy members before {name} joins", "all", found, UNHEALTHY)
        if address not in {m.address for m in seen.listed}:
            peers = json.dumps({"peerURLs": [f"http://{address}:{PEER_PORT}"]})
            self._send(seen, "member add", f"{name} at {address}", "/v3/cluster/member/add", peers)

    def spare(self, member: Member, name: str, within: float) -> Seen:
        """Wait until the others keep the quorum without a member, and return what is seen.

        Raises CheckFailed where they would not.
        """

        def can_spare(seen: Seen) -> bool:
            return len(seen.healthy(member.address)) >= quorum(len(seen.listed) - 1)

        found = self.settled(can_spare, f"a quorum without {name}", min(within, ELECTION))
        if not found:
            now = self._ask()
            least = f"{quorum(max(len(now.listed) - 1, 0))} or more"
            what, others = f"healthy members without {name}", len(now.healthy(member.address))
            raise CheckFailed(what, least, others, UNHEALTHY)
        return found

    def remove(self, member: Member, name: str, within: float) -> None:
        """Take a member out, once the others keep the quorum without it, and wait for these.

        Raises CheckFailed where they would not, or etcd refuses it.
        """
        self._send_removal(self.spare(member, name, within), member, name)

        def is_out(seen: Seen) -> bool:
            return bool(seen.listed) and member.address not in {m.address for m in seen.listed}

        if not self.settled(is_out, f"etcd without {name}", min(within, ELECTION)):
            raise CheckFailed(f"the members of etcd without {name}", "a leader", "none", AGAIN)

    def _send_removal(self, seen: Seen, member: Member, name: str) -> None:
        if not etcd.is_old(self.text):
            body = json.dumps({"ID": member.id})
            self._send(seen, "member remove", name, "/v3/cluster/member/remove", body, member)
            return
        url = f":{OLD_PEER_PORT}/v2/admin/machines"
        rows = json.loads(self._send(seen, "", name, url, "", member))
        for row in rows:
            if etcd.host(row["peerURL"]) == member.address:
                self._send(seen, "member remove", name, f"{url}/{row['name']}", "", member)

    def _send(
        self, seen: Seen, what: str, name: str, path: str, body: str, leaves: Member | None = None
    ) -> str:
        """Send a change to a healthy member that stays, and return its answer."""
        stays = seen.healthy(leaves.address if leaves else "")[0]
        node = next(m for m in seen.machines.values() if address_of(m) == stays)
        method = ("DELETE" if what else "GET") if etcd.is_old(self.text) else "POST"
        url = f"http://{stays}{path if path[0] == ':' else f':{etcd.PORT}{path}'}"
        if not what:
            return self._answer(node, method, url, body, name)
        at = f"the etcd of {self.ours.cluster_name}, {self.ours.cloud.profile.endpoint}"
        with files.journalled(at, what, name, {"at": url}) as ended:
            text = self._answer(node, method, url, body, f"{what} {name}")
            ended["text"] = "etcd has done it"
        tell("done", what, name, "the others have agreed")
        return text

    def _answer(self, node: dict, method: str, url: str, body: str, what: str) -> str:
        """Return what etcd answers to a change; it takes none until all have met for seconds."""
        shell, answer = self.shell(node), []
        waits = (UNSETTLED, NOT_FOUND) if what.startswith("member add") else (UNSETTLED,)

        def is_settled() -> bool:
            answer[:] = etcd.send(shell, method, url, body)
            return not any(text in answer[1] for text in waits)

        try:
            awaited(self.ours.cloud, is_settled, "the members of etcd to be connected", ELECTION)
        except NO_ANSWER as error:
            raise Unreachable(what, url, type(error).__name__, may_have_changed=True) from None
        status, text = answer
        if status not in (200, 204):
            raise CheckFailed(what, "done", f"HTTP {status} {text.strip()[:200]}", AGAIN)
        return text


def quorum(size: int) -> int:
    """Return how many of so many members are more than half."""
    return size // 2 + 1
