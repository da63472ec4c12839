"""Inside: what the machines say of themselves over SSH, as rows with ticks."""

import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from lib import config
from lib.checks import Tick, tick
from lib.cloud import Cloud
from lib.cluster import login
from lib.config.userdata import encoded, with_host_name
from lib.errors import Refused, ShellFailed
from lib.workstation.shell import Shell, run

# In one go. systemd of 2014 cannot tell its state, and fleet is of that time only.
QUESTIONS = """\
for f in /var/lib/coreos-install/user_data /var/lib/flatcar-install/user_data /oem/config.ign \
/usr/share/oem/config.ign; do
[ -e "$f" ] && echo "carries $(sha256sum <"$f" | cut -c1-64) ${f##*/}" && break; done
echo "system $(systemctl is-system-running 2>&1 | head -n 1)"
echo "failed $(systemctl --failed --no-legend --plain 2>/dev/null | cut -d " " -f 1 | xargs)"
command -v fleetctl >/dev/null && echo "fleet $(fleetctl list-machines --no-legend | wc -l)"
sed -n "s/.*_ADDR=\\(.*[^\\"]\\).*/address \\1/p" \
/run/systemd/system/etcd.service.d/20-cloudinit.conf 2>/dev/null
exit 0
"""
STATES = ("initializing", "starting", "running", "degraded", "maintenance", "stopping")
EMPTY = (
    "It is empty: the image does not know it, and etcd does not start. Set oem as it is, and run "
    "--stages 70."
)
OTHER_TEXT = "It has another configuration than was meant: run --stages 70, which shows the lines."


def rows(
    cloud: Cloud,
    shell: Shell,
    there: dict[str, dict],
    *,
    user: str,
    workstation_ssh: str,
    work_dir: str,
) -> list[Tick]:
    """Return what each machine says (name -> row of the API); without a user none is asked."""
    what = "the machines over SSH"
    if not user:
        return [tick(what, "asked", "not asked: machine_user is empty", None)]
    shells = {n: login.connect(cloud, m, user, workstation_ssh) for n, m in there.items()}
    with ThreadPoolExecutor(8) as pool:
        said = dict(zip(shells, pool.map(_ask, shells.values()), strict=True))
    meant = config.read(shell, work_dir, *config.ON_DISK.values()).sha256
    found = [r for n in said for r in _machine(n, said[n], meant, len(there))]
    return found + _given(cloud, shell, there, work_dir) + _host_keys(cloud, shells)


def _ask(node: Shell) -> dict[str, str] | ShellFailed:
    try:
        out = run(node, f"sh -c {shlex.quote(QUESTIONS)}", sudo=True).out
    except ShellFailed as error:
        return error
    return dict(line.partition(" ")[::2] for line in reversed(out.splitlines()))


def _machine(name: str, said: dict | ShellFailed, meant: str, size: int) -> Iterator[Tick]:
    if isinstance(said, ShellFailed):
        last = said.said.strip().splitlines()[-1:] or [f"it ended with {said.rc}"]
        yield tick(f"{name} over SSH", "an answer", last[0], False, login.LOGIN)
        return
    carried, _, where = said.get("carries", "").partition(" ")
    if meant:
        found = f"{carried[:12] or 'none'} {where}".strip()
        wanted = f"sha256 {meant[:12]}"
        yield tick(f"configuration of {name}", wanted, found, carried == meant, OTHER_TEXT)
    if said["system"] in STATES:
        found = " ".join([said["system"], said.get("failed", "")]).strip()
        why = "These units failed: systemctl status tells why."
        yield tick(f"systemd of {name}", "running", found, said["system"] == "running", why)
    if "fleet" in said:
        ok = said["fleet"].strip() == str(size)
        why = "fleet finds its machines through etcd: look at that first."
        yield tick(f"fleet of {name}", f"{size} machines", said["fleet"].strip(), ok, why)
    if re.match(r":\d", said.get("address", "")):
        yield tick(f"$private_ipv4 of {name}", "its address", said["address"], False, EMPTY)


def _given(cloud: Cloud, shell: Shell, there: dict[str, dict], work_dir: str) -> list[Tick]:
    """Return a row on the user data that the cloud has for the machines, where it tells them."""
    text = config.read(shell, work_dir, config.USER_DATA).text
    if not text or not cloud.can_keep_user_data:
        return []
    what, wanted = "user data at the cloud", "as configured"
    try:
        other = [n for n, m in there.items() if not _has(cloud, n, m, text)]
    except Refused as error:
        return [tick(what, wanted, f"not asked: {error.text}", None)]
    found = f"other ones for {', '.join(other)}" if other else "the same"
    return [tick(what, wanted, found, not other, OTHER_TEXT)]


def _has(cloud: Cloud, name: str, machine: dict, text: str) -> bool:
    """Tell whether a machine's user data are this text, with or without its host name."""
    (row,) = cloud.list("listVirtualMachines", id=machine["id"], userdata=True)
    return row.get("userdata") in (encoded(text), encoded(with_host_name(text, name)))


def _host_keys(cloud: Cloud, shells: dict[str, Shell]) -> list[Tick]:
    if not any(s.remote for s in shells.values()):
        return []
    known = login.known_hosts(cloud)
    found = f"a new machine's was accepted, kept in {known.parent.name}/{known.name}"
    return [tick("host keys of the machines", "the same as before", found, True)]
