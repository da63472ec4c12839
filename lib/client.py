"""The client: one signed path to the cloud.

`cloud.call(command, …)` returns the unwrapped answer, `cloud.list(command, …)` every row of every
page. Questions are retried. A change is written into the journal and sent once; if its answer is
lost, `lib.reconcile` finds out what became of it.
"""

from __future__ import annotations  # `list` is a method here

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path

import pandas as pd
import requests

from lib import facts, masks, profiles, reconcile, tables
from lib.apilog import Request
from lib.errors import ParamsError, ProfileError, Refused, RunbookError, Unreachable
from lib.jobs import BUSY
from lib.journal import Journal, run_folder
from lib.signing import sign

QUESTION = re.compile(r"^(list|query|get|find)[A-Z]")
PAGE = 500  # CloudStack's own default and maximum, `default.page.size`
TRIES = 5
NOT_ALLOWED = (401, 432)  # ApiErrorCode.UNAUTHORIZED, UNSUPPORTED_ACTION_ERROR


def connect(profile: str, **settings) -> Cloud:
    """Return the cloud of a profile; settings are fields of Cloud, for tests.

    Raises ProfileError; `local` starts the local cloud if need be. If the journal tells of changes
    whose end was not seen, they are settled first, which may mean to wait for a job.
    """
    tables.set_up()
    cloud = Cloud(profiles.read(profile), **settings)
    key = facts.fingerprint(cloud.profile.key)
    facts.note(profile=profile, endpoint=cloud.profile.endpoint, key_fingerprint=key)
    return reconcile.settled(cloud)


@dataclass
class Cloud:
    """A cloud one can talk to. Its text names the endpoint, never the keys.

    `folder` takes the records; for `grace` seconds a change whose answer was lost is looked for.
    """

    profile: profiles.Profile
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    session: requests.Session = field(default_factory=requests.Session, repr=False)
    folder: Path = field(default_factory=run_folder, repr=False)
    grace: float = 30
    books: dict[Path, Journal] = field(default_factory=dict, repr=False)  # read by `lib.earlier`

    def __str__(self) -> str:
        return f"{self.profile.name} at {self.profile.endpoint}"

    __repr__ = __str__

    @cached_property
    def journal(self) -> Journal:
        """What was changed, or was about to be, at this cloud."""
        return Journal(self.folder, self.profile.endpoint)

    @cached_property
    def capabilities(self) -> dict:
        """What listCapabilities says, asked once."""
        found = self.call("listCapabilities").get("capability", {})
        facts.note(server_version=found.get("cloudstackversion", ""))
        return found

    @property
    def version(self) -> tuple[int, ...]:
        """The server's version as numbers, such as (4, 20, 2, 0)."""
        found = self.capabilities.get("cloudstackversion", "")
        return tuple(int(n) for n in re.findall(r"\d+", found)[:4])

    @property
    def has_tags(self) -> bool:
        """Whether resources can carry tags (createTags came after 2.2)."""
        return self.version >= (3,)

    @property
    def may_expunge(self) -> bool:
        """Whether this account may expunge machines (`allowuserexpungerecovervm`, 4.x)."""
        return bool(self.capabilities.get("allowuserexpungerecovervm"))

    @cached_property
    def may_register(self) -> bool:
        """Whether it may register user data, and delete them again; asked once."""
        if not self.may_expunge or self.version < (4, 18):
            return False
        return all(self.list("listApis", name=c) for c in ("registerUserData", "deleteUserData"))

    @cached_property
    def zones(self) -> list[dict]:
        """The zones there are, asked once: nearly every question is about one of them."""
        return self.list("listZones", available=True)

    def call(self, command: str, **params) -> dict:
        """Send one command and return what stands inside its answer.

        Values may be str, numbers, bool, None (left out), lists of words, lists of dicts
        (`tags=[{"key": …, "value": …}]`). Raises ParamsError before anything is sent, Refused,
        Unreachable.
        """
        if QUESTION.match(command):
            return self.ask(command, **params)
        return self.change(command, params)

    def change(
        self,
        command: str,
        params: dict,
        *,
        what: str = "",
        within: float = 3600,
        expect: float = 0,
    ) -> dict:
        """Send one change as `call` does: the one path of all changes.

        `what` it is about goes into the journal, and `within` how many seconds it must end, also
        if its answer is lost or another process waits for it; `expect` are those it should take.
        """
        wire_params(params)
        return reconcile.send(self, command, params, what, within, expect)

    def ask(self, command: str, **params) -> dict:
        """Send one command without a journal, and again only where that does no harm."""
        wire = wire_params(params)
        for attempt in range(1, TRIES + 1):
            try:
                return self._once(command, wire)
            except (Refused, Unreachable) as error:
                pause = _pause(error, attempt)
                if pause is None or attempt == TRIES:
                    raise
                self.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def list(self, command: str, **params) -> list[dict]:
        """Return every row of a list command, following its pages to the end."""
        return [row for page in self._pages(command, params) for row in page]

    def list_if_allowed(self, command: str, **params) -> list[dict] | None:
        """Return the rows as `list` does, None where this account may not call the command.

        For questions that only explain: roles without single commands are common. CloudStack
        answers 432 to a command that the role lacks, older versions 401.
        """
        try:
            return self.list(command, **params)
        except Refused as no:
            if no.code not in NOT_ALLOWED:
                raise
            return None

    def help(self, command: str) -> pd.DataFrame:
        """Return a table of a command's parameters, as the server itself describes them.

        It is empty, and that is said, where the server has no listApis (before 4.1). Raises
        Refused where it has no such command.
        """
        columns = ["name", "type", "required", "since", "description"]
        if self.version < (4, 1):
            print("This server cannot describe its commands: listApis came with 4.1.")
            return pd.DataFrame(columns=columns)
        found = self.list("listApis", name=command)
        if not found:
            raise Refused(command, 432, "this cloud has no such command for this account")
        rows = sorted(found[0].get("params", []), key=lambda p: (not p.get("required"), p["name"]))
        return pd.DataFrame([{c: p.get(c, "") for c in columns} for p in rows], columns=columns)

    def _pages(self, command: str, params: dict) -> Iterator[list[dict]]:
        """Yield pages until one is short, empty, or says nothing new: `count` may be wrong."""
        seen, size, page = set(), PAGE, 1
        while True:
            try:
                answer = self.call(command, **params, page=page, pagesize=size)
            except Refused as no:
                size = _smaller_page(no, size)
                continue
            rows = next((v for v in answer.values() if isinstance(v, list)), [])
            fresh = [r for r in rows if _identity(r) not in seen]
            seen.update(map(_identity, fresh))
            yield fresh
            if not fresh or (len(rows) < size and len(seen) >= answer.get("count", 0)):
                return
            page += 1

    def _once(self, command: str, wire: dict) -> dict:
        """Send one request, and log it once it is answered or lost."""
        question = bool(QUESTION.match(command))
        log = Request(self.folder, command, wire)
        try:
            answer = self._post(command, wire, question)
        except requests.RequestException as error:
            log.ended(None, None, 0)
            raise self._lost(command, error, question) from None
        text = answer.content.decode("utf-8", "replace")
        body = parsed(text)
        masks.know_told(text, body)
        inside = next(iter(body.values()), {}) if body else {}
        log.ended(answer.status_code, inside, len(answer.content))
        if not isinstance(inside, dict) or body is None:
            raise self._unknown(command, answer, question)
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
            allow_redirects=False,
        )

    def _signed(self, command: str, wire: dict) -> dict:
        params = {"command": command, "response": "json", "apikey": self.profile.key, **wire}
        if self.profile.expires:
            until = datetime.now(UTC) + timedelta(seconds=self.profile.expires)
            params |= {"signatureversion": "3", "expires": until.strftime("%Y-%m-%dT%H:%M:%S+0000")}
        signature = masks.know(sign(params, self.profile.secret, self.profile.algorithm))
        return params | {"signature": signature}

    def _lost(self, command: str, error: Exception, question: bool) -> RunbookError:
        """Turn a transport error into ours; its own text would hold the whole request."""
        if isinstance(error, requests.exceptions.SSLError):
            return ProfileError(
                f"{self.profile.endpoint}: its TLS certificate was not accepted. A private CA is "
                "given as `verify = /path/to/ca.pem` in the profile. Nothing was sent."
            )
        never_sent = isinstance(error, requests.ConnectTimeout) or "NewConnection" in repr(error)
        cause = "the connection was lost"
        if never_sent:
            cause = "no connection could be made"
        elif isinstance(error, requests.Timeout):
            cause = f"nothing came within {self.profile.timeout:.0f} s"
        changed = not (question or never_sent)
        return Unreachable(command, self.profile.endpoint, cause, may_have_changed=changed)

    def _understood(
        self, command: str, answer: requests.Response, inside: dict, question: bool
    ) -> dict:
        """Return the inside of an answer, or raise what it says."""
        if "errorcode" in inside:
            code, text = int(inside["errorcode"]), str(inside.get("errortext", ""))
            raise Refused(command, code, text, _hint(code, answer))
        if answer.status_code != 200:
            raise self._unknown(command, answer, question)
        return inside

    def _unknown(self, command: str, answer: requests.Response, question: bool) -> Unreachable:
        """Return the error for an answer that CloudStack did not give, or that is cut off."""
        kind = answer.headers.get("Content-Type", "no type").split(";")[0]
        cause = f"HTTP {answer.status_code} with {kind} that is not a CloudStack answer"
        passing = answer.status_code == 200 or answer.status_code in BUSY
        changed = passing and not question
        endpoint = self.profile.endpoint
        return Unreachable(command, endpoint, cause, may_have_changed=changed, passing=passing)


def wire_params(params: dict) -> dict[str, str]:
    """Return parameters as they go over the wire: lower-case names, text values.

    >>> wire_params({"startVM": True, "ids": [1, 2], "size": None, "tags": [{"key": "a"}]})
    {'startvm': 'true', 'ids': '1,2', 'tags[0].key': 'a'}
    """
    flat = {}
    for name, value in params.items():
        flat |= _flat(name.lower(), value)
    for name, value in flat.items():
        if re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]", value):
            raise ParamsError(name, "text without control characters", value)
    return flat


def _flat(name: str, value) -> dict[str, str]:
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


def parsed(text: str) -> dict | None:
    """Return the JSON object in `text`, None if there is none.

    Raw control characters pass; an error whose text breaks the JSON (2.2 does not escape quotes)
    is read by its two fields.
    """
    try:
        body = json.loads(text, strict=False)
        return body if isinstance(body, dict) else None
    except ValueError:
        code = re.search(r'"errorcode"\s*:\s*(\d+)', text)
        said = re.search(r'"errortext"\s*:\s*"(.*)"\s*}', text, re.S)
        if not code:
            return None
        return {"error": {"errorcode": int(code[1]), "errortext": said[1] if said else text}}


def _identity(row: dict) -> str:
    return str(row.get("id") or json.dumps(row, sort_keys=True)) + str(row.get("zoneid", ""))


def _smaller_page(no: Refused, size: int) -> int:
    allowed = re.search(r"max allowed page size value: (\d+)", no.text)
    if not allowed or int(allowed[1]) >= size:
        raise no
    return int(allowed[1])


def _pause(error: Refused | Unreachable, attempt: int) -> float | None:
    """Return the seconds to wait before sending again, None if that would be no use or no good.

    A throttled call (429) was turned away before it was looked at, so even a change may be sent
    again; the delay stands in the text, as CloudStack sends no Retry-After.
    """
    if isinstance(error, Refused) and error.code == 429:
        told = re.search(r"\[(\d+)\] ms", error.text)
        return int(told[1]) / 1000 if told else 1.0
    passing = error.code in BUSY if isinstance(error, Refused) else error.passing
    if not (passing and QUESTION.match(error.command)):
        return None
    return min(0.25 * 2**attempt, 8.0)


def _hint(code: int, answer: requests.Response) -> str:
    if code != 401:
        return ""
    skew = _skew(answer.headers.get("Date", ""))
    if abs(skew) > 60:
        side = "ahead of" if skew > 0 else "behind"
        return f"This machine's clock is {abs(skew):.0f} s {side} the server's: set it right."
    return (
        "The API key is unknown or disabled, the secret is not its own, or the command does not "
        "exist for this account: compare the profile with the keys in the cloud's web console."
    )


def _skew(date: str) -> float:
    """Return by how many seconds this clock is ahead of an HTTP Date header, 0 without one."""
    try:
        return (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    except ValueError:
        return 0.0
