"""Commands for what security groups let in: a group without rules lets in nothing.

Rules and texts are those of `SecurityGroupManagerImpl` and `AuthorizeSecurityGroupIngressCmd`; 2.2
knows the group by its name only (its own `AuthorizeSecurityGroupIngressCmd`), and is taken to
refuse the same.
"""

from typing import Any

from ..state.cloud import Cloud, fitting
from ..state.jobs import Work
from ..state.refusals import ApiError, invalid
from ..state.registry import command, phase
from ..state.rows import Row
from ..state.views import members_of, more, show
from .firewalls import is_cidr

PROTOCOLS = ("tcp", "udp", "icmp", "all")  # besides numbers
WHO = "securityGroupId and securityGroupName parameters are mutually exclusive"
ONE = (
    "Either securityGroupId or securityGroupName is required by authorizeSecurityGroupIngress "
    "command"
)
FORM = (
    "Invalid user group specified, fields 'group' and 'account' cannot be null, please specify "
    "groups in the form:  userGroupList[0].group=XXX&userGroupList[0].account=YYY"
)


@command("authorizeSecurityGroupIngress")
def authorize(
    cloud: Cloud, securitygroupid: Any = None, securitygroupname: str | None = None, **_: Any
) -> Work:
    """Queue it for the group."""
    if securitygroupid is not None and securitygroupname is not None:
        raise invalid(WHO)
    if securitygroupid is None and securitygroupname is None:
        raise invalid(ONE)
    found = [
        group
        for group in cloud.mine("securitygroup")
        if securitygroupname in (None, group["name"]) and securitygroupid in (None, group["id"])
    ]
    if not found:
        account = cloud.account()["id"]
        raise invalid(f"Unable to find security group {securitygroupname} for account id={account}")
    return Work(found[0])


@phase("authorizeSecurityGroupIngress", "finish")
def authorized(
    cloud: Cloud,
    job: Row,
    protocol: str | None = None,
    cidrlist: list | None = None,
    usersecuritygrouplist: list | None = None,
    **given: Any,
) -> dict:
    """Add a rule for each source that has none yet, and answer with these; fail if none is new."""
    if not cidrlist and not usersecuritygrouplist:
        raise invalid("At least one cidr or at least one security group needs to be specified")
    for cidr in cidrlist or []:
        if not is_cidr(cidr):
            raise invalid(f"Invalid cidr {cidr}")
    kind = _protocol(protocol)
    icmp = (-1, -1) if kind == "1" else (given.get("icmptype"), given.get("icmpcode"))
    kind = "icmp" if kind == "1" else kind
    ports = _ports(kind, given.get("startport"), given.get("endport"), icmp)
    group = cloud.find("securitygroup", job["instance"])
    allowed = [_group(cloud, row, (group, kind, ports)) for row in usersecuritygrouplist or []]
    own = {"securitygroupid": group["id"], "protocol": kind, "ports": list(ports)}
    sources = [{"allowed": g["id"], "cidr": None} for g in allowed]
    sources += [{"allowed": None, "cidr": cidr} for cidr in cidrlist or []]
    new = [s for s in sources if not fitting(cloud, "securitygrouprule", **own | s)]
    if not new:
        raise ApiError(530, "Failed to authorize security group ingress rule(s)", None)
    rules = [cloud.state.add("securitygrouprule", **own, **source) for source in new]
    shown = [_shown(cloud, rule) for rule in rules]
    return {"securitygroup": show(cloud, "securitygroup", group, ingressrule=shown)}


def _protocol(given: str | None) -> str:
    found = (given or "all").strip().lower()
    if found.isdecimal():
        if int(found) > 255:
            raise invalid(f"Invalid protocol number: {found}")
    elif found not in PROTOCOLS:
        raise invalid(f"Invalid protocol {found}")
    return found


def _ports(kind: str, start: int | None, end: int | None, icmp: tuple) -> tuple[int, int]:
    """Return the ports of a rule, or its type and code of ICMP."""
    if kind == "icmp":
        return _icmp(*icmp)
    if kind == "all" and (start is not None or end is not None):
        raise invalid("Cannot specify startPort or endPort without specifying protocol")
    if kind not in ("tcp", "udp"):
        return 0, 0
    if start is None or end is None:
        shown = ["null" if port is None else port for port in (start, end)]
        text = f"Invalid port range specified, startPort = {shown[0]}, endPort = {shown[1]}"
        raise invalid(text)
    end = 65535 if start == end == 0 else end
    if start > end:
        raise invalid(f"Invalid port range {start}:{end}")
    if max(start, end) > 65535 or min(start, end) < -1:
        raise invalid(f"Invalid port numbers {start}:{end}")
    if min(start, end) < 0:
        raise invalid(f"Invalid port range {start}:{end}")
    return start, end


def _icmp(type: int | None, code: int | None) -> tuple[int, int]:
    if type is None or code is None:
        shown = ["null" if one is None else one for one in (type, code)]
        raise invalid(
            f"Invalid ICMP type/code specified, icmpType = {shown[0]}, icmpCode = {shown[1]}"
        )
    if type == -1 and code != -1:
        raise invalid("Invalid icmp code")
    if type != -1 and code == -1:
        raise invalid("Invalid icmp code: need non-negative icmp code ")
    if max(type, code) > 255 or min(type, code) < -1:
        raise invalid("Invalid icmp type/code ")
    return type, code


def _group(cloud: Cloud, row: dict[str, str], rule: tuple[Row, str, tuple]) -> Row:
    """Return a group of the account whose machines are to be let in."""
    name, account = row.get("group"), row.get("account")
    if name is None or account is None:
        raise invalid(FORM)
    group, kind, (start, end) = rule
    me = cloud.account()
    if account != me["name"]:
        raise invalid(
            f"Nonexistent account: {account} when trying to authorize security group rule  for "
            f"{group['n']}:{kind}:{start}:{end}"
        )
    found = [g for g in cloud.mine("securitygroup") if g["name"] == name]
    if not found:
        raise invalid(
            f"Nonexistent group {name} for account {account}/{me['domainid']} is given, unable to "
            "authorize security group rule."
        )
    return found[0]


@command("revokeSecurityGroupIngress")
def revoke(cloud: Cloud, id: Any) -> Work:
    """Queue it, unless there is no such rule."""
    if not (rule := cloud.state.get("securitygrouprule", id)):
        raise invalid(f"Unable to find security rule with id {id}")
    return Work(rule)


@phase("revokeSecurityGroupIngress", "finish")
def revoked(cloud: Cloud, job: Row, id: Any) -> dict:
    """Take the rule back."""
    if rule := cloud.state.get("securitygrouprule", id):
        cloud.state.remove("securitygrouprule", rule)
    return {"success": True}


@more("securitygroup")
def _security_group(cloud: Cloud, row: Row) -> dict:
    inside = members_of(cloud, row)
    found = [r for r in cloud.rows("securitygrouprule") if r["securitygroupid"] == row["id"]]
    rules = {"ingressrule": [_shown(cloud, rule) for rule in found], "egressrule": []}
    return rules | {"virtualmachineids": inside, "virtualmachinecount": len(inside)}


def _shown(cloud: Cloud, rule: Row) -> dict:
    """Return a rule as its group shows it: from a group of an account, or from a CIDR."""
    names = ("icmptype", "icmpcode") if rule["protocol"] == "icmp" else ("startport", "endport")
    shown = {"ruleid": rule["id"], "protocol": rule["protocol"]}
    shown |= dict(zip(names, rule["ports"], strict=True))
    if rule["cidr"]:
        return shown | {"cidr": rule["cidr"]}
    group = cloud.find("securitygroup", rule["allowed"])
    return shown | {"securitygroupname": group["name"], "account": cloud.account()["name"]}
