"""An order: what to install where."""

from dataclasses import dataclass
from typing import Any

from lib import config as configs
from lib.install import images
from lib.install.images import Image
from lib.install.noted import Install
from lib.workstation.files import sha256
from lib.workstation.shell import Shell


@dataclass(frozen=True)
class Order:
    """What to install where: an image and a configuration, on the disk of a volume.

    `volume` is its row from the cloud, as `volumes.found` returns it. `used` is true once a
    snapshot or template of it exists. Raises ParamsError for an invalid image.
    """

    work_dir: str
    image: Image
    form: configs.Form
    volume: dict | None
    used: bool = False
    volume_name: str = "the volume"  # of a volume that has yet to be made

    def __post_init__(self):
        images.demand_valid(self.image)

    @property
    def name(self) -> str:
        """The name of the volume."""
        return self.volume["name"] if self.volume else self.volume_name

    @property
    def size(self) -> int:
        """The size of the volume in bytes, 0 if it does not exist."""
        return self.volume["size"] if self.volume else 0

    @property
    def is_attached(self) -> bool:
        """Whether the volume is attached to a machine."""
        return bool(self.volume and self.volume.get("virtualmachineid"))

    @property
    def config(self) -> str:
        """The name of the configuration on the disk, "" if there is none."""
        return self.form.disk_file

    @property
    def config_path(self) -> str:
        """The path of the configuration on the workstation, "" if there is none."""
        return f"{self.work_dir}/{self.config}" if self.config else ""

    @property
    def program(self) -> str:
        """The installer's name, or its path on the workstation where it is fetched."""
        return images.program(self.image, self.work_dir)

    def text(self, shell: Shell) -> str:
        """Return the text of the configuration, "" if it is absent."""
        return configs.read(shell, self.work_dir, self.config).text if self.config else ""

    def install(self, text: str, **on_disk: Any) -> Install:
        """Return the install of this order with that text, and fields that describe the disk."""
        volume = str(self.volume["id"]) if self.volume else ""
        return Install(volume, self.image, self.config, sha256(text), **on_disk)
