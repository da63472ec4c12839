"""What the machines of a cluster are configured with.

A stage describes it as a `Config`: in a `Form`, for ssh keys, and with a `Bootstrap`, by which the
etcds find each other. `plan_write` says what is to be written on the workstation, `preview` shows
it, `apply_write` fills in the discovery token, and `read` reads it back for the stages after that.

    addresses     fixed addresses of the machines
    config        the texts, made from the templates in `texts`, and the plan to write them
    config_file   the operator's own configuration
    discovery     tokens, and the service that gives them
    display       texts and differences, shown
    form          which text goes where
    generations   what the images of an installer ignore
    ignition      the rules of an Ignition config
    keys          public ssh keys
    lint          the rules of a cloud-config
    merging       one configuration into another
    placeholders  names in a configuration, and their values
    registered    user data kept at the cloud
    survey        what can be known before it is written
    userdata      user data, and how much of it a server takes
    writing       the texts validated and written
    written       what is on the workstation, and whether machines can be made with it

Arrows go to the small lib only: errors, journal, notes, plan, shell.
"""

from lib.config.addresses import Bootstrap, as_first_started, bootstrap, demand_free, kept, settle
from lib.config.config import Config, plan_write
from lib.config.config_file import ConfigFile, config_file, config_files
from lib.config.discovery import known, masked, service
from lib.config.display import Text, difference, preview
from lib.config.form import CLOUD_CONFIG, ON_DISK, USER_DATA, Form, role_file
from lib.config.keys import ssh_keys
from lib.config.userdata import user_data
from lib.config.writing import (
    apply_write,
    check_valid,
    dated,
    demand_present,
    demand_valid,
    filled,
    replace_text,
    write,
)
from lib.config.written import Written, demand_usable, read

__all__ = [
    "CLOUD_CONFIG",
    "ON_DISK",
    "USER_DATA",
    "Bootstrap",
    "Config",
    "ConfigFile",
    "Form",
    "Text",
    "Written",
    "addresses",
    "apply_write",
    "as_first_started",
    "bootstrap",
    "check_valid",
    "config_file",
    "config_files",
    "dated",
    "demand_free",
    "demand_present",
    "demand_usable",
    "demand_valid",
    "difference",
    "discovery",
    "display",
    "filled",
    "kept",
    "known",
    "masked",
    "plan_write",
    "preview",
    "read",
    "registered",
    "replace_text",
    "role_file",
    "service",
    "settle",
    "ssh_keys",
    "survey",
    "user_data",
    "userdata",
    "write",
]  # fmt: skip
