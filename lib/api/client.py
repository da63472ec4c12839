"""The client: signed requests to the cloud, their answers, and the lists that things are found in.

Questions are retried. Changes go through `lib.cloud`, which builds on this and on `lib.changes`.
"""

from __future__ import annotations  # `list` is a method here

import json
import re
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from lib import profiles
from lib.api import answers, find, paging
from lib.api.abilities import NOT_ALLOWED, Abilities, Rows, no_command
from lib.api.answers import Row
from lib.api.lists import CAPABILITIES, LASTING, ZONES, Lists
from lib.api.pace import Gate, Pace
from lib.api.transport import BUSY, QUESTION, Transport, wire_params
from lib.errors import CheckFailed, Refused, Unreachable
from lib.record.journal import Journal, run_folder

PAGE = 500  # CloudStack's own default and maximum, `default.page.size`
TRIES = 5
NO_PROJECTS = "Projects came with CloudStack 3.0."
# Asked to learn the project's id, and how often the account may ask.
WHOLE_ACCOUNT = ("listCapabilities", "listProjects", "getApiLimit")


@dataclass
class Client(Abilities):
    """The client of one cloud. Its text names the endpoint, never the keys.

    Every command is sent for the `project`, "" for what the account has outside of projects.
    `folder` takes the records. A change whose answer is lost is looked for during `grace` seconds.
    """

    profile: profiles.Profile
    project: str = ""
    cluster: str = ""  # that a run is about, for the tag of `lib.underway`
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    folder: Path = field(default_factory=run_folder, repr=False)
    grace: float = 30
    books: dict[Path, Journal] = field(default_factory=dict, repr=False)  # read by `lib.earlier`
    at_once: int = field(default=0, repr=False)  # changes under way, 0: as many as it bears
    keep: float = field(default=0, repr=False)  # seconds that a list counts, see `list`

    def __post_init__(self) -> None:
        self._let_pass = self.sleep

        def sleep(seconds: float) -> None:
            self.lists.forget()
            self._let_pass(seconds)

        self.sleep = sleep

    def __str__(self) -> str:
        project = f", project {self.project}" if self.project else ""
        return f"{self.profile.name} at {self.profile.endpoint}{project}"

    __repr__ = __str__

    @cached_property
    def journal(self) -> Journal:
        """What was changed, or was about to be, at this cloud."""
        return Journal(self.folder, self.profile.endpoint)

    @cached_property
    def transport(self) -> Transport:
        """What sends a request and reads its answer."""
        return Transport(self.profile, self.folder)

    @cached_property
    def pace(self) -> Pace:
        """How many changes may be under way, by what this client has seen of the cloud."""
        return Pace(self.at_once)

    @cached_property
    def gate(self) -> Gate:
        """When a throttled cloud may be asked again."""
        return Gate(self.profile.endpoint, self.profile.key, self.clock)

    @cached_property
    def capabilities(self) -> dict:
        """What listCapabilities says, asked once, within a run by the stages together."""
        ask = partial(getattr, super(), "capabilities")
        lasting = LASTING if self.keep else 0
        return self.lists.rows(CAPABILITIES, lasting, lambda: [self._paced(ask())])[0]

    def _paced(self, capabilities: dict) -> dict:
        """Have requests come as far apart as a throttled cloud demands by its capabilities.

        One less than it takes in an interval, as they are not on their way equally long. A root
        admin is not throttled: none of his requests are counted (ApiRateLimitServiceImpl).
        """
        names = ("apilimitmax", "apilimitinterval")
        most, interval = (answers.code(capabilities.get(name), 0) for name in names)
        issued = self._issued() if most else 0
        self.gate.set_apart(interval / max(1, most - 1) if issued else 0.0, issued)
        return capabilities

    def _issued(self) -> int:
        """Return how many requests were counted in this interval."""
        try:
            found = self.ask("getApiLimit").get("apilimit")
        except Refused:
            return 1
        return answers.code(found.get("apiIssued"), 1) if isinstance(found, dict) else 1

    @cached_property
    def zones(self) -> Rows:
        """The zones there are, asked once: nearly every question is about one of them."""
        ask = partial(self.list, "listZones", available=True)
        rows = self.lists.rows(ZONES, LASTING if self.keep else 0, ask)
        return [Row("listZones", row) for row in rows]

    @cached_property
    def lists(self) -> Lists:
        """What was asked within this run."""
        return Lists(self.clock, self.folder)

    @cached_property
    def project_row(self) -> dict | None:
        """The project that everything is in, None for none. Raises NotOne, CheckFailed."""
        if not self.project:
            return None
        if not self.has_projects:
            raise CheckFailed("project", '"" on this server', self.project, NO_PROJECTS)
        return self.one("listProjects", self.project)

    def _in_project(self, command: str, params: dict) -> dict:
        """Return the parameters with the project's id; a command that takes none passes it over."""
        row = None if command in WHOLE_ACCOUNT else self.project_row
        return {"projectid": row["id"]} | params if row else params

    def within(self, project_id: str) -> Self:
        """Return the cloud as seen from the project of an id, "" for none: for look-ups."""
        mine = self.project_row["id"] if self.project_row else ""
        if project_id == mine:
            return self
        other = copy(self)
        other.project = f"{find.BY_ID}{project_id}" if project_id else ""
        other.project_row = {"id": project_id} if project_id else None
        return other

    def ask(self, command: str, **params: Any) -> dict:
        """Send one command without a journal, and again only where that does no harm."""
        wire = wire_params(self._in_project(command, params))
        attempt, most, waited = 0, self.profile.max_pause, 0.0
        while True:
            if left := self.gate.turn(most):
                self._let_pass(left)
            try:
                if not command.startswith("list"):
                    self.lists.forget()
                started = self.clock()  # after the wait for a turn, which says nothing of the cloud
                answer = self.transport.send(command, wire)
                if not QUESTION.match(command):
                    self.pace.answered(self.clock() - started)
                return answer
            except (Refused, Unreachable) as error:
                throttled = isinstance(error, Refused) and error.code == 429
                attempt += not throttled
                pause = _pause(error, attempt)
                if pause is None or attempt == TRIES:
                    raise
                if isinstance(error, Refused) and throttled:
                    waited += pause
                    self._demand_bearable(error, waited)
                    self.gate.close(pause)
                    self.pace.halve()
                else:
                    self.sleep(min(pause, most))

    def list(self, command: str, **params: Any) -> Rows:
        """Return every row of a list command, or those of the one `page` that is asked for.

        What was listed less than `keep` seconds ago is not asked again, unless the client has
        changed something since, waited, or looked at a job.
        Raises Incomplete when the cloud counts more rows than it shows.
        """
        try:
            return self._rows(command, params)
        except Refused as no:
            raise self._or_nearest(no) from None

    def _rows(self, command: str, params: dict) -> Rows:
        if "page" in params:
            return paging.rows_of(self.ask(command, **params))
        bounds = PAGE, self.profile.max_rows
        if not self.keep:
            return paging.every(self.ask, command, params, *bounds)
        question = json.dumps([command, self.project, params], sort_keys=True, default=str)
        ask = partial(paging.every, self.ask, command, params, *bounds)
        return [Row(command, row) for row in self.lists.rows(question, self.keep, ask)]

    def _or_nearest(self, no: Refused) -> Refused:
        """Return a refusal, or the nearest commands where there is none of that name.

        CloudStack answers to a name that it does not know as it does to wrong keys.
        """
        if no.code not in NOT_ALLOWED or no.command in ("listApis", "listCapabilities"):
            return no
        try:
            known = self.commands
        except (Refused, Unreachable):  # so the keys may be wrong: the first refusal says it
            return no
        return no if no.command in known or not known else no_command(no.command, known)

    def named(self, command: str, name: str, **filters: Any) -> Rows:
        """Return the rows whose name is exactly that; 2.2 takes a part of it for the whole."""
        return [r for r in self.list(command, name=name, **filters) if r.get("name") == name]

    def one(self, command: str, name: str, *, by: str = "name", **filters: Any) -> dict:
        """Return the one row whose field `by` is exactly `name`, or which has that id (`id:…`).

        Raises NotOne, which lists the namesakes, or the existing names, the nearest first.
        """
        rows = self._narrowed(command, name, filters)
        if not find.fitting(rows, name, by):
            rows = self.list(command, **filters)
        inside = self.project or command not in find.IN_PROJECTS or not self.has_projects
        return find.pick(rows, command, name, by, "" if inside else find.ELSEWHERE)

    def _narrowed(self, command: str, name: str, filters: dict) -> Rows:
        """Return what the server itself finds for a name: few rows, so no page is missed."""
        by_id = find.is_id(name)
        query = {"id": name[len(find.BY_ID) :]} if by_id else {"keyword": name}
        try:
            return self.list(command, **filters | query)
        except Refused as no:
            if no.code != 431:  # ApiErrorCode.PARAM_ERROR: no such id
                raise
            return []

    def zone_id(self, zone: str) -> str:
        """Return the id of the zone of that name."""
        return find.pick(self.zones, "listZones", zone)["id"]

    def list_if_allowed(self, command: str, **params: Any) -> Rows | None:
        """Return the rows as `list` does, None where this account may not call the command.

        For questions that only show or explain: roles without single commands are common.
        """
        try:
            return self._rows(command, params)
        except Refused as no:
            if no.code not in NOT_ALLOWED:
                raise
            if no.code == 401:
                self.ask("listCapabilities")  # raises if it is the keys that are not accepted
            return None

    def _demand_bearable(self, error: Refused, pause: float) -> None:
        """Raise the refusal where the cloud asks for a longer pause than the profile allows."""
        most = self.profile.max_pause
        if pause > most:
            hint = (
                f"It asks for a pause of {pause:.0f} s; `max_pause` of profile {self.profile.name} "
                f"allows {most:g} s. Run this stage again later, or set `max_pause` higher."
            )
            raise Refused(error.command, error.code, error.text, hint) from None


def _pause(error: Refused | Unreachable, attempt: int) -> float | None:
    """Return the seconds to wait before sending again, None if it must not be sent again.

    A throttled call (429) is turned away unread, so even a change may be sent again; the delay
    stands in the text, as CloudStack sends no Retry-After.
    """
    if isinstance(error, Refused) and error.code == 429:
        delay = re.search(r"\[(\d+)\] ms", error.text)
        return float(delay[1]) / 1000 if delay else 1.0
    passing = error.code in BUSY if isinstance(error, Refused) else error.passing
    if error.command == "listApis" and getattr(error, "code", 0) == 530:
        passing = False  # it says that there is no such command
    if not (passing and QUESTION.match(error.command)):
        return None
    return min(0.25 * 2**attempt, 8.0)
