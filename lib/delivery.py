"""Which configuration goes where: onto the disk, or to each cluster's machines as user data.

With "disk" the text that holds the discovery token is baked into the template. With "userdata" the
template is neutral, so that each cluster made of it may have a token of its own.
"""

from lib.errors import ParamsError

DELIVERIES = ("disk", "userdata")
ON_DISK = {"cloud-config": "cloud-config.yml", "ignition": "config.ign"}  # by format
USER_DATA = "user-data.yml"
NEUTRAL = {"config": "neutral"}  # tag on a template without a token


def check(installer: str, oem: str, config_format: str, config_delivery: str) -> None:
    """Raise ParamsError for values that cannot be, or not together."""
    if config_format not in ON_DISK:
        raise ParamsError("config_format", " or ".join(ON_DISK), config_format)
    if config_delivery not in DELIVERIES:
        raise ParamsError("config_delivery", " or ".join(DELIVERIES), config_delivery)
    if config_format == "ignition" and installer != "flatcar-install":
        raise ParamsError(
            "config_format", "cloud-config: CoreOS of 2014 has no Ignition", "ignition"
        )
    if config_delivery == "userdata" and not oem:
        wanted = 'one that reads user data, such as "cloudstack" (or config_delivery "disk")'
        raise ParamsError("oem", wanted, oem)


def disk_file(config_format: str, config_delivery: str) -> str:
    """Return the name of the file that goes onto the disk, "" if none does.

    An Ignition config on the disk would keep the machines from reading their user data.

    >>> disk_file("ignition", "disk"), disk_file("ignition", "userdata")
    ('config.ign', '')
    """
    neutral = config_delivery == "userdata"
    return "" if neutral and config_format == "ignition" else ON_DISK[config_format]


def token_file(config_format: str, config_delivery: str) -> str:
    """Return the name of the file that holds the discovery token.

    >>> token_file("cloud-config", "disk"), token_file("cloud-config", "userdata")
    ('cloud-config.yml', 'user-data.yml')
    """
    return USER_DATA if config_delivery == "userdata" else ON_DISK[config_format]
