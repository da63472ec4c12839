"""Checks that the workstation is the virtual machine to which the volume is attached."""

import re
import uuid

from lib.errors import CheckFailed
from lib.workstation.shell import Shell, run

VENDOR, PRODUCT = "/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/product_uuid"
INSTANCE = ("/run/cloud-init/.instance-id", "/var/lib/cloud/data/instance-id")
# CloudStack's KVM alone sets DMI's UUID to the machine's id, and itself as the vendor.
KVM = "Apache Software Foundation"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def demand_same(shell: Shell, machine: str, hypervisor: str = "") -> str:
    """Return the evidence that the shell runs on the machine of this id; "" if there is none.

    Raises CheckFailed if the shell runs on another machine.
    """
    read = "; ".join(f'echo "$($SUDO cat {f} 2>/dev/null)"' for f in (VENDOR, PRODUCT, *INSTANCE))
    lines = run(shell, f"true; {read}", sudo=True).out.lower().splitlines()
    vendor, product, *instances = map(str.strip, lines)
    instances = [i for i in instances if i]
    expected = str(machine).lower()
    if UUID.fullmatch(product) and expected in _byte_orders(product):
        return "product_uuid"
    if expected in instances:
        return "instance-id"
    others = [product] if KVM.lower() in vendor or hypervisor == "KVM" else instances
    if not UUID.fullmatch(expected) or not any(UUID.fullmatch(o) for o in others):
        return ""
    raise CheckFailed(
        f"the machine behind {shell.name}",
        f"{machine}, which the volume is attached to",
        ", ".join(others),
        "Nothing was written. Set workstation_ssh to the machine that `workstation` names.",
    )


def _byte_orders(product: str) -> set[str]:
    """Return the UUID as it is, and with the bytes of its first fields swapped by firmware."""
    return {product, str(uuid.UUID(bytes_le=uuid.UUID(product).bytes))}
