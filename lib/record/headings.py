"""What people call the fields of CloudStack's answers, and how values read in a table."""

from datetime import datetime

import pandas as pd

from lib.record import reading

# The field itself shows on hover.
HEADINGS = {
    "allocationstate": "allocation",
    "cidr": "CIDR",
    "cmd": "command",
    "cpunumber": "CPUs",
    "cpuspeed": "MHz",
    "created": "created",
    "deviceid": "device number",
    "disksize GiB": "size GB",
    "displayname": "display name",
    "hosttags": "host tags",
    "intervaltype": "interval",
    "isasync": "is a job",
    "iscustomized": "any size",
    "isready": "ready",
    "jobinstancetype": "on a",
    "jobstatus": "job status",
    "memory": "memory MiB",
    "networktype": "network type",
    "nic": "addresses",
    "ok": "",
    "serviceofferingname": "offering",
    "templatename": "template",
    "vmdisplayname": "attached to",
    "volumename": "of volume",
    "diskofferingid": "disk offering",
    "networkids": "networks",
    "ostypeid": "OS type",
    "serviceofferingid": "offering",
    "snapshotid": "snapshot",
    "templateid": "template",
    "virtualmachineid": "machine",
    "volumeid": "volume",
    "zoneid": "zone",
    "zonename": "zone",
}
WORDS = {"True": "yes", "False": "no"}


def local(value: object) -> str:
    """Return a value as a person here would write it: times in local time with its zone."""
    text = reading.text(value)
    if isinstance(value, datetime) and text:
        return f"{pd.Timestamp(value).to_pydatetime().astimezone():%Y-%m-%d %H:%M:%S %Z}"
    return WORDS.get(text, text)
