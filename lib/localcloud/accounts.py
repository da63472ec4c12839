"""Commands about the account, its limits, events and jobs, and about the API itself."""

from typing import Any

from . import jobs
from .cloud import Cloud, Listing, fitting, used
from .fields import fields_of
from .refusals import invalid
from .registry import Command, Param, command, known, params_of
from .state import Row
from .views import more

# Number and name of each limit, and what of ours it counts.
LIMITS = (
    (0, "user_vm", "vm"),
    (1, "public_ip", ""),
    (2, "volume", "volume"),
    (3, "snapshot", "snapshot"),
    (4, "template", "template"),
)
UNLIMITED = -1
SHOWN_TYPES = {"uuids": "list", "strings": "list"}


@command("""listCapabilities sync capability
    Lists what this server can do.
""")
def list_capabilities(cloud: Cloud) -> dict:
    """Answer with version and settings."""
    throttle = cloud.setting("throttle")
    limits = {"apilimitinterval": throttle["interval"], "apilimitmax": throttle["max"]}
    return {"cloudstackversion": cloud.dialect.version} | (limits if throttle["max"] else {})


@more("capability")
def _capability(cloud: Cloud, row: Row) -> dict:
    return {"allowuserexpungerecovervm": bool(cloud.setting("expunge")["allowed"])}


@command("""listApis(4.20) list api
    Lists the commands there are, with their parameters and what they answer.
    name string the command
""")
def list_apis(cloud: Cloud, name: str | None = None, keyword: str = "") -> Listing:
    """Answer with the registry."""
    rows = [c for c in known(cloud.dialect.name).values() if not cloud.lacks(c.name)]
    if name is not None:
        rows = [c for c in rows if c.name.lower() == name.lower()]
        if not rows:
            raise invalid(f"The API [{name}] does not exist or is not available for the account")
    return Listing("api", [api_row(c, cloud.dialect.name) for c in rows])


def api_row(one: Command, dialect: str) -> dict:
    """Return a command as listApis shows it."""
    return {
        "name": one.name,
        "description": one.description,
        "isasync": one.kind.startswith("async"),
        "related": "",
        "params": [_param_row(p, dialect) for p in params_of(one, dialect)],
        "response": [
            {"name": f.name, "type": f.type, "description": ""}
            for f in fields_of(one.answers, dialect)
        ],
    }


def _param_row(p: Param, dialect: str) -> dict:
    row = {
        "name": p.name,
        "description": p.description,
        "type": SHOWN_TYPES.get(p.type, p.type),
        "length": p.length,
        "required": p.needed(dialect),
    }
    return row | ({"since": p.since} if p.since else {})


@command("""getApiLimit(4.20) sync apilimit
    Says how many calls are left.
""")
def get_api_limit(cloud: Cloud) -> dict:
    """Answer with the calls made in this interval and those allowed."""
    setting = cloud.setting("throttle")
    began, calls = cloud.throttle
    left = began + setting["interval"] - cloud.clock()
    return {
        "accountid": cloud.account()["id"],
        "account": cloud.account()["name"],
        "apiIssued": calls,
        "apiAllowed": max(0, setting["max"] - calls) if setting["max"] else UNLIMITED,
        "expireAfter": max(0, round(left)),
    }


@command("""listResourceLimits list resourcelimit
    Lists how much of each resource the account may have; -1 is unlimited.
    id long the limit
    resourcetype integer 0 machines, 1 addresses, 2 volumes, 3 snapshots, 4 templates
""")
def list_resource_limits(
    cloud: Cloud, id: int | None = None, resourcetype: int | None = None, keyword: str = ""
) -> Listing:
    """Answer with the limits; their type is a text, also on the wire."""
    rows = [
        {"resourcetype": str(n), "resourcetypename": name, "max": _limit(cloud, what)}
        for n, name, what in LIMITS
        if resourcetype in (None, n)
    ]
    return Listing("resourcelimit", rows)


def _limit(cloud: Cloud, what: str) -> int:
    return cloud.setting("limits").get(what, UNLIMITED)


@command("""listAccounts list account
    Lists the account with its limits, what it uses and what is left.
    id uuid the account
    name string its name
""")
def list_accounts(cloud: Cloud, **filters: Any) -> Listing:
    """Answer with the one account there is to see."""
    return Listing("account", fitting(cloud, "account", **filters))


@more("account")
def _account(cloud: Cloud, row: Row) -> dict:
    states = [m["state"] for m in cloud.rows("virtualmachine")]
    view: dict = {"vmrunning": states.count("Running"), "vmstopped": states.count("Stopped")}
    for what in ("vm", "volume", "snapshot", "template"):
        limit, total = _limit(cloud, what), used(cloud, what)
        view |= {f"{what}total": total, f"{what}limit": _words(limit)}
        view |= {f"{what}available": _words(limit if limit < 0 else limit - total)}
    return view


def _words(limit: int) -> str:
    return "Unlimited" if limit == UNLIMITED else str(limit)


@command("""listEvents list event
    Lists what happened: the latest page first, and the oldest first within a page.
    id uuid the event
    type string its type, such as VM.CREATE
    level string INFO, WARN or ERROR
    startdate date from this moment on
    enddate date up to this moment
""")
def list_events(
    cloud: Cloud,
    startdate: float = 0,
    enddate: float = float("inf"),
    keyword: str = "",
    **filters: Any,
) -> Listing:
    """Answer with the events that fit."""
    rows = [
        row
        for row in reversed(fitting(cloud, "event", **filters))
        if startdate <= row["at"] <= enddate and keyword.lower() in row["description"].lower()
    ]
    return Listing("event", rows, flipped=True)


@command("""queryAsyncJobResult sync asyncjobs
    Says how far a job is: jobstatus 0 runs, 1 succeeded, 2 failed.
    jobid uuid* the job
""")
def query_async_job_result(cloud: Cloud, jobid: Any) -> dict:
    """Answer with the job as it stands now."""
    return jobs.find(cloud, jobid)


@command("""listAsyncJobs list asyncjobs
    Lists jobs: those that run, and on 2.2 those of the last day that are over.
    startdate date jobs made from this moment on
""")
def list_async_jobs(cloud: Cloud, startdate: float = 0, keyword: str = "") -> Listing:
    """Answer with the jobs that fit; `keyword` is part of the command's class."""
    rows = [
        job
        for job in cloud.rows("job")
        if not job["lost"]
        and (job["status"] == jobs.PENDING or cloud.dialect.lists_finished_jobs)
        and job["at"] >= startdate
        and keyword.lower() in jobs.class_name(cloud, jobs.COMMANDS[job["command"]]).lower()
    ]
    return Listing("asyncjobs", rows)
