"""The discovery service: a registry where the machines of a cluster find each other.

It answers like discovery.etcd.io: etcd's version 2 key space, plus `/new`. The state is plain data,
token -> {"index", "nodes": {name: {"value", "created", "modified", "expires"}}}. Its owner, the
caller, holds a lock while `handle` runs, and saves the changes.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import MutableMapping

Rows = MutableMapping[str, dict]
Reply = tuple[int, str, str]
PREFIX = "/_etcd/registry"
KEY = re.compile(r"/([0-9a-f]{32})(?:/([\w.:/-]+?))?/?", re.ASCII)
SIZE = "_config/size"


class EtcdError(Exception):
    """An error of etcd's key space: HTTP status, code, message, and the key as cause."""

    def __init__(self, status: int, code: int, message: str, cause: str, index: int):
        self.status = status
        self.body = {"errorCode": code, "message": message, "cause": cause, "index": index}
        super().__init__(message)


def command(method: str, path: str) -> str:
    """Return the name of a request for planned faults.

    >>> command("PUT", "/0123/member"), command("GET", "/new")
    ('putDiscovery', 'newDiscovery')
    """
    return f"{'new' if path == '/new' else method.lower()}Discovery"


def handle(rows: Rows, method: str, path: str, query: dict, form: dict, base_url: str) -> Reply:
    """Answer a request with status, content type and body; `seen` answers long polls."""
    if path == "/health":
        return _text(200, "OK")
    if path == "/new":
        return _new(rows, method, {**form, **query}, base_url)
    found = KEY.fullmatch(path)
    if not found:
        return _text(404, "404 page not found\n")
    try:
        return _key(rows, method, found[1], found[2], {**query, **form})
    except EtcdError as error:
        return error.status, "application/json", json.dumps(error.body)


def seen(rows: Rows, path: str, since: int) -> str | None:
    """Return the first change from index `since` on for a long poll, None if there is none.

    Only keys that were set and still exist count.
    """
    found = KEY.fullmatch(path)
    nodes = _alive(rows, found[1]) if found else {}
    inside = {k: n for k, n in nodes.items() if not found[2] or f"{k}/".startswith(f"{found[2]}/")}
    fresh = {k: n for k, n in inside.items() if n["modified"] >= since and not k.startswith("_")}
    if not fresh:
        return None
    name = min(fresh, key=lambda k: fresh[k]["modified"])
    created = fresh[name]["created"] == fresh[name]["modified"]
    action = "create" if created else "update"
    return json.dumps({"action": action, "node": _shown(found[1], name, fresh[name])})


def _text(status: int, body: str) -> Reply:
    return status, "text/plain; charset=utf-8", body


def _new(rows: Rows, method: str, given: dict, base_url: str) -> Reply:
    if method not in ("GET", "PUT", "POST"):
        return _text(405, "Method Not Allowed\n")
    size = given.get("size", "3")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", size):
        return _text(400, f"strconv.ParseInt: parsing {json.dumps(size)}: invalid syntax\n")
    token = secrets.token_hex(16)
    row = {"index": last_index(rows) + 1, "nodes": {}}
    row["nodes"][SIZE] = _node(size, row["index"], None)
    rows[token] = row
    return _text(200, f"{base_url}/{token}")


def last_index(rows: Rows) -> int:
    """Return the index of the last change, which etcd sends as the header X-Etcd-Index."""
    return max((row["index"] for row in rows.values()), default=0)


def _node(value: str, index: int, ttl: int | None) -> dict:
    expires = None if ttl is None else time.time() + ttl
    return {"value": value, "created": index, "modified": index, "expires": expires}


def _key(rows: Rows, method: str, token: str, name: str | None, given: dict) -> Reply:
    """Answer a request for a token (no name) or for a key below it."""
    if method in ("GET", "HEAD"):
        return _get(rows, token, name)
    if method == "PUT" and name:
        return _put(rows, token, name, given)
    if method == "PUT":
        raise EtcdError(403, 102, "Not a file", f"{PREFIX}/{token}", last_index(rows))
    return _text(405, "Method Not Allowed\n")


def _json(status: int, body: dict) -> Reply:
    return status, "application/json", json.dumps(body)


def _get(rows: Rows, token: str, name: str | None) -> Reply:
    nodes = _alive(rows, token)
    if name in nodes:
        return _json(200, {"action": "get", "node": _shown(token, name, nodes[name])})
    below = f"{name}/" if name else ""
    inside = {k: n for k, n in nodes.items() if k.startswith(below)}
    if token not in rows or (name and not inside):
        raise _not_found(rows, token, name)
    node = {"key": "/".join(filter(None, (PREFIX, token, name))), "dir": True}
    listed = [
        n for n in inside if "/" not in n[len(below) :] and not n[len(below) :].startswith("_")
    ]
    if listed:
        node["nodes"] = [_shown(token, n, nodes[n]) for n in listed]
    first = min((n["created"] for n in inside.values()), default=rows[token]["index"])
    return _json(200, {"action": "get", "node": node | _indices(first, first)})


def _not_found(rows: Rows, token: str, name: str | None) -> EtcdError:
    cause = "/".join(filter(None, (PREFIX, token, name)))
    return EtcdError(404, 100, "Key not found", cause, last_index(rows))


def _alive(rows: Rows, token: str) -> dict[str, dict]:
    """Return the nodes of a token that have not expired, hidden ones included."""
    nodes = rows[token]["nodes"] if token in rows else {}
    now = time.time()
    return {k: n for k, n in nodes.items() if n["expires"] is None or n["expires"] > now}


def _indices(modified: int, created: int) -> dict:
    return {"modifiedIndex": modified, "createdIndex": created}


def _shown(token: str, name: str, node: dict) -> dict:
    shown = {"key": f"{PREFIX}/{token}/{name}", "value": node["value"]}
    if node["expires"] is not None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(node["expires"]))
        shown["expiration"] = f"{moment}.{int(node['expires'] % 1 * 1e9):09}Z"
        shown["ttl"] = max(1, round(node["expires"] - time.time()))
    return shown | _indices(node["modified"], node["created"])


def _put(rows: Rows, token: str, name: str, given: dict) -> Reply:
    """Set a key; this creates its token if need be, as in etcd."""
    nodes, key = _alive(rows, token), f"{PREFIX}/{token}/{name}"
    before, wanted = nodes.get(name), given.get("prevExist")
    if wanted == "false" and before:
        raise EtcdError(412, 105, "Key already exists", key, last_index(rows))
    if wanted == "true" and not before:
        raise _not_found(rows, token, name)
    ttl = given.get("ttl") or None
    if ttl and not re.fullmatch(r"[0-9]{1,9}", ttl):
        raise EtcdError(400, 202, "The given TTL in POST form is not a number", "Update", 0)
    index = last_index(rows) + 1
    node = _node(given.get("value", ""), index, int(ttl) if ttl else None)
    if wanted == "true":  # an update keeps `created`; a set does not
        node["created"] = before["created"]
    rows[token] = {"index": index, "nodes": {**nodes, name: node}}
    action = {"false": "create", "true": "update"}.get(wanted, "set")
    body = {"action": action, "node": _shown(token, name, node)}
    return _json(200 if before else 201, body | _previous(token, name, before))


def _previous(token: str, name: str, before: dict | None) -> dict:
    return {"prevNode": _shown(token, name, before)} if before else {}
