"""Commands about the account, its limits, events and jobs, and about the API itself."""

from typing import Any

from ..state import events, jobs
from ..state.cloud import LIMITS, Cloud, Listing, fitting, used
from ..state.fields import chosen, fields_of
from ..state.refusals import DIRECT, ApiError
from ..state.registry import Command, Param, command, known, params_of
from ..state.rows import Row
from ..state.views import more
from .params import kind_of

TYPES = {"vm": "user_vm", "ip": "public_ip"} | {
    f"{kind}storage": f"{kind}_storage" for kind in ("primary", "secondary", "backup", "object")
}
UNLIMITED = -1
UNKNOWN_API = "Api Discovery plugin was unable to find an api by that name or process any apis"
# The kind of row that a field holds several of.
NESTED = {"tags": "tag"} | {k: k for k in ("nic", "user", "securitygroup", "affinitygroup")}
SHOWN_TYPES = {"uuids": "list", "strings": "list"}


@command("listCapabilities")
def list_capabilities(cloud: Cloud) -> dict:
    """Answer with version and settings."""
    throttle = cloud.setting("throttle")
    limits = {"apilimitinterval": throttle["interval"], "apilimitmax": throttle["max"]}
    shown = cloud.setting("capabilities")["version"]
    version = {"cloudstackversion": cloud.dialect.version} if shown else {}
    return version | (limits if throttle["max"] else {})


@more("capability")
def _capability(cloud: Cloud, row: Row) -> dict:
    disks = cloud.setting("disks")
    return {
        "allowuserexpungerecovervm": bool(cloud.setting("expunge")["allowed"]),
        "customdiskofferingminsize": disks["smallest"],
        "customdiskofferingmaxsize": disks["largest"],
        "securitygroupsenabled": any(z["securitygroupsenabled"] for z in cloud.rows("zone")),
    }


@command("listApis")
def list_apis(cloud: Cloud, name: str | None = None, keyword: str = "") -> Listing:
    """Answer with the registry."""
    rows = [c for c in known(cloud.dialect.name).values() if not cloud.lacks(c.name)]
    if name is not None:
        rows = [c for c in rows if c.name.lower() == name.lower()]
        if not rows:
            raise ApiError(530, UNKNOWN_API, DIRECT)
    return Listing("api", [api_row(c, cloud.dialect.name) for c in rows])


TOLD_AS_SUCCESS = ("registerUserData",)  # which answers with more than listApis says


def api_row(one: Command, dialect: str) -> dict:
    """Return a command as listApis shows it."""
    kind = "" if one.name in TOLD_AS_SUCCESS else one.answers
    related = _answering(kind, dialect)
    return {
        "name": one.name,
        "description": one.description,
        "since": one.since or None,
        "isasync": one.kind.startswith("async"),
        "related": (",".join(related) if len(related) > 1 else "") if kind else None,
        "params": [_param_row(one, p, dialect) for p in params_of(one, dialect)],
        "response": _response(kind, dialect),
    }


def _answering(kind: str, dialect: str) -> list[str]:
    """Return the commands that answer with a kind of row."""
    return [c.name for c in known(dialect).values() if kind and c.answers == kind]


def _response(kind: str, dialect: str, nested: dict[str, str] = NESTED) -> list[dict]:
    """Return the fields of an answer, with those of the rows inside it."""
    return [
        {"name": f.name, "type": f.type, "description": ""}
        | ({"response": _response(nested[f.name], dialect, {})} if f.name in nested else {})
        for f in fields_of(kind, dialect)
    ]


def _param_row(one: Command, p: Param, dialect: str) -> dict:
    row = {
        "name": p.name,
        "description": p.description,
        "type": SHOWN_TYPES.get(p.type, p.type),
        "length": p.length,
        "required": p.needed(dialect),
    }
    if p.type in ("uuid", "uuids"):
        row["related"] = ",".join(_answering(kind_of(one, p.name), dialect))
    return row | ({"since": p.since} if p.since else {})


@command("getApiLimit")
def get_api_limit(cloud: Cloud) -> dict:
    """Answer with the calls made in this interval and those allowed, if any limit is set (432)."""
    setting = cloud.setting("throttle")
    if not setting["max"]:
        text = "This api is only available when api.throttling.enabled = true."
        raise ApiError(432, text, DIRECT)
    began, calls = cloud.throttle
    left = began + setting["interval"] - cloud.clock()
    return {
        "accountid": cloud.account()["id"],
        "account": cloud.account()["name"],
        "apiIssued": calls,
        "apiAllowed": setting["max"] - calls,
        "expireAfter": max(0, round(left * 1000)),  # ms, as StoreEntryImpl counts
    }


@command("listResourceLimits")
def list_resource_limits(
    cloud: Cloud, resourcetype: int | None = None, keyword: str = ""
) -> Listing:
    """Answer with the limits; their type is a text, also on the wire."""
    names = LIMITS[: cloud.dialect.limits_listed]
    rows = [
        {"resourcetype": str(n), "resourcetypename": TYPES.get(name, name)}
        | {"max": cloud.setting("limits")[name]}
        for n, name in enumerate(names)
        if resourcetype in (None, n)
    ]
    return Listing("resourcelimit", rows)


@more("account")
def _account(cloud: Cloud, row: Row) -> dict:
    states = [m["state"] for m in cloud.rows("virtualmachine")]
    view: dict = {"vmrunning": states.count("Running"), "vmstopped": states.count("Stopped")}
    view |= {"roleid": row.get("roleid"), "groups": [], "user": [user_of(cloud, row)]}
    for what in LIMITS:
        # Storage is in GiB; only that of secondary storage may be a fraction.
        limit, taken = cloud.setting("limits")[what], used(cloud, what)
        taken = float(taken) if what == "secondarystorage" else int(taken)
        view |= {f"{what}total": taken, f"{what}limit": _words(limit)}
        view |= {f"{what}available": _words(limit if limit < 0 else limit - taken)}
    return view


def _words(limit: float) -> str:
    return "Unlimited" if limit == UNLIMITED else str(limit)


def user_of(cloud: Cloud, row: Row) -> dict:
    """Return the user of an account, which has one."""
    own = {k: row.get(k) for k in ("domainid", "domain", "apikey", "roleid")}
    own |= dict.fromkeys(("username", "firstname", "lastname", "account"), row["name"])
    own |= {"id": row["userid"], "accountid": row["id"], "email": f"{row['name']}@example.com"}
    return chosen("user", cloud.dialect.name, own | {"created": cloud.stamp(row["at"])})


@command("listEvents")
def list_events(
    cloud: Cloud,
    startdate: float = 0,
    enddate: float = float("inf"),
    keyword: str = "",
    **filters: Any,
) -> Listing:
    """Answer with the matching events."""
    rows = [
        row
        for row in fitting(cloud, "event", **filters)
        if startdate <= row["at"] <= enddate and keyword.lower() in row["description"].lower()
    ]
    return Listing("event", rows[::-1] if cloud.dialect.stable_pages else rows)


@command("queryAsyncJobResult")
def query_async_job_result(cloud: Cloud, jobid: Any) -> dict:
    """Answer with the job as it stands now."""
    return jobs.find(cloud, jobid)


@more("asyncjobs")
def _job(cloud: Cloud, job: Row) -> dict:
    # Old servers forget what a job was about once it is over.
    about = job if cloud.dialect.job_details or job["status"] == jobs.PENDING else {}
    result = job.get("result")
    return {
        "accountid": cloud.account()["id"],
        "userid": cloud.account()["userid"],
        "cmd": events.class_name(cloud, jobs.COMMANDS[job["command"]]),
        "jobstatus": job["status"],
        "jobresultcode": job["code"],
        "managementservername": "localhost" if job["status"] == jobs.PENDING else None,
        "managementserverid": cloud.account().get("serverid")
        if job["status"] == jobs.PENDING
        else None,
        "jobinstancetype": about.get("instancetype"),
        "jobinstanceid": about.get("instance"),
        "completed": cloud.stamp(job.get("completed")),
        "jobid": job["id"],
        "jobresulttype": "object" if result is not None else None,
        "jobresult": result,
    }


@command("listAsyncJobs")
def list_async_jobs(cloud: Cloud, startdate: float = 0, keyword: str = "") -> Listing:
    """Answer with the jobs that match; `keyword` is part of the command's class."""
    rows = [
        job
        for job in cloud.rows("job")
        if not job["lost"]
        and (job["status"] == jobs.PENDING or cloud.dialect.lists_finished_jobs)
        and job["at"] >= startdate
        and keyword.lower() in events.class_name(cloud, jobs.COMMANDS[job["command"]]).lower()
    ]
    return Listing("asyncjobs", rows)


@command("listUsers")
def list_users(cloud: Cloud, keyword: str = "") -> Listing:
    """Answer with the only user."""
    user = user_of(cloud, cloud.account())
    rows = [user] if keyword.lower() in user["username"].lower() else []
    return Listing("user", rows, lambda row: {"created": row["created"]})


@command("listDomains")
def list_domains(cloud: Cloud, keyword: str = "") -> Listing:
    """Answer with the only domain."""
    me = cloud.account()
    row = {"id": me["domainid"], "name": me["domain"], "path": me["domainpath"]}
    row["level"] = me["domainpath"].count("/")
    return Listing("domain", [row] if keyword.lower() in row["name"].lower() else [])
