"""Login: the machines over SSH, through the workstation where that is remote.

A new machine is in no known_hosts: its key is accepted the first time, and kept beside the runs
under the machine's id, so that another machine at the same address does not pass for it, and later
runs know it. The workstation's key must be known.
"""

import base64
import ipaddress
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from lib import config
from lib.cloud import Cloud
from lib.errors import CheckFailed, OutOfSight, ParamsError, ShellFailed
from lib.machines import address_of
from lib.ours import Ours
from lib.record import facts, whole
from lib.workstation import files, ssh
from lib.workstation.shell import Shell, run

USER = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
DEFAULT_USER = "core"
FILE = "/var/lib/{}-install/user_data"
KINDS = ("coreos", "flatcar")
FIND = """\
for kind in {kinds}; do f=/var/lib/$kind-install/user_data
if [ -e "$f" ]; then echo $kind $(sha256sum <"$f" | cut -c1-64); cat "$f"; exit; fi
done; exit 44"""
# coreos-cloudinit before 0.10 cannot validate.
WRITE = """\
umask 077; new={file}.new; trap 'rm -f "$new"' EXIT
[ "$(sha256sum <{file} | cut -c1-64)" = {before} ] || {{ echo 'it was changed meanwhile'; exit 1; }}
cat >"$new" && [ "$(wc -c <"$new")" -eq {size} ] || exit 1
if command -v coreos-cloudinit >/dev/null && coreos-cloudinit -h 2>&1 | grep -q -- -validate; then
coreos-cloudinit -validate -from-file="$new" || exit 1; fi
cp -p {file} {kept} && mv -f "$new" {file} && sync"""
FIRST_BOOT = (
    "Ignition configures a machine at its first boot only: make a second cluster with the new "
    "configuration (another cluster_name and work_dir), or deploy new machines one by one."
)
UNSEEN = "Whether it was written is not known: run this stage again, it looks first."
LOGIN = (
    "machine_user logs in with the private half of ssh_key_file: load it into ssh-agent, or name "
    "it in ~/.ssh/config. Its `sudo` must need no password. Nothing was changed."
)


@dataclass(frozen=True)
class Node:
    """A machine, its configuration, and its shell where the file was read by that.

    The machine computes the `sha256` of the file, whose bytes need not be text.
    """

    machine: dict
    text: str
    file: str = ""
    shell: Shell | None = None
    sha256: str = ""

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.machine["name"]

    @property
    def address(self) -> str:
        """The machine's address."""
        return address_of(self.machine)


@dataclass(frozen=True)
class Access:
    """How the machines are reached over SSH: as `user`, "" for not at all.

    `workstation_ssh` is the workstation through which they are reached, "" for directly.
    """

    cloud: Cloud
    user: str
    workstation_ssh: str = ""


def connect(access: Access, machine: dict) -> Shell:
    """Return the shell of a machine; nothing is sent yet. Raises ParamsError for no user's name."""
    cloud, user = access.cloud, access.user
    if not USER.fullmatch(user):
        raise ParamsError("machine_user", 'the name of a user, such as "core"', user)
    name, ident = machine["name"], str(machine["id"])
    if cloud.profile.machine_shell:
        return Shell((*cloud.profile.machine_shell, ident), name)
    address = address_of(machine)
    known = known_hosts(cloud)
    whole.folder(known.parent)
    alias = f"{ident}.{urlsplit(cloud.profile.endpoint).hostname}"  # ids of 2.2 are mere numbers
    return Shell(argv(user, address, alias, known, access.workstation_ssh), name, remote=True)


def note(access: Access, there: dict[str, dict]) -> None:
    """Put into the run's record the machines with their addresses, and how to log in."""
    rows, through = [], access.workstation_ssh
    for name, machine in there.items():
        login = f"ssh {f'-J {through} ' if through else ''}{access.user or DEFAULT_USER}@"
        login += address_of(machine)
        if shell := access.cloud.profile.machine_shell:
            login = shlex.join([*shell, str(machine["id"])])
        rows.append({"name": name, "address": address_of(machine), "login": login})
    facts.add(machines=rows)


def known_hosts(cloud: Cloud) -> Path:
    """Return the file of the machines' host keys, one for all runs."""
    return Path(cloud.folder).absolute().parent / "known_hosts"


def argv(user: str, address: str, alias: str, known: Path, workstation_ssh: str) -> tuple[str, ...]:
    """Return the command that reaches a machine, directly or through the workstation.

    ssh's own ProxyJump would not take the workstation's options along, so this is the same in full.
    Raises CheckFailed for an address that is none: ssh would hand it to a shell.
    """
    try:
        if address:  # a machine without one will be out of reach
            ipaddress.ip_address(address)
    except ValueError:
        raise CheckFailed("address of a machine", "an IP address", repr(address)) from None
    options = [o for o in ssh.OPTIONS if not o.startswith("StrictHostKeyChecking")]
    options += ["StrictHostKeyChecking=accept-new", f'UserKnownHostsFile="{known}"']
    options += [f"HostKeyAlias={alias}", "ControlPath=none"]
    if workstation_ssh:
        *jump, mark, who, _ = ssh.argv(workstation_ssh)
        through = shlex.join([*jump, "-W", "[%h]:%p", mark, who]).replace("%C", "%%C")
        options.append(f"ProxyCommand={through}")
    flags = (x for o in options for x in ("-o", o))
    return ("ssh", *flags, "--", f"{user}@{address}", "exec /bin/sh")


def look(ours: Ours, access: Access, config_delivery: str) -> list[Node]:
    """Return the machines with what they are configured with.

    Raises CheckFailed when one is absent, does not run, or cannot be asked.
    """
    there = ours.machines()
    for name in ours.names:
        state = there[name]["state"] if name in there else "absent"
        if state != "Running":
            raise CheckFailed(name, "Running", state, "Run 50-deploy-cluster first.")
    shells = {n: connect(access, m) for n, m in there.items() if access.user}
    if config_delivery == "userdata":
        at_cloud = partial(_at_cloud, ours.cloud)
        return [Node(there[n], at_cloud(there[n]), shell=shells.get(n)) for n in ours.names]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda n: _on_disk(there[n], shells[n]), ours.names))


def _at_cloud(cloud: Cloud, machine: dict) -> str:
    rows = cloud.list("listVirtualMachines", id=machine["id"], userdata=True)
    raw = base64.b64decode(rows[0].get("userdata") or "")
    return config.known(raw.decode(errors="replace").rstrip("\n"))


def _on_disk(machine: dict, shell: Shell) -> Node:
    command = f"sh -c {shlex.quote(FIND.format(kinds=' '.join(KINDS)))}"
    try:
        done = run(shell, command, sudo=True, ok=(0, 44))
    except ShellFailed as error:
        text = config.masked(error.output.strip()[-300:])
        raise CheckFailed(f"{machine['name']} over SSH", "its user_data", text, LOGIN) from None
    if done.rc == 44:
        wanted = " or ".join(map(FILE.format, KINDS))
        raise CheckFailed(f"the file on {machine['name']}", wanted, "neither", FIRST_BOOT)
    first, _, text = done.out.partition("\n")
    kind, _, sha256 = first.partition(" ")
    return Node(machine, config.known(text), FILE.format(kind), shell, sha256)


def settle(node: Node) -> None:
    """Find out whether the file was written, if the end of an earlier attempt was not seen."""
    if node.file:
        files.settle_files(node.shell, _machine(node), sudo=True)


def _machine(node: Node) -> str:
    """Return what identifies a machine, also from an earlier one of its name."""
    return f"{node.name}, id {node.machine['id']}"


def write(node: Node, raw: bytes) -> None:
    """Replace the file atomically, once the machine finds it valid; the old one stays beside it."""
    what = f"{node.file} on {node.name}"
    params = {"file": node.file, "before": node.sha256, "kept": f"{node.file}.{files.now()}"}
    command = WRITE.format(size=len(raw), **{k: shlex.quote(v) for k, v in params.items()})
    params["after"] = files.sha256(raw.decode())
    with files.journalled(_machine(node), "write", what, params) as ended:
        try:
            run(node.shell, f"sh -c {shlex.quote(command)}", sudo=True, stdin=raw)
        except OutOfSight as lost:
            text = config.masked(lost.output)
            raise OutOfSight(f"write {what}", lost.rc, text, UNSEEN) from None
        except ShellFailed as error:
            text = config.masked(error.output)
            raise CheckFailed(what, "written", text, "It is as it was.") from None
        ended["text"] = f"sha256 {params['after']}; the old one is kept as {params['kept']}"
