"""Owners: the parameters that name the owner of resources.

There is one account here. Its own name and domain change nothing; others are refused, as an
ordinary account cannot see or create resources of other accounts (`AccountManagerImpl`).
"""

from ..state.cloud import Cloud
from ..state.refusals import invalid


def check(cloud: Cloud, values: dict) -> None:
    """Remove the owner from the values of a call; refuse any owner but the caller."""
    me = cloud.account()
    account = values.pop("account", me["name"])
    domain = values.pop("domainid", me["domainid"])
    if account.lower() != me["name"].lower() or domain != me["domainid"]:
        raise invalid(f"Unable to find account {account} in domain {domain}")
