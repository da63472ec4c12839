"""The texts of a cloud-config, for CoreOS of 2014 and for Flatcar."""

import json
import re
from textwrap import indent

from lib import units
from lib.errors import ParamsError

KEYS = """\

ssh_authorized_keys:
{keys}
"""
COREOS = """\
#cloud-config

coreos:
  etcd:
    discovery: {url}
    addr: $private_ipv4:4001
    peer-addr: $private_ipv4:7001
  units:
    - name: etcd.service
      command: start
    - name: fleet.service
      command: start
"""
# For an image that leaves $private_ipv4 empty.
PLAIN = f"""\
#cloud-config

write_files:
  - path: /opt/bin/note-address
    permissions: "0755"
    content: |
{indent(units.PLAIN_SCRIPT, " " * 6)}\
  - path: /etc/systemd/system/etcd.service.d/30-address.conf
    content: |
{indent(units.PLAIN_DROP_IN, " " * 6)}\
  - path: /etc/systemd/system/fleet.service.d/30-address.conf
    content: |
{indent(units.PLAIN_DROP_IN, " " * 6)}
coreos:
  etcd:
    discovery: {{url}}
  units:
    - name: cluster-address.service
      command: start
      content: |
{indent(units.PLAIN_ADDRESS, " " * 8)}\
    - name: etcd.service
      command: start
    - name: fleet.service
      command: start
"""
FLATCAR = f"""\
#cloud-config

coreos:
  units:
    - name: etcd-address.service
      command: start
      content: |
{indent(units.ADDRESS, " " * 8)}\
    - name: etcd-member.service
      command: start
      enable: true
      drop_ins:
        - name: 20-cluster.conf
          content: |
{indent(units.MEMBER, " " * 12)}\
"""
TEMPLATES = {"coreos-install": COREOS, "flatcar-install": FLATCAR}


def render(
    *,
    installer: str,
    discovery_url: str,
    ssh_keys: list[str],
    oem: str = "cloudstack",
    members: str = "",
) -> str:
    """Return the cloud-config for what the installer installs.

    CoreOS of 2014 knows $private_ipv4 only from an image made for CloudStack. Flatcar's etcd finds
    the others by the arguments `members`, for "" by the token.
    """
    if installer not in TEMPLATES:
        raise ParamsError("installer", " or ".join(TEMPLATES), installer)
    template = TEMPLATES[installer]
    if installer == "coreos-install" and oem != "cloudstack":
        template = PLAIN
    members = members or units.BY_TOKEN
    text = template.replace("{members}", indent(members, " " * 12).lstrip())
    return text.replace("{url}", str(discovery_url)) + _keys(ssh_keys)


def neutral(ssh_keys: list[str]) -> str:
    """Return a cloud-config that makes a machine of no cluster: one can log in, that is all."""
    return "#cloud-config\n" + _keys(ssh_keys)


def _keys(ssh_keys: list[str]) -> str:
    plain = re.compile(r"[\w@.+/= -]+")
    keys = [k if plain.fullmatch(k) else json.dumps(k, ensure_ascii=False) for k in ssh_keys]
    return KEYS.format(keys="\n".join(f"  - {k}" for k in keys))
