"""The rules of a cloud-config: those of coreos-cloudinit, and some that it lacks."""

import base64
import gzip
import posixpath
import re
import zlib
from collections.abc import Iterator
from difflib import get_close_matches
from typing import NamedTuple
from urllib.parse import urlsplit

import yaml

from lib.config.keys import BLANKS, key_fault


class Problem(NamedTuple):
    """Something wrong with a cloud-config: line from 1, error, warning or info, and what."""

    line: int
    level: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.level}: {self.message}"


def texts(names: str, kind: str = "string") -> dict:
    """Return a schema in which all of these keys have values of one kind."""
    return dict.fromkeys(names.split(), kind)


ETCD = texts(
    "addr bind_addr ca_file cert_file cors data_dir discovery graphite_host key_file name peer_addr"
    " peer_bind_addr peer_ca_file peer_cert_file peer_key_file peers peers_file trace"
)
ETCD |= texts("snapshot verbose very_verbose very_very_verbose", "bool") | texts(
    "cluster_active_size cluster_remove_delay cluster_sync_interval http_read_timeout"
    " http_write_timeout max_result_buffer max_retry_attempts peer_election_timeout"
    " peer_heartbeat_interval retry_interval snapshot_count",
    "number",
)
ETCD2 = texts(
    "advertise_client_urls ca_file cert_file cors data_dir discovery discovery_fallback"
    " discovery_srv discovery_proxy initial_advertise_peer_urls initial_cluster"
    " initial_cluster_state initial_cluster_token key_file listen_client_urls listen_peer_urls"
    " log_package_levels name peer_ca_file peer_cert_file peer_key_file peer_trusted_ca_file proxy"
    " trusted_ca_file wal_dir"
)
ETCD2 |= texts(
    "client_cert_auth debug enable_pprof force_new_cluster peer_client_cert_auth"
    " strict_reconfig_check",
    "bool",
)
ETCD2 |= texts(
    "election_timeout heartbeat_interval max_snapshots max_wals proxy_dial_timeout"
    " proxy_failure_wait proxy_read_timeout proxy_refresh_interval proxy_write_timeout"
    " snapshot_count",
    "number",
)
FLEET = texts(
    "agent_ttl engine_reconcile_interval etcd_cafile etcd_certfile etcd_key_prefix etcd_keyfile"
    " etcd_request_timeout etcd_servers metadata public_ip verbosity"
)
FLANNEL = texts(
    "etcd_cafile etcd_certfile etcd_endpoint etcd_endpoints etcd_keyfile etcd_prefix interface"
    " ip_masq public_ip subnet_dir subnet_file"
)
LOCKSMITH = texts(
    "endpoint etcd_cafile etcd_certfile etcd_keyfile etcd_username etcd_password group"
    " window_start window_length"
)
UNIT = texts("name content command") | texts("mask enable runtime", "bool")
UNIT["drop_ins"] = [texts("name content")]
USER = texts(
    "name passwd gecos homedir primary_group shell coreos_ssh_import_github coreos_ssh_import_url"
)
USER |= texts("no_create_home no_user_group system no_log_init", "bool")
USER |= {"ssh_authorized_keys": ["string"], "groups": ["string"]}
USER |= {"coreos_ssh_import_github_users": ["string"]}
SCHEMA = {
    "coreos": {
        "etcd": ETCD,
        "etcd2": ETCD2,
        "flannel": FLANNEL,
        "fleet": FLEET,
        "locksmith": LOCKSMITH,
        "oem": texts("id name version_id home_url bug_report_url"),
        "update": texts("reboot_strategy group server"),
        "units": [UNIT],
    },
    "ssh_authorized_keys": ["string"],
    "hostname": "string",
    "users": [USER],
    "write_files": [texts("path content permissions owner encoding")],
    "manage_etc_hosts": "string",
}
ENCODINGS = "base64 b64 gz gzip gz+base64 gzip+base64 gz+b64 gzip+b64"
VALUES = {
    "coreos.units.command": re.compile(
        "start|stop|restart|reload|try-restart|reload-or-restart|reload-or-try-restart"
    ),
    "coreos.update.reboot_strategy": re.compile("best-effort|etcd-lock|reboot|off"),
    "coreos.etcd2.proxy": re.compile("on|off|readonly"),
    "write_files.permissions": re.compile("0?[0-7]{3,4}"),
    "write_files.encoding": re.compile("|".join(map(re.escape, ENCODINGS.split()))),
}
REMOTE = "what is fetched at boot may not be there"
DEPRECATED = {
    "coreos.etcd2.ca_file": "trusted_ca_file and client_cert_auth are for it",
    "coreos.etcd2.peer_ca_file": "peer_trusted_ca_file and peer_client_cert_auth are for it",
    "users.coreos_ssh_import_github": REMOTE,
    "users.coreos_ssh_import_github_users": REMOTE,
    "users.coreos_ssh_import_url": REMOTE,
}
WANTED = {"string": ("str", "int", "float", "bool", "timestamp"), "bool": ("bool",)}
WANTED |= {"number": ("int", "float"), "text": ("str",)}  # "text" is what JSON calls a string


def validate(text: str) -> list[Problem]:
    """Return what is wrong with a cloud-config, by line; a script ("#!") is not looked into.

    coreos-cloudinit's own rules, and: duplicate keys, blanks that are not ASCII, damaged ssh keys.
    """
    if text == "" or text.startswith("#!"):
        return []
    problems = surface(text)
    root = compose(text)
    problems += [root] if isinstance(root, Problem) else shape(root)
    return sorted(problems)


def surface(text: str) -> list[Problem]:
    """Return what is wrong with the text of a cloud-config before it is read as YAML."""
    return [*_first_line(text.split("\n", 1)[0]), *_blanks(text)]


def compose(text: str) -> yaml.Node | Problem | None:
    """Return the tree of a YAML text, None if it is empty, a Problem if it is not YAML."""
    # YAML allows tabs that indent nothing, PyYAML does not.
    spaced = re.sub(r"(?m)(?<=\S)[^\n]*$", lambda m: m[0].replace("\t", " "), text)
    try:
        return yaml.compose(spaced.removeprefix("\ufeff"), Loader=yaml.SafeLoader)
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        what = getattr(fault, "problem", None) or "a character that YAML does not allow"
        return Problem(mark.line + 1 if mark else 1, "error", f"not YAML: {what}")
    except RecursionError:
        return Problem(1, "error", "nested too deep")


def shape(root: yaml.Node | None) -> list[Problem]:
    """Return what is wrong with the tree of a cloud-config."""
    return list(misshapen(root, SCHEMA, "")) if root else []


def _first_line(first: str) -> Iterator[Problem]:
    if first.startswith("\ufeff"):
        yield Problem(1, "error", "a byte order mark stands before #cloud-config")
    elif first.rstrip() != "#cloud-config":
        seen = "the first line is blank; it " if not first.strip() else ""
        yield Problem(1, "error", f'{seen}must be "#cloud-config" or begin with "#!"')


def _blanks(text: str) -> Iterator[Problem]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        found = BLANKS.search(line)
        if found and not line.lstrip().startswith("#"):
            what = f"U+{ord(found[0]):04X} is no blank to YAML or ssh (a full-width space?)"
            yield Problem(number, "error", what)


def misshapen(node: yaml.Node, schema: dict | list | str, path: str) -> Iterator[Problem]:
    """Yield what is wrong with a node and all below it; `path` is its keys, joined by dots.

    The schema is a mapping of keys, a list of one schema, or a kind of value ("any" for all).
    """
    line = node.start_mark.line + 1
    if schema == "any":
        return
    if node.tag.endswith(":null"):
        yield Problem(line, "warning", f"{_last(path)} is empty")
    elif isinstance(schema, dict) and isinstance(node, yaml.MappingNode):
        yield from _check_keys(node, schema, path)
    elif isinstance(schema, list) and isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from misshapen(item, schema[0], path)
    elif isinstance(schema, str) and node.tag.rpartition(":")[2] in WANTED[schema]:
        yield from (Problem(line, level, what) for level, what in _value(path, node.value))
    else:
        want = {dict: "a mapping", list: "a list"}.get(type(schema), schema)
        yield Problem(line, "warning", f"incorrect type for {_last(path)} (want {want})")


def _check_keys(node: yaml.MappingNode, schema: dict, path: str) -> Iterator[Problem]:
    seen = set()
    for key, value in pairs(node):
        name, line = str(key.value).replace("-", "_"), key.start_mark.line + 1
        if name in seen:
            yield Problem(line, "error", f'duplicate key "{key.value}"')
        seen.add(name)
        below = f"{path}.{name}".lstrip(".")
        if below in DEPRECATED:
            yield Problem(line, "warning", f'deprecated key "{key.value}": {DEPRECATED[below]}')
        if name in schema:
            yield from misshapen(value, schema[name], below)
        elif (path, name) == ("coreos", "write_files"):
            yield Problem(line, "info", "write_files doesn't belong under coreos")
        else:
            yield Problem(line, "warning", f'unrecognized key "{key.value}"{_meant(name, schema)}')
    if path == "write_files":
        yield from _check_file(node)


def pairs(node: yaml.MappingNode, depth: int = 3) -> list[tuple[yaml.Node, yaml.Node]]:
    """Return the keys and values of a mapping, and those that `<<` merges into it, first ones."""
    merges = {k: _mappings(v) for k, v in node.value if k.tag.endswith(":merge") and depth}
    own = [(k, v) for k, v in node.value if not merges.get(k)]
    for merged in (m for maps in merges.values() for m in maps):
        names = {k.value for k, _ in own}
        own += [p for p in pairs(merged, depth - 1) if p[0].value not in names]
    return own


def _mappings(node: yaml.Node) -> list[yaml.MappingNode]:
    """Return what `<<` may merge: a mapping, or a list of them; [] for all else."""
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return items if all(isinstance(m, yaml.MappingNode) for m in items) else []


def _meant(name: str, schema: dict) -> str:
    near = ["path"] if name == "name" and "path" in schema else get_close_matches(name, schema, 1)
    return f'; is it meant to be "{near[0]}"?' if near else ""


def _last(path: str) -> str:
    return f'"{path.rpartition(".")[2]}"' if path else "the cloud-config"


def _value(path: str, value: str) -> Iterator[tuple[str, str]]:
    """Yield level and message of what is wrong with one value."""
    if path in VALUES and not VALUES[path].fullmatch(value):
        yield "error", f"invalid value {value!r} for {_last(path)}"
    if path in ("coreos.etcd.discovery", "coreos.etcd2.discovery") and not _is_url(value):
        yield "warning", "discovery URL is not valid"
    if path.endswith("ssh_authorized_keys") and key_fault(value):
        yield "error", f"ssh key: {key_fault(value)}"
    cleaned = posixpath.normpath(re.sub("^/+", "/", value))  # as Go's path.Clean does
    if path == "write_files.path" and re.match("/usr(/|$)", cleaned):
        yield "error", "file cannot be written to a read-only filesystem"


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname and parts.path.strip("/"))


def _check_file(node: yaml.MappingNode) -> Iterator[Problem]:
    """Yield what is wrong with an entry of write_files as a whole."""
    values = {k.value: v for k, v in pairs(node)}
    if "path" not in values:
        yield Problem(node.start_mark.line + 1, "error", "write_files entry without a path")
    encoding = values["encoding"].value if "encoding" in values else ""
    content = values.get("content")
    if content is not None and "b" in str(encoding) and not _decodes(content.value, encoding):
        line = content.start_mark.line + 1
        yield Problem(line, "error", f'content cannot be decoded as "{encoding}"')


def _decodes(content: str, encoding: str) -> bool:
    try:
        data = base64.b64decode("".join(content.split()), validate=True)
        return not encoding.startswith("gz") or gzip.decompress(data) is not None
    except (ValueError, OSError, EOFError, zlib.error):
        return False
