"""Is the workstation the machine that the cloud means? Asked before a disk is touched."""

import re
import uuid

from lib.errors import CheckFailed
from lib.workstation.shell import Shell, run

VENDOR, PRODUCT = "/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/product_uuid"
INSTANCE = ("/run/cloud-init/.instance-id", "/var/lib/cloud/data/instance-id")
# Only CloudStack's KVM gives a machine its own id as DMI's UUID, and names itself as its maker.
KVM = "Apache Software Foundation"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def demand_same(shell: Shell, machine: str, hypervisor: str = "") -> str:
    """Return how it is known that the shell is on the machine of that id; "" if it cannot be.

    Raises CheckFailed when it is known to be on another one.
    """
    read = "; ".join(f'echo "$($SUDO cat {f} 2>/dev/null)"' for f in (VENDOR, PRODUCT, *INSTANCE))
    said = run(shell, f"true; {read}", sudo=True).out.lower().splitlines()
    vendor, product, *instances = (line.strip() for line in said)
    given = [i for i in instances if i]
    wanted = str(machine).lower()
    if UUID.fullmatch(product) and wanted in _orders(product):
        return "product_uuid"
    if wanted in given:
        return "instance-id"
    others = [product] if KVM.lower() in vendor or hypervisor == "KVM" else given
    if not UUID.fullmatch(wanted) or not any(UUID.fullmatch(o) for o in others):
        return ""
    raise CheckFailed(
        f"the machine that {shell.name} is",
        f"{machine}, which the volume is attached to",
        ", ".join(others),
        "Nothing was written. Set workstation_ssh to the machine that `workstation` names.",
    )


def _orders(product: str) -> set[str]:
    """Return the UUID, and as firmware gives it that swaps the bytes of its first fields."""
    return {product, str(uuid.UUID(bytes_le=uuid.UUID(product).bytes))}
