"""The tag of a run at work: runs on other machines are told of it, and none trusts it.

While a run changes a cluster, the volume or the machines that it creates first, or else the one
that it is about to change, bear the tag `runbook-run-CLUSTER`: which run, of whom, where, since
when. Snapshots bear none, as the row of a snapshot shows one tag of many (`Ours`), nor templates,
which clusters may share, nor what is about to be removed: a destroyed machine keeps its tags,
unseen, until it is expunged. The tag goes when the run ends. A run that was killed leaves it, so it
refuses nobody, and the next run puts its own in its place.
"""

import json
import os
import re
from datetime import datetime
from pathlib import Path
from socket import gethostname

from lib import changes, jobs
from lib.api.client import Client
from lib.checks import Tick, tick
from lib.errors import CloudError, JobTimeout, RunbookError, Unreachable
from lib.record import facts, whole
from lib.record.journal import now
from lib.record.provenance import user
from lib.steps import tag_params

FILE = "underway.json"  # of the run folder: what bears the tag
BEARERS = ("Volume", "UserVm")  # types of resources, as createTags has them
CHANGES = re.compile(r"(attach|detach)Volume|(start|stop|reboot|update|changeServiceFor)Virtual.*")
WHAT, WITHIN = "the tag of this run", 60.0  # seconds that its jobs may take
LONGEST = 255  # characters of a tag's value, as the column resource_tags.value has it
WORDS = re.compile(r"(?P<who>(?P<run>.+) by .+ at (?P<host>\S+)) since (?P<since>\S+)")
NEXT = (
    "If it is at work, wait for its end. If it was cut off, go on: the next run replaces its tag."
)


def rows(cloud: Client) -> list[Tick]:
    """Return a row on each other run at this cluster, with a dash: it may have been cut off."""
    if not cloud.has_tags:
        return [tick("other runs", "none", "not known: this server has no tags", None)]
    found = [tick("other runs", "none", text, None) for text, _ in _others(cloud)]
    return found or [tick("other runs", "none", "none", True)]


def _others(cloud: Client) -> list[tuple[str, dict]]:
    """Return what other runs say at this cluster, in words, each with its row of listTags.

    It goes into the facts of the run as well, where the terminal finds it.
    """
    own = cloud.folder.name, gethostname()
    found = []
    for row in cloud.list_if_allowed("listTags", key=_key(cloud)) or []:
        words = WORDS.fullmatch(str(row.get("value")))
        began = _moment(words["since"]) if words else None
        if words and began and (words["run"], words["host"]) != own:
            when = f"began at {began.astimezone():%F %T %Z} and has not ended"
            found.append((f"{words['who']} {when}", row))
    facts.add(underway=[text for text, _ in found])
    return found


def _moment(text: str) -> datetime | None:
    """Return the moment that a text names with its zone, None if it names none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def _key(cloud: Client) -> str:
    return f"runbook-run-{cloud.cluster}"


def of_new(cloud: Client, resource: str, ids: list[str]) -> dict[str, str]:
    """Return the tag for resources of a type that were just created, none if another bears it."""
    return _noted(cloud, resource, ids) if resource in BEARERS and _is_due(cloud) else {}


def mark(cloud: Client, command: str, params: dict) -> None:
    """Put the tag on what a run is about to change first, and print who else is at work on it.

    A failure is printed, too, and stops nothing.
    """
    if not (CHANGES.fullmatch(command) and _is_due(cloud)):
        return
    resource, ids = BEARERS[command.endswith("Machine")], [str(params["id"])]
    try:
        for other, row in _others(cloud):
            print(f"! {other}. {NEXT}")
            if (row["resourcetype"], str(row["resourceid"])) == (resource, *ids):
                _done(cloud, "deleteTags", tag_params(ids, resource, {row["key"]: row["value"]}))
        tags = _noted(cloud, resource, ids)
        _done(cloud, "createTags", tag_params(ids, resource, tags))
    except RunbookError as error:
        print(f"! Other machines do not see that this run is at work: {error}")


def _is_due(cloud: Client) -> bool:
    """Tell whether this is a run at a cluster that bears no tag yet."""
    is_run = bool(os.environ.get("RUNBOOK_RUN")) and bool(cloud.cluster)
    return is_run and cloud.has_tags and not is_marked(cloud.folder)


def _noted(cloud: Client, resource: str, ids: list[str]) -> dict[str, str]:
    """Write down, before it is sent, what will bear the tag; return the tag."""
    value = f"{cloud.folder.name} by {user()} at {gethostname()} since {now()}"[:LONGEST]
    tags = {_key(cloud): value}
    whole.write(cloud.folder / FILE, json.dumps(tag_params(ids, resource, tags)))
    return tags


def _done(cloud: Client, command: str, params: dict) -> None:
    answer = changes.send(cloud, command, params, WHAT, WITHIN)
    if "jobid" in answer:
        jobs.wait(cloud, jobs.Job(str(answer["jobid"]), command, WHAT, cloud.clock()), WITHIN)


def is_marked(folder: Path) -> bool:
    """Tell whether something bears the tag of the run in a folder, or may bear it."""
    return (folder / FILE).exists()


def end(cloud: Client) -> str:
    """Take the tag of a run off again; return why other machines are still told of it, or ""."""
    path = cloud.folder / FILE
    params = whole.read(path)
    try:
        if params:
            _done(cloud, "deleteTags", params)
    except (Unreachable, JobTimeout) as error:
        return f"Other machines are told that this run is at work: its tag is still there. {error}"
    except CloudError:
        pass  # what bore it is gone
    path.unlink(missing_ok=True)
    return ""
