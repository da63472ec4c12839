"""Releases: the images of CoreOS (June 2014) and of Flatcar (today), as their makers publish them.

`releases.json` holds how they and their installers differ: names, texts, partitions, file systems.
"""

from __future__ import annotations

import json
import os
import re
from typing import NamedTuple

from . import images

TABLE = os.path.join(os.path.dirname(__file__), "releases.json")
OEMS = {"", "cloudstack", "openstack", "vmware", "vmware_raw", "ec2", "gce", "azure", "vagrant"}
# Channel, version, name, OEM.
RELEASED = re.compile(
    r"https?://(\w+)\.release\.(?:core-os|flatcar-linux)\.net/[\w-]+/(current|\d+\.\d+\.\d+)/"
    r"(coreos|flatcar)_production_(?:(\w+)_)?image\.\w+(?:\.\w+)?"
)


class Release(NamedTuple):
    """An image and its installer; `options` are those that the installer takes."""

    program: str
    options: str
    unused: str  # options of the original that nobody uses here
    channel: str
    no_device: str
    signed: str
    ident: str
    brand: str
    layout: list[tuple[int, str, int, str, str]]  # as `images.plan_layout` takes it
    root_fs: str
    oem_fs: str
    usr_fs: str
    url: str
    current: dict[str, str]


def _read() -> dict[str, Release]:
    with open(TABLE, encoding="utf-8") as file:
        rows = json.load(file)
    types, found = rows.pop("types"), {}
    for name, row in rows.items():
        parts = [(*part, "")[:5] for part in row["layout"]]
        layout = [(n, label, mib, types[kind], own) for n, label, mib, kind, own in parts]
        found[name] = Release(**row | {"layout": layout})
    return found


RELEASES = _read()
COREOS, FLATCAR = RELEASES["coreos"], RELEASES["flatcar"]


def released(url: str) -> tuple[Release, str, str] | None:
    """Return what the image at a URL is, its version and OEM; None if there is none."""
    found = RELEASED.fullmatch(url)
    kind = RELEASES[found[3]] if found else None
    if not found or found[1] not in kind.current or (found[4] or "") not in OEMS:
        return None
    return kind, kind.current[found[1]] if found[2] == "current" else found[2], found[4] or ""


def write_files(file: images.Path, kind: Release, version: str, oem: str) -> None:
    """Write the file systems of an image, empty except for the notes on the image."""
    about = f"NAME={json.dumps(kind.brand)}\nID={kind.ident}\nVERSION={version}\n"
    notes = {}
    if oem:
        notes["oem-release"] = f"ID={oem}\nVERSION_ID={version}\n".encode()
        notes["grub.cfg"] = f'set oem_id="{oem}"\n'.encode()
    usr = {"lib/os-release": about.encode()}
    images.put_tree(file, 1, {}, kind="vfat", label="EFI-SYSTEM")
    images.put_tree(file, 3, usr, kind=kind.usr_fs, label="USR-A")
    images.put_tree(file, 6, notes, kind=kind.oem_fs, label="OEM")
    images.put_tree(file, 9, {}, kind=kind.root_fs, label="ROOT")
