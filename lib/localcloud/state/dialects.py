"""Dialects: how CloudStack 4.22 and 2.2 differ, as data."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone


@dataclass(frozen=True)
class Dialect:
    """The behaviour of a version of CloudStack where versions differ."""

    name: str
    version: str
    # the wire
    numeric_ids: bool = False
    blanks: bool = False  # blanks around braces, errortext not escaped
    error_extras: bool = True  # uuidList and cserrorcode in errors
    count_is_total: bool = True  # else: of this page
    sync_success: bool | str = True
    expires_checked: bool = True
    unknown_command: int = 401
    unlimited_pagesize: bool = True
    time_zone: timezone = UTC
    content_type: str = "{};charset=utf-8"
    sends_date: bool = False
    longest_body: int = 404  # what a form of more than 1 MiB is answered with
    stable_pages: bool = False  # pages of a list sorted by time fit together
    # jobs
    custom_job_ids: bool = True
    job_details: bool = True  # accountid, cmd, created and so on
    lists_finished_jobs: bool = False
    class_prefix: str = "org.apache.cloudstack.api.command.user.{area}."
    # rules
    quota_code: int = 535
    names_are_patterns: bool = False
    hypervisor: str = "KVM"
    image_format: str = "QCOW2"
    max_data_disks: int = 32
    snapshot_state_of_volume: str | None = "Snapshotting"
    deletable_snapshots: tuple[str, ...] = ("BackedUp", "Allocated", "Error", "CreatedOnPrimary")
    template_name_length: int = 255
    template_names_unique: bool = False
    template_guarded: bool = True  # not deleted while machines use it
    host_names_unique: bool = True
    expunges_errors: bool = False  # a machine in Error, as soon as it is destroyed
    reboot_refusal: int = 431
    userdata_get: int = 4096  # base64 characters, fewer than that
    userdata_post: int = 1048576
    userdata_longest: int = 32768
    first_ids: dict[str, int] = field(default_factory=dict)

    def stamp(self, at: float) -> str:
        """Return a moment as the server prints it, in its own time zone."""
        return datetime.fromtimestamp(at, self.time_zone).strftime("%Y-%m-%dT%H:%M:%S%z")


MODERN = Dialect("4.22", "4.22.0.0")

# As IDCF Cloud ran it in 2014: VMware, numbers that go on from those of that summer.
OLD = Dialect(
    "2.2",
    "2.2.14",
    numeric_ids=True,
    blanks=True,
    error_extras=False,
    count_is_total=False,
    sync_success="true",
    expires_checked=False,
    unknown_command=432,
    unlimited_pagesize=False,
    time_zone=timezone(timedelta(hours=9)),
    content_type="{}; charset=UTF-8",
    sends_date=True,
    longest_body=413,
    stable_pages=True,
    custom_job_ids=False,
    job_details=False,
    lists_finished_jobs=True,
    class_prefix="com.cloud.api.commands.",
    quota_code=534,
    names_are_patterns=True,
    hypervisor="VMware",
    image_format="OVA",
    max_data_disks=6,
    snapshot_state_of_volume=None,
    deletable_snapshots=("BackedUp",),
    template_name_length=32,
    template_names_unique=True,
    template_guarded=False,
    host_names_unique=False,
    expunges_errors=True,
    reboot_refusal=530,
    userdata_get=4096,
    userdata_post=4096,
    userdata_longest=4096,
    first_ids={
        "volume": 80921,
        "virtualmachine": 53554,
        "snapshot": 157309,
        "template": 8599,
        "job": 1131657,
    },
)

ALIASES = {"4.20": "4.22"}  # what it was called before it was measured
DIALECTS = {d.name: d for d in (MODERN, OLD)}


def named(name: str) -> str:
    """Return the name of a dialect from its name or an alias."""
    return ALIASES.get(name, name)
