"""Which text goes where: onto the disk, or to the machines of one cluster as user data.

With the delivery "disk" the text that holds the discovery token is baked into the template. With
"userdata" the template is neutral, so that each cluster made from it has a token of its own.
"""

from dataclasses import dataclass

from lib.errors import CheckFailed, ParamsError
from lib.workstation.notes import CONFIGS

CLOUD_CONFIG, IGNITION, USER_DATA = CONFIGS
ON_DISK = {"cloud-config": CLOUD_CONFIG, "ignition": IGNITION}  # by format
INSTALLERS = ("coreos-install", "flatcar-install")
DELIVERIES = ("disk", "userdata")
BAKED = (
    "What is baked into a disk stays there, and machines that find an Ignition config on it read "
    "no user data. Set config_format and config_delivery as they were, or make another template: "
    "choose another volume_name, template_name and work_dir."
)
AS_BEFORE = (
    "Set the parameters as they were when it was written. 70-reconfigure-cluster gives other lines "
    "to machines that run; before there are any, 90-remove-cluster clears the way for a new start."
)


@dataclass(frozen=True)
class Form:
    """What is installed, in which format it is configured, and how the text is delivered.

    Raises ParamsError for values that do not exist, or do not go together.
    """

    installer: str
    oem: str
    format: str = "cloud-config"
    delivery: str = "disk"
    template_from: str = "disk"

    def __post_init__(self):
        _demand_one_of("installer", self.installer, INSTALLERS)
        _demand_one_of("config_format", self.format, ON_DISK)
        _demand_one_of("config_delivery", self.delivery, DELIVERIES)
        if self.format == "ignition" and self.installer != "flatcar-install":
            text = "CoreOS of 2014 has no Ignition: set cloud-config"
            raise ParamsError("config_format", text=text)
        if self.delivery == "disk" and self.template_from != "disk":
            text = f'template_from "{self.template_from}" configures no disk: set "userdata"'
            raise ParamsError("config_delivery", text=text)
        if self.delivery == "userdata" and not self.oem:
            text = 'the plain image reads no user data: set "cloudstack", or config_delivery "disk"'
            raise ParamsError("oem", text=text)

    @property
    def disk_file(self) -> str:
        """Return the name of the file that goes onto the disk, "" if none does, or there is none.

        An Ignition config on the disk would keep the machines from reading their user data.

        >>> Form("flatcar-install", "cloudstack", "ignition", "userdata").disk_file
        ''
        """
        if self.template_from != "disk" or (
            self.delivery == "userdata" and self.format == "ignition"
        ):
            return ""
        return ON_DISK[self.format]

    @property
    def cluster_file(self) -> str:
        """Return the name of the file that makes machines a cluster: it holds the token.

        >>> Form("flatcar-install", "cloudstack", "ignition", "userdata").cluster_file
        'user-data.yml'
        """
        return USER_DATA if self.delivery == "userdata" else ON_DISK[self.format]

    def demand_places(self, noted: dict) -> None:
        """Raise CheckFailed when the notes say that an earlier run used other files than these."""
        installed, config = noted.get("installed"), noted.get("config")
        is_from_disk = bool(installed) and self.template_from == "disk"
        baked = installed.get("config", CLOUD_CONFIG) if is_from_disk else self.disk_file
        if baked != self.disk_file:
            asked = self.disk_file or "nothing"
            what = f"the disk carries {baked or 'nothing'}, but the parameters ask for {asked}"
            raise CheckFailed(what, next_step=BAKED)
        holds = config.get("file", CLOUD_CONFIG) if config else self.cluster_file
        if holds != self.cluster_file:
            what = f"the token is in {holds}, but the parameters ask for {self.cluster_file}"
            raise CheckFailed(what, next_step=AS_BEFORE)


def role_file(role: str) -> str:
    """Return the name of the file with the user data of a role's machines; "" is no role.

    >>> role_file("worker"), role_file("")
    ('user-data.worker.yml', 'user-data.yml')
    """
    stem, _, end = USER_DATA.rpartition(".")
    return f"{stem}.{role}.{end}" if role else USER_DATA


def _demand_one_of(name: str, value: str, known) -> None:
    if value not in known:
        raise ParamsError(name, " or ".join(known), value)
