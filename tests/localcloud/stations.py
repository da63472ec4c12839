"""A workstation for tests, without a server: its own disks, a blank one of others, a volume."""

import json
import subprocess
from pathlib import Path

from lib.localcloud.state.dialects import DIALECTS
from lib.localcloud.workstation import images, shell

GIB = 2**30
VOLUME = "6f1ed002-ab55-4c1a-9d0c-2b9f6c1e7a44"
COLUMNS = "NAME,PATH,SIZE,SERIAL,WWN,MODEL,HCTL,TYPE,MOUNTPOINTS,FSTYPE,PTTYPE,PARTTYPE,PARTLABEL"
COLUMNS += ",LABEL,RO,PKNAME,MAJ:MIN"


class Station:
    """A workstation with the volume `disk` as /dev/vdc; its installers take no time."""

    def __init__(self, folder: Path, dialect: str = "4.22", size: int = 40 * GIB):
        self.folder, self.dialect = folder, DIALECTS[dialect]
        self.home = folder / "workstation" / "home"
        shell.prepare(folder)
        shell.set_time_scale(folder, 0)
        self.own = [{"deviceid": 0, "size": 80 * GIB, "id": "r", "file": None, "mountpoint": "/"}]
        if dialect == "2.2":
            data = {"deviceid": 1, "size": 100 * GIB, "id": "d", "mountpoint": "/data"}
            self.own.append(data | {"file": None})
        self.own.append(self.blank("theirs", len(self.own), 40 * GIB))
        self.row = self.blank(VOLUME, 4, size)
        self.disk = Path(self.row["file"])
        self.show(self.row)

    def blank(self, name: str, device: int, size: int) -> dict:
        """Return a new blank disk."""
        file = self.folder / "disks" / f"{name}.raw"
        images.create_blank(file, size)
        where = {"file": str(file), "mountpoint": None}
        return {"deviceid": device, "size": size, "id": name} | where

    def show(self, *disks: dict) -> None:
        """Have these disks beside its own."""
        shell.write_devices(self.folder, self.dialect, [*self.own, *disks])

    def argv(self, command: str) -> list[str]:
        return ["/bin/sh", str(self.folder / "workstation" / "shell"), "-c", command]

    def run(self, command: str) -> subprocess.CompletedProcess:
        """Run a command to its end."""
        return subprocess.run(
            self.argv(command), capture_output=True, text=True, stdin=subprocess.DEVNULL
        )

    def out(self, command: str) -> str:
        """Return what a command prints that must succeed without a message."""
        done = self.run(command)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def blocks(self, what: str = "") -> list[dict]:
        """Return the disks as lsblk lists them."""
        return json.loads(self.out(f"lsblk -J -b -o {COLUMNS} {what}"))["blockdevices"]
