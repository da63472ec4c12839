"""Commands for tags."""

from ..state.cloud import Cloud, Listing, owner_of
from ..state.refusals import broken, invalid
from ..state.registry import command, phase
from ..state.rows import Row

# What a resource type names, in lower case, and how it is written.
TYPES = {
    "uservm": ("virtualmachine", "UserVm"),
    "volume": ("volume", "Volume"),
    "snapshot": ("snapshot", "Snapshot"),
    "template": ("template", "Template"),
    "network": ("network", "Network"),
    "zone": ("zone", "Zone"),
    "publicipaddress": ("publicipaddress", "PublicIpAddress"),
}


@phase("createTags", "finish")
def tagged(
    cloud: Cloud, job: Row, resourceids: list[str], resourcetype: str, tags: list[dict]
) -> None:
    """Add the tags, unless one of them exists."""
    kind, name = _type(resourcetype)
    rows = [_resource(cloud, kind, id) for id in resourceids]
    new = [_tag(name, t) for t in tags]
    for row in rows:
        taken = {t["key"] for t in row.get("tags", [])}
        for tag in new:
            if tag["key"] in taken:
                raise broken(f"tag {tag['key']} already on {name} with id {row['id']}")
    for row in rows:
        own = [t | {"resourceid": row["id"]} for t in new]
        cloud.state.change(kind, row, tags=row.get("tags", []) + own)


def _tag(kind: str, given: dict) -> dict:
    key, value = given.get("key"), given.get("value")
    if not key or not value:
        # A missing value is an exception in the server (TaggedResourceManagerImpl).
        raise broken("Command failed due to Internal Server Error")
    return {"key": key, "value": value, "resourcetype": kind}


def _type(name: str) -> tuple[str, str]:
    if name.lower() not in TYPES:
        raise invalid(f"Invalid resource type {name}")
    return TYPES[name.lower()]


def _resource(cloud: Cloud, kind: str, id: str) -> Row:
    row = cloud.state.get(kind, id)
    if row is None:
        raise invalid(f"Unable to find resource by uuid {id} and type {TYPES_BACK[kind]}")
    return row


TYPES_BACK = dict(TYPES.values())


@phase("deleteTags", "finish")
def untagged(
    cloud: Cloud,
    job: Row,
    resourceids: list[str],
    resourcetype: str,
    tags: list[dict] | None = None,
) -> None:
    """Remove the tags."""
    kind, _ = _type(resourcetype)
    rows = [_resource(cloud, kind, id) for id in resourceids]
    if not any(_named(t, tags) for row in rows for t in row.get("tags", [])):
        raise broken("Failed to delete tags")
    for row in rows:
        kept = [t for t in row.get("tags", []) if not _named(t, tags)]
        cloud.state.change(kind, row, tags=kept)


def _named(tag: dict, given: list[dict] | None) -> bool:
    return given is None or any(
        g.get("key") == tag["key"] and g.get("value") in (None, "", tag["value"]) for g in given
    )


@command("listTags")
def list_tags(cloud: Cloud, resourcetype: str = "", keyword: str = "", **equal: str) -> Listing:
    """Answer with the matching tags."""
    kinds = [_type(resourcetype)[0]] if resourcetype else [kind for kind, _ in TYPES.values()]
    tags = [
        tag | {"resourceid": row["id"]} | owner_of(row)
        for kind in kinds
        for row in cloud.rows(kind)
        for tag in row.get("tags", [])
    ]
    rows = [
        t
        for t in tags
        if keyword in t["key"] and all(t[k] == wanted for k, wanted in equal.items())
    ]
    return Listing("tag", rows)
