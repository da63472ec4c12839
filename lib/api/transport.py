"""Transport: one request, signed and sent, and what its answer or its loss means."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import requests

from lib.api import answers
from lib.api.signing import sign
from lib.errors import ParamsError, ProfileError, Refused, RunbookError, Unreachable
from lib.profiles import Profile
from lib.record import masks
from lib.record.requests import Request

QUESTION = re.compile(r"^(list|query|get|find)[A-Z]")
BUSY = (500, 502, 503, 504, 530)  # a cloud that may answer when it is asked again
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
class Transport:
    """Sends requests to the endpoint of a profile, and logs them in `folder`."""

    profile: Profile
    folder: Path
    session: requests.Session = field(default_factory=requests.Session)

    def send(self, command: str, wire: dict) -> dict:
        """Send one request, log it once it is answered or lost, and return what its answer holds.

        Raises Refused for what the cloud says, Unreachable for what it did not say, and
        ProfileError where nothing could be sent at all.
        """
        question = bool(QUESTION.match(command))
        log = Request(self.folder, command, wire)
        bounds = self.profile.deadline, self.profile.max_answer
        try:
            answer, data = answers.read(lambda: self.post(command, wire, question), *bounds)
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

    def post(self, command: str, wire: dict, question: bool) -> requests.Response:
        """Post a signed request, and return the answer, whose body is not read yet."""
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


def _skew(date: str) -> float:
    """Return by how many seconds this clock is ahead of an HTTP Date header, 0 without one."""
    try:
        return (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    except ValueError:
        return 0.0


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
