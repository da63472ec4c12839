"""Inside: what the machines answer over SSH."""

import re
import shlex
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from lib.checks import NOT_ASKED, Tick, tick
from lib.cloud import Cloud
from lib.cluster import login
from lib.cluster.login import Access
from lib.config.userdata import are_of
from lib.errors import Refused, ShellFailed
from lib.machines import address_of, stem_of
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
ANSWER, GIVEN = "an answer", "as configured"
STATES = ("initializing", "starting", "running", "degraded", "maintenance", "stopping")
EMPTY = (
    "It is empty: the image does not know it, and etcd does not start. Set oem as it is, and run "
    "--stages 70."
)
OTHER_TEXT = "Its configuration is another one: run --stages 70, which shows the lines."


def ticks(
    access: Access, there: dict[str, dict], intended: str, given: Mapping[str, str]
) -> list[Tick]:
    """Return what each machine (name -> row of the API) answers; without a user none is asked.

    `intended` is the SHA-256 of what the disk should carry, `given` the text of the user data by
    what machines' names begin with, "" if there are none.
    """
    if not access.user:
        why = "machine_user is empty."
        return [tick("ssh", ANSWER, NOT_ASKED, None, why, n) for n in there]
    shells = {n: login.connect(access, m) for n, m in there.items()}
    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(shells, pool.map(_ask, shells.values()), strict=True))
    found = [r for n in answers for r in _machine(n, answers[n], intended, len(there))]
    return found + (_given(access.cloud, there, given) if any(given.values()) else [])


def _ask(node: Shell) -> dict[str, str] | ShellFailed:
    try:
        out = run(node, f"sh -c {shlex.quote(QUESTIONS)}", sudo=True).out
    except ShellFailed as error:
        return error
    return dict(line.partition(" ")[::2] for line in reversed(out.splitlines()))


def _machine(name: str, answer: dict | ShellFailed, intended: str, size: int) -> Iterator[Tick]:
    if isinstance(answer, ShellFailed):
        last = answer.output.strip().splitlines()[-1:] or [f"it ended with {answer.rc}"]
        yield tick("ssh", ANSWER, last[0], False, login.LOGIN, name)
        return
    yield tick("ssh", ANSWER, ANSWER, True, of=name)
    carried, _, where = answer.get("carries", "").partition(" ")
    if intended:
        found = f"{carried[:12] or 'none'} {where}".strip()
        wanted, ok = f"sha256 {intended[:12]}", carried == intended
        yield tick("configuration", wanted, found, ok, OTHER_TEXT, name)
    if answer["system"] in STATES:
        found = " ".join([answer["system"], answer.get("failed", "")]).strip()
        why = "These units failed: systemctl status tells why."
        yield tick("systemd", "running", found, answer["system"] == "running", why, name)
    if "fleet" in answer:
        ok, found = answer["fleet"].strip() == str(size), f"{answer['fleet'].strip()} machines"
        why = "fleet finds its machines through etcd: look at that first."
        yield tick("fleet", f"{size} machines", found, ok, why, name)
    if re.match(r":\d", answer.get("address", "")):
        yield tick("$private_ipv4", "its address", answer["address"], False, EMPTY, name)


def _given(cloud: Cloud, there: dict[str, dict], texts: Mapping[str, str]) -> list[Tick]:
    """Return whether the cloud has these texts as the user data of the machines, where it tells."""
    if not cloud.can_keep_user_data:
        return []
    try:
        has = {n: _has(cloud, n, m, texts[stem_of(n)]) for n, m in there.items()}
    except Refused as error:
        return [tick("user data", GIVEN, NOT_ASKED, None, f"{error.text}.", n) for n in there]
    return [
        tick("user data", GIVEN, GIVEN if ok else "others", ok, OTHER_TEXT, n)
        for n, ok in has.items()
    ]


def _has(cloud: Cloud, name: str, machine: dict, text: str) -> bool:
    """Tell whether a machine's user data are this text, with or without its host name."""
    (row,) = cloud.list("listVirtualMachines", id=machine["id"], userdata=True)
    return are_of(row.get("userdata", ""), text, name, address_of(machine))
