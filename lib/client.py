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
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any, Self

import requests

from lib import answers, find, paging, profiles
from lib.abilities import NOT_ALLOWED, Abilities, Rows, no_command
from lib.errors import CheckFailed, ParamsError, ProfileError, Refused, RunbookError, Unreachable
from lib.pace import Gate, Pace
from lib.record import masks
from lib.record.journal import Journal, run_folder
from lib.record.requests import Request
from lib.signing import sign

QUESTION = re.compile(r"^(list|query|get|find)[A-Z]")
PAGE = 500  # CloudStack's own default and maximum, `default.page.size`
TRIES = 5
BUSY = (500, 502, 503, 504, 530)  # a cloud that may answer when it is asked again
NO_PROJECTS = "Projects came with CloudStack 3.0."
WHOLE_ACCOUNT = ("listCapabilities", "listProjects")  # asked to learn the project's id
ELSEWHERE = (301, 302, 303, 307, 308, 404)  # the API itself answers with none of these
WRONG_URL = (
    ". The URL of the endpoint may be wrong{}: it should end in /client/api. Set `endpoint` in the "
    "profile"
)
UNNAMED = (
    "this machine does not know the address of that host (DNS). See that `endpoint` of profile {} "
    "is spelt right"
)
LOGIN = (
    ". A proxy before the cloud asks for a user and a password: give them in `endpoint` of the "
    "profile, as https://user:password@host/client/api"
)
WRONG_KEYS = (
    "The API key is unknown or disabled, the secret is not its own, or the command does not "
    "exist for this account: compare the profile with the keys in the cloud's web console."
)
WRONG_CLOCK = (
    " Or this machine's clock is wrong, as a request that comes after its expiry gets the same "
    "answer: it is {:%Y-%m-%d %H:%M:%S} UTC here, compare that with `date -u` on another machine."
)


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
    session: requests.Session = field(default_factory=requests.Session, repr=False)
    folder: Path = field(default_factory=run_folder, repr=False)
    grace: float = 30
    books: dict[Path, Journal] = field(default_factory=dict, repr=False)  # read by `lib.earlier`
    at_once: int = field(default=0, repr=False)  # changes under way, 0: as many as it bears
    keep: float = field(default=0, repr=False)  # seconds that a list counts, see `list`
    lists: dict[str, tuple[float, Rows]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        let_pass = self.sleep

        def sleep(seconds: float) -> None:
            self.lists.clear()
            let_pass(seconds)

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
    def pace(self) -> Pace:
        """How many changes may be under way, by what this client has seen of the cloud."""
        return Pace(self.at_once)

    @cached_property
    def gate(self) -> Gate:
        """When a throttled cloud may be asked again."""
        return Gate(self.profile.endpoint, self.profile.key, self.clock)

    @cached_property
    def zones(self) -> Rows:
        """The zones there are, asked once: nearly every question is about one of them."""
        return self.list("listZones", available=True)

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
            if left := self.gate.left(most):
                self.sleep(left)
            try:
                return self._once(command, wire)
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
        key = json.dumps([command, self.project, params], sort_keys=True, default=str)
        at, rows = self.lists.get(key, (-inf, []))
        if self.clock() - at >= self.keep:
            rows = paging.every(self.ask, command, params, PAGE, self.profile.max_rows)
            self.lists[key] = self.clock(), rows
        return [copy(row) for row in rows]  # a Row stays one

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

    def _once(self, command: str, wire: dict) -> dict:
        """Send one request, and log it once it is answered or lost."""
        question = bool(QUESTION.match(command))
        if not command.startswith("list"):
            self.lists.clear()
        log = Request(self.folder, command, wire)
        bounds = self.profile.deadline, self.profile.max_answer
        try:
            answer, data = answers.read(lambda: self._post(command, wire, question), *bounds)
        except answers.OverBound as over:
            log.ended(None, None, 0)
            cause = f"{over}; profile {self.profile.name} sets the bound"
            raise self._unreachable(command, cause, not question, passing=False) from None
        except OSError as error:  # RequestException is one
            log.ended(None, None, 0)
            raise self._lost(command, error, question) from None
        text = data.decode("utf-8", "replace")
        body = answers.parsed(text, command)
        wrong = answers.oddity(body)
        if not wrong:
            masks.add_from_answer(text, body)
        inside = {} if wrong or not body else next(iter(body.values()))
        log.ended(answer.status_code, inside, len(data))
        if wrong:
            raise self._unknown(command, answer, question, wrong)
        return self._understood(command, answer, inside, question)

    def _post(self, command: str, wire: dict, question: bool) -> requests.Response:
        # A change takes a connection of its own: a kept one that the server has closed
        # meanwhile would leave open whether the change was made.
        session = self.session if question else requests
        return session.post(
            self.profile.endpoint,
            data=self._signed(command, wire),
            timeout=(10, self.profile.timeout),
            verify=self.profile.verify,
            auth=self.profile.login or None,
            allow_redirects=False,
            stream=True,
        )

    def _signed(self, command: str, wire: dict) -> dict:
        params = {"command": command, "response": "json", "apikey": self.profile.key, **wire}
        if self.profile.expires:
            until = datetime.now(UTC) + timedelta(seconds=self.profile.expires)
            params |= {"signatureversion": "3", "expires": until.strftime("%Y-%m-%dT%H:%M:%S+0000")}
        return params | {"signature": sign(params, self.profile.secret, self.profile.algorithm)}

    def _lost(self, command: str, error: Exception, question: bool) -> RunbookError:
        """Return our error for one of the transport; its own text would hold the whole request."""
        if not isinstance(error, requests.RequestException):  # requests, of a CA bundle
            path = self.profile.verify
            return ProfileError(f"verify of profile {self.profile.name}: {path} cannot be read.")
        if isinstance(error, requests.exceptions.SSLError):
            return ProfileError(
                f"{self.profile.endpoint}: its TLS certificate was not accepted. A private CA is "
                "given as `verify = /path/to/ca.pem` in the profile. Nothing was sent."
            )
        unnamed = "NameResolution" in repr(error)
        never_sent = isinstance(error, requests.ConnectTimeout) or "NewConnection" in repr(error)
        cause = "the connection was lost"
        if unnamed:
            cause = UNNAMED.format(self.profile.name)
        elif never_sent:
            cause = "no connection could be made"
        elif isinstance(error, requests.Timeout):
            cause = f"nothing came within {self.profile.timeout:.0f} s"
        return self._unreachable(command, cause, not (question or never_sent or unnamed))

    def _unreachable(
        self, command: str, cause: str, changed: bool, passing: bool = True
    ) -> Unreachable:
        endpoint = self.profile.endpoint
        return Unreachable(command, endpoint, cause, may_have_changed=changed, passing=passing)

    def _demand_bearable(self, error: Refused, pause: float) -> None:
        """Raise the refusal where the cloud asks for a longer pause than the profile allows."""
        most = self.profile.max_pause
        if pause > most:
            hint = (
                f"It asks for a pause of {pause:.0f} s; `max_pause` of profile {self.profile.name} "
                f"allows {most:g} s. Run this stage again later, or set `max_pause` higher."
            )
            raise Refused(error.command, error.code, error.text, hint) from None

    def _understood(
        self, command: str, answer: requests.Response, inside: dict, question: bool
    ) -> dict:
        """Return the inside of an answer, or raise what it says."""
        if "errorcode" in inside:
            code = answers.code(inside["errorcode"], answer.status_code)
            text = str(inside.get("errortext", ""))[: answers.LONGEST_TEXT]
            raise Refused(command, code, text, self._hint(code, answer))
        if answer.status_code != 200:
            raise self._unknown(command, answer, question)
        return inside

    def _unknown(
        self, command: str, answer: requests.Response, question: bool, wrong: str = ""
    ) -> Unreachable:
        """Return the error for an answer that CloudStack did not give, or that is cut off."""
        kind = answer.headers.get("Content-Type", "no type").split(";")[0]
        why = f" ({wrong})" if wrong else ""
        cause = f"HTTP {answer.status_code} with {kind} that is not a CloudStack answer{why}"
        page = answer.status_code == 200 and "html" in kind
        changed = not question  # a proxy that answers so may have passed the request on before
        passing = not page and answer.status_code in (200, *BUSY)
        if page or answer.status_code in ELSEWHERE:
            there = answer.headers.get("Location")
            cause += WRONG_URL.format(f" (the server points to {there})" if there else "")
        elif answer.status_code in (401, 407):
            cause += LOGIN
        return self._unreachable(command, cause, changed, passing)

    def _hint(self, code: int, answer: requests.Response) -> str:
        """Return what a 401 can mean: CloudStack has one text for wrong keys and a late request."""
        if code != 401:
            return ""
        skew = _skew(answer.headers.get("Date", ""))  # which a proxy may send, CloudStack does not
        if abs(skew) > 60:
            side = "ahead of" if skew > 0 else "behind"
            return f"This machine's clock is {abs(skew):.0f} s {side} the server's: set it right."
        return WRONG_KEYS + (WRONG_CLOCK.format(datetime.now(UTC)) if self.profile.expires else "")


def wire_params(params: dict) -> dict[str, str]:
    """Return parameters as they go over the wire: lower-case names, text values.

    >>> wire_params({"startVM": True, "ids": [1, 2], "size": None, "tags": [{"key": "a"}]})
    {'startvm': 'true', 'ids': '1,2', 'tags[0].key': 'a'}
    """
    flat: dict[str, str] = {}
    for name, value in params.items():
        flat |= _flat(name.lower(), value)
    for name, value in flat.items():
        if re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]", value):
            raise ParamsError(name, "text without control characters", value)
    return flat


def _flat(name: str, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, bool):
        return {name: str(value).lower()}
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], dict):
            rows = enumerate(value)
            return {f"{name}[{i}].{k}": str(v) for i, row in rows for k, v in row.items()}
        return {name: ",".join(map(str, value))}
    return {name: str(value)}


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


def _skew(date: str) -> float:
    """Return by how many seconds this clock is ahead of an HTTP Date header, 0 without one."""
    try:
        return (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    except ValueError:
        return 0.0
