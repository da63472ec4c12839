"""Whether the workstation can be used: reached, as root, and the machine that the cloud means."""

from lib.checks import Tick, asked, tick
from lib.cloud import Cloud
from lib.errors import NotOne
from lib.workstation import identity, notes
from lib.workstation.shell import Shell, run

UNTOLD = "it does not show which machine of the cloud it is"


def rows(cloud: Cloud, shell: Shell, workstation: str, work_dir: str) -> list[Tick]:
    """Return rows on the workstation; only one with a ✗ where it cannot be reached."""
    found = asked("the workstation", _reached, shell)
    if found[0].ok == "✗":
        return found
    found += asked("sudo on the workstation", _root, shell)
    if found[-1].ok == "✓":
        found += asked(f"it is {workstation}", _same, cloud, shell, workstation)
    return found + asked(f"the notes in {work_dir}", _notes, shell, work_dir)


def _reached(shell: Shell) -> str:
    run(shell, "true")
    return f"{shell.name} answers"


def _root(shell: Shell) -> str:
    run(shell, "true", sudo=True)
    return "works"


def _same(cloud: Cloud, shell: Shell, workstation: str) -> list[Tick]:
    what = f"it is {workstation}"
    try:
        machine = cloud.one("listVirtualMachines", workstation, by="displayname")
    except NotOne:  # another row says so
        return []
    seen = identity.demand_same(shell, machine["id"], machine.get("hypervisor", ""))
    if not seen:
        return [tick(what, "the same machine", UNTOLD, None)]
    return [tick(what, "the same machine", f"yes, by its {seen}", True)]


def _notes(shell: Shell, work_dir: str) -> str:
    return "readable" if notes.read(shell, work_dir) else "none yet"
