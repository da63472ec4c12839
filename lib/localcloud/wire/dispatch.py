"""Dispatches a request's parameters to a command, and returns the answer."""

import sqlite3
import sys
import traceback
from functools import partial
from typing import NamedTuple

from ..commands import filters, owners, params, projects
from ..state import events, jobs
from ..state.cloud import Cloud, Listing
from ..state.faults import Fault
from ..state.refusals import ApiError, invalid
from ..state.registry import Command, known
from ..state.rows import Row
from ..state.views import show
from . import auth, envelope, paging, sessions

SIMULATOR = ("configureSimulator", "listSimulatorCalls")
# Commands that exist but are not for users.
ADMIN_ONLY = """listCapacity listHosts listStoragePools listClusters listPods listAlerts
    listSystemVms listRouters listConfigurations listUsers resetUserDataForVirtualMachine"""
HTML = (
    "<html><head><title>{code} Service Unavailable</title></head>"
    "<body><h1>Service Unavailable</h1></body></html>"
)


class Reply(NamedTuple):
    """A reply; a body of None closes the connection without an answer."""

    status: int
    type: str
    body: str | None
    error: str = ""
    delay: float = 0
    cookies: tuple[str, ...] = ()


def handle(cloud: Cloud, given: dict[str, str], method: str, cookies: str = "") -> Reply:
    """Answer one API request; `cookies` is its Cookie header."""
    name = given.get("command", "")
    with cloud.lock:
        cloud.method, cloud.project = method, None
        jobs.advance(cloud)
        fault = None if name in SIMULATOR else cloud.faults.take(name)
        reply, changed = _answer(cloud, given, cookies, fault)
        reply = _kept(cloud, given, reply)
        if name not in SIMULATOR:
            cloud.faults.record(name, given, changed, reply.status)
    if fault and fault.kind == "drop-after":
        return reply._replace(body=None)
    return reply._replace(delay=fault.seconds) if fault and fault.kind == "slow" else reply


def _kept(cloud: Cloud, given: dict[str, str], reply: Reply) -> Reply:
    """Write the state, and return the answer: an error while what was done cannot be written."""
    try:
        cloud.state.commit()
    except sqlite3.Error:
        traceback.print_exc(file=sys.stderr)
        return _refused(cloud, given.get("command", ""), given, ApiError(530, jobs.INTERNAL, 4250))
    return reply


def _answer(
    cloud: Cloud, given: dict[str, str], cookies: str, fault: Fault | None
) -> tuple[Reply, bool]:
    name = given.get("command", "")
    if fault and fault.kind == "drop-before":
        return Reply(0, "", None), False
    if fault and fault.kind == "html":
        code = fault.code or 503
        return Reply(code, "text/html", HTML.format(code=code)), False
    try:
        if name in sessions.COMMANDS and sessions.offered(cloud):
            return _logged(cloud, given, cookies), False
        command = authenticate(cloud, given, cookies)
        _strike(fault)
        text = execute(cloud, command, given, fault)
    except ApiError as error:
        return _refused(cloud, name, given, _seen_by_users(cloud, error)), False
    except Exception:
        traceback.print_exc(file=sys.stderr)
        return _refused(cloud, name, given, ApiError(530, jobs.INTERNAL, 4250)), False
    if fault and fault.kind == "refuse-after":
        return _refused(cloud, name, given, _error(fault)), command.changes
    reply = _reply(cloud, given, 200, text)
    if fault and fault.kind == "malformed":
        reply = reply._replace(body=text[: len(text) // 2])
    return reply, command.changes


def _logged(cloud: Cloud, given: dict[str, str], cookies: str) -> Reply:
    status, text, to_set = sessions.answer(cloud, given, cookies)
    if status == 405:
        return Reply(status, "text/plain", text)
    return _reply(cloud, given, status, text)._replace(cookies=to_set)


def _seen_by_users(cloud: Cloud, error: ApiError) -> ApiError:
    """Hide the text of an exception inside the server, as `ApiServer.handleRequest` does."""
    hidden = error.hidden and cloud.dialect.hides_texts
    return ApiError(error.code, jobs.INTERNAL, error.cause) if hidden else error


def _strike(fault: Fault | None) -> None:
    if fault and fault.kind == "refuse":
        raise _error(fault)


def _error(fault: Fault) -> ApiError:
    code = fault.code or 530
    return ApiError(code, fault.text or jobs.INTERNAL, 9999 if code in (429, 432) else 4250)


def _refused(cloud: Cloud, name: str, given: dict[str, str], error: ApiError) -> Reply:
    text = envelope.refusal(cloud, name, error, escaped=not _wants_json(given))
    # Exceptions have the header X-Description, refusals of a caller do not.
    shown = "" if error.code == 401 or name in sessions.COMMANDS else error.text
    return _reply(cloud, given, error.code, text)._replace(error=shown)


def _reply(cloud: Cloud, given: dict[str, str], status: int, text: str) -> Reply:
    form = cloud.dialect.content_type
    if _wants_json(given):
        return Reply(status, form.format("application/json"), envelope.in_json(text))
    return Reply(status, form.format("text/xml"), envelope.xml(cloud, text))


def _wants_json(given: dict[str, str]) -> bool:
    return given.get("response", "").lower() == "json"


def authenticate(cloud: Cloud, given: dict[str, str], cookies: str = "") -> Command:
    """Return the command if the request may call it; the checks are in the server's order."""
    name = given.get("command")
    in_session = sessions.verified(cloud, given, cookies)
    command = known(cloud.dialect.name).get(name or "")
    if command is None and name not in ADMIN_ONLY.split():
        raise cloud.dialect.no_command()
    signature = "" if in_session else _signature(cloud, given)
    if command is None or cloud.lacks(name):
        raise cloud.dialect.forbidden(name or "", cloud.account()["userid"])
    _throttle(cloud)
    if not in_session:
        auth.check_signature(given, signature, cloud.account()["secretkey"])
    return command


def _signature(cloud: Cloud, given: dict[str, str]) -> str:
    """Return the signature of a request whose time is not over and whose key is the account's."""
    apikey, signature = auth.credentials(given)
    auth.check_expiry(cloud.dialect, given, cloud.clock())
    if apikey != cloud.account()["apikey"]:
        raise auth.unverified(given.get("command"))
    return signature


def _throttle(cloud: Cloud) -> None:
    setting, now = cloud.setting("throttle"), cloud.clock()
    began, calls = cloud.throttle
    if now - began >= setting["interval"]:
        began, calls = now, 0
    cloud.throttle = began, calls + 1
    if setting["max"] and calls >= setting["max"]:
        wait = round(1000 * (began + setting["interval"] - now))
        text = "The given user has reached his/her account api limit, please retry after"
        raise ApiError(429, f"{text} [{wait}] ms.", 9999)


def execute(cloud: Cloud, command: Command, given: dict[str, str], fault: Fault | None) -> str:
    """Run a command and return its answer as JSON."""
    params.check_characters(given)
    values = params.read(cloud.state, cloud.dialect, command, given)
    owners.check(cloud, values)
    projects.enter(cloud, values)
    if command.kind == "list":
        return _list(cloud, command, values)
    if command.kind == "sync":
        return _sync(cloud, command, values)
    return _async(cloud, command, given, values, fault)


def _list(cloud: Cloud, command: Command, values: dict) -> str:
    page, size = values.pop("page", None), values.pop("pagesize", None)
    keep = slice(None) if command.name in SIMULATOR else page_slice(cloud, page, size)
    count_only = values.pop("retrieveonlyresourcecount", False)
    found = projects.in_sight(cloud, filters.listed(cloud, command, values))
    if count_only:
        return envelope.flat(cloud, command.name, {"count": len(found.rows)})
    found = paging.ordered(cloud, found, keep, page)
    return envelope.listing(cloud, command.name, found, keep, len(found.rows))


def page_slice(cloud: Cloud, page: int | None, size: int | None) -> slice:
    """Return the rows of a page; both parameters or none must be given."""
    most = cloud.setting("pages")["size"]
    if size == -1 and page is None:
        return slice(None) if cloud.dialect.unlimited_pagesize else slice(most)
    if size == -1:
        raise invalid("Can't specify page parameter when pagesize is -1 (Unlimited)")
    if size is not None and size > most:
        raise invalid(f"Page size can't exceed max allowed page size value: {most}")
    if page is not None and size is None:
        raise ApiError(431, '"pagesize" parameter is required when "page" is specified', 9999)
    if size is not None and page is None:
        raise ApiError(431, '"page" parameter is required when "pagesize" is specified', 9999)
    if page is None or size is None:
        return slice(most)
    return slice((max(page, 1) - 1) * size, max(page, 1) * size)


def _sync(cloud: Cloud, command: Command, values: dict) -> str:
    found = command.run(cloud, **values)
    if command.changes and command.name not in SIMULATOR:
        events.note(cloud, command, "")
    if found is True:
        return envelope.success(cloud, command.name)
    if isinstance(found, Listing):  # as registerTemplate does
        return envelope.listing(cloud, command.name, found, slice(None), len(found.rows))
    view = show(cloud, command.answers, found)
    if command.name == "queryAsyncJobResult":
        return envelope.flat(cloud, command.name, view)
    return envelope.sync_object(cloud, command.name, command.answers, view)


def _async(
    cloud: Cloud, command: Command, given: dict[str, str], values: dict, fault: Fault | None
) -> str:
    custom = given.get("customjobid") if cloud.dialect.custom_job_ids else None
    jobs.check_custom_id(cloud, command.name, custom)
    try:
        run = command.run or partial(jobs.queued, command=command)
        work: jobs.Work = run(cloud, **values)
    except ApiError as refusal:
        # Newer servers check nothing before the job runs, except in async-create commands.
        if command.kind == "async-create" or not cloud.dialect.checks_in_jobs:
            raise
        work = jobs.Work(error=refusal)
    job = jobs.submit(cloud, command, values, work, custom, fault)
    body: Row = {"jobid": job["id"]}
    if command.kind == "async-create" and work.row:
        body = cloud.dialect.created(work.row["id"], job["id"])
    return envelope.flat(cloud, command.name, body)
