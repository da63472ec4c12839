"""Sessions: logins with name and password instead of signed calls.

Login and logout skip the checks of other commands, as `ApiServlet` calls the API authenticators
first. A session is two cookies, JSESSIONID and sessionkey; each call must repeat the second
one as a parameter too (`api.sessionkey.check.locations`). Sessions end with the server.
"""

import json
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple

from ..state.cloud import Cloud
from ..state.refusals import ApiError
from ..state.rows import Row

TIMEOUT = 1800  # seconds that login answers with; nothing here ends a session by itself
METHOD = "Please use HTTP POST to authenticate using this API"
UNVERIFIED = "unable to verify user credentials"
COMMANDS = ("login", "logout")


class Outcome(NamedTuple):
    """The answer to a login or logout: status, body, and cookies."""

    status: int
    body: str
    cookies: tuple[str, ...] = ()


def offered(cloud: Cloud) -> bool:
    """Return whether this dialect has logins; 2.2 does not."""
    return cloud.dialect.has_logins


def password(cloud: Cloud) -> str:
    """Return the password of the user, generated at the first use."""
    new = {"password": secrets.token_urlsafe(16)}
    return cloud.state.setting("login", new)["password"]


def answer(cloud: Cloud, given: dict[str, str], cookies: str) -> Outcome:
    """Answer a login or a logout. Raises ApiError 531 for a wrong name, password or domain."""
    if given["command"] == "logout":
        cloud.sessions.pop(cookie(cookies, "JSESSIONID"), None)
        ended = tuple(f"{name}=; Max-Age=0" for name in ("JSESSIONID", "sessionkey"))
        return Outcome(200, json.dumps({"logoutresponse": {"description": "success"}}), ended)
    if cloud.method != "POST":
        return Outcome(405, METHOD)
    _check(cloud, given)
    id, key = f"node0{secrets.token_hex(13)}.node0", secrets.token_urlsafe(20)
    cloud.sessions[id] = key
    new = (f"JSESSIONID={id}; Path=/client; HttpOnly", f"sessionkey={key}; HttpOnly")
    return Outcome(200, json.dumps({"loginresponse": _facts(cloud, key)}), new)


def _check(cloud: Cloud, given: dict[str, str]) -> None:
    me, name = cloud.account(), given.get("username", "")
    # The default domain is ROOT; the account is in one below it.
    domain = given.get("domain", "").strip("/") or "ROOT"
    there = given.get("domainid") == me["domainid"] or f"ROOT/{domain}" == me["domainpath"]
    right = secrets.compare_digest(given.get("password", "").encode(), password(cloud).encode())
    if not (there and right and name == me["name"]):
        text = f"Failed to authenticate user {name} in domain {domain}; please provide valid"
        raise ApiError(531, f"{text} credentials", None)


def _facts(cloud: Cloud, key: str) -> Row:
    me = cloud.account()
    return {
        "username": me["name"],
        "userid": me["userid"],
        "domainid": me["domainid"],
        "timeout": TIMEOUT,
        "account": me["name"],
        "firstname": me["name"],
        "lastname": "User",
        "type": "0",
        "registered": "false",
        "sessionkey": key,
        "is2faenabled": "false",
        "is2faverified": "true",
        "issuerfor2fa": "CloudStack",
    }


def verified(cloud: Cloud, given: dict[str, str], cookies: str) -> bool:
    """Return whether a call belongs to a session; one without the session's key ends it (401)."""
    id = cookie(cookies, "JSESSIONID")
    key = cloud.sessions.get(id)
    if key is None:
        return False
    keys = {given.get("sessionkey", ""), cookie(cookies, "sessionkey")}
    if keys != {key}:
        del cloud.sessions[id]
        name = given.get("command")
        raise ApiError(401, UNVERIFIED, None, key=f"{name.lower()}response" if name else "null")
    return True


def cookie(header: str, name: str) -> str:
    """Return the value of a cookie, empty if there is none."""
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return found.value if found else ""
