"""Commands about users and domains: there is one of each."""

from typing import Any

from ..state.cloud import Cloud, Listing
from ..state.registry import command
from ..state.rows import Row
from .accounts import user_of


@command("""listUsers(4.22) list user
    Lists the users of the account.
    id uuid the user
    username string its name
    accounttype integer 0 is an ordinary account
    state string enabled, disabled or locked
    usersource string@4.21.0.0 native: the cloud itself checks the password
    showicon boolean answer with icons too; there are none
""")
def list_users(cloud: Cloud, keyword: str = "", showicon: bool = False, **filters: Any) -> Listing:
    """Answer with the only user, if it matches."""
    rows = _fitting(user_of(cloud, cloud.account()), "username", keyword, filters)
    return Listing("user", rows, lambda row: {"created": row["created"]})


def _fitting(row: Row, name: str, keyword: str, filters: dict[str, Any]) -> list[Row]:
    if keyword.lower() not in row[name].lower():
        return []
    fits = all(str(row[k]).lower() == str(v).lower() for k, v in filters.items())
    return [row] if fits else []


@command("""listDomains(4.22) list domain
    Lists the domain that the account is in.
    id uuid the domain
    name string its name
    level integer how many domains it is below ROOT
    details strings the groups of facts to answer with; all fit in one answer here
    showicon boolean answer with icons too; there are none
""")
def list_domains(
    cloud: Cloud, keyword: str = "", details: Any = None, showicon: bool = False, **filters: Any
) -> Listing:
    """Answer with the only domain, if it matches."""
    me = cloud.account()
    row = {"id": me["domainid"], "name": me["domain"], "path": me["domainpath"]}
    row["level"] = me["domainpath"].count("/")
    return Listing("domain", _fitting(row, "name", keyword, filters))
