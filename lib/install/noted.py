"""The notes of this room: the disks before an attach, and the install on a volume's disk.

They are written below the names `attach`, `installing` and `installed`. A note that is about
another volume counts as none.
"""

from dataclasses import asdict, dataclass, field, fields

from lib.install.images import Image
from lib.workstation import notes
from lib.workstation.shell import Shell


@dataclass(frozen=True)
class Attach:
    """The state before a volume was attached: all disks, and the volumes of the machine.

    `volumes` is None if the cloud was not asked for them. Afterwards `disk` is the identity of the
    volume's disk, and `name` that of the volume.
    """

    volume: str
    before: list[dict] = field(default_factory=list)
    volumes: list[str] | None = None
    disk: list | None = None
    name: str = ""


@dataclass(frozen=True)
class Install:
    """An install on the disk of a volume: its image, its configuration, and its result.

    `config` is the name of the configuration, "" for none, and `sha256` that of its text. `disk` is
    the identity of the disk. The file `mark` exists once the installer may write on it.
    """

    volume: str
    image: Image
    config: str = "cloud-config.yml"
    sha256: str = ""
    device: str = ""
    size: int = 0
    disk: list | None = None
    mark: str = ""
    success: str = ""
    resolved: str = ""
    image_checksum: str = ""
    signed_by: str = ""

    def order(self) -> dict[str, str]:
        """Return the image and the configuration as parameters; not where the installer is from."""
        image = {k: v for k, v in asdict(self.image).items() if not k.startswith("installer_")}
        return image | {"config": self.config, "sha256": self.sha256}

    def note(self) -> dict:
        """Return the install as a flat note."""
        values = asdict(self)
        return values.pop("image") | values


def attach(values: dict, volume_id: str) -> Attach | None:
    """Return the note of the volume's attach, None if there is none."""
    found = _note(values, "attach", volume_id)
    return Attach(**_known(Attach, found)) if found else None


def install(values: dict, kind: str, volume_id: str) -> Install | None:
    """Return the note "installing" or "installed" of the volume, None if there is none."""
    found = _note(values, kind, volume_id)
    image = {f.name: found.get(f.name, "") for f in fields(Image)}
    return Install(**_known(Install, found), image=Image(**image)) if found else None


def update(shell: Shell, work_dir: str, **values: Attach | Install | None) -> None:
    """Write these notes; None removes one."""
    plain = {k: v.note() if isinstance(v, Install) else v and asdict(v) for k, v in values.items()}
    notes.update(shell, work_dir, **plain)


def _note(values: dict, kind: str, volume_id: str) -> dict:
    found = values.get(kind) or {}
    return found if str(found.get("volume")) == str(volume_id) else {}


def _known(cls: type, found: dict) -> dict:
    return {f.name: found[f.name] for f in fields(cls) if f.name in found and f.name != "image"}
