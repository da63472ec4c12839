"""The Ignition config: what is rendered, the rules it must keep, and Ignition's own verdict."""

import copy
import json
import shutil
import subprocess

import pytest

from lib import config
from lib.config.discovery import PUBLIC, STATIC, url_in
from lib.config.ignition import validate

URL = "https://discovery.etcd.io/217d781a5ad5c7c4660bfbbc239bd0c0"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43 + " me@here"


def rendered(*keys: str, service: str = PUBLIC, addresses: tuple[str, ...] = ()) -> str:
    form = config.Form("flatcar-install", "cloudstack", "ignition")
    bootstrap = config.Bootstrap("core", 3, service, addresses)
    return config.Config(form, keys, bootstrap).texts(URL)["config.ign"]


TEXT = rendered(KEY, KEY + " \u65e5\u672c")
FIXED = rendered(KEY, service=STATIC, addresses=("10.1.0.7", "10.1.0.8"))
BASE = json.loads(TEXT)


def changed(path: str, value: object) -> str:
    """Return the rendered config with one value changed; numbers in the path are of lists."""
    root = copy.deepcopy(BASE)
    *above, last = [int(p) if p.isdigit() else p for p in path.split("/")]
    node = root
    for key in above:
        node = node[key]
    if isinstance(node, list):
        node.insert(last, value)
    else:
        node[last] = value
    return json.dumps(root, indent=1)


def test_it_has_the_keys_and_etcd_member_with_the_token():
    assert BASE["ignition"] == {"version": "3.3.0"}
    assert BASE["passwd"]["users"][0]["sshAuthorizedKeys"][0] == KEY
    address, member = BASE["systemd"]["units"]
    text = member["dropins"][0]["contents"]
    assert f"--discovery={URL} --discovery-fallback=exit\n" in text
    assert "--initial-advertise-peer-urls=http://${ETCD_IP}:2380 \\\n" in text
    assert address["name"] in text and member["enabled"] is True
    assert url_in(TEXT) == URL and URL not in config.masked(TEXT)


def test_what_is_rendered_keeps_all_rules():
    assert validate(TEXT) == validate(FIXED) == []


def test_json_may_be_indented_with_tabs_and_hold_any_character():
    parts = copy.deepcopy(BASE)
    parts["passwd"]["users"][0]["gecos"] = "a\x7f\U0001f600\u2028\x85"
    assert validate(json.dumps(parts, indent="\t", ensure_ascii=False)) == []


USERS, UNITS = "passwd/users", "systemd/units"
FILE = {"path": "/etc/x", "mode": 420, "contents": {"source": "data:,x"}}
# What is wrong -> (where, with what, part of the message).
WRONG = {
    "version": ("ignition/version", "3.9.0", "ignition.version must be 3.0.0 to 3.6.0"),
    "version, wrong type": ("ignition/version", 3, 'incorrect type for "version" (want text)'),
    "unknown section": ("sistemd", {}, 'unrecognized key "sistemd"; is it meant to be "systemd"?'),
    "cloud-config's spelling": (f"{UNITS}/0/content", "x", 'is it meant to be "contents"?'),
    "key of a user": (f"{USERS}/0/sshAuthorizedKeys/0", "ssh-rsa AAAAB3x", "ssh key: its base64"),
    "user without a name": (f"{USERS}/0", {"uid": 1}, "a user needs a name"),
    "user twice": (f"{USERS}/1", {"name": "core"}, "duplicate name core"),
    "unit's suffix": (f"{UNITS}/0", {"name": "etcd"}, "a unit needs a name such as x.service"),
    "unit twice": (f"{UNITS}/2", {"name": "etcd-member.service"}, "duplicate name etcd-member"),
    "enabled as text": (f"{UNITS}/1/enabled", "yes", 'incorrect type for "enabled" (want bool)'),
    "nothing to enable": (f"{UNITS}/0/enabled", True, "no [Install] section"),
    "drop-in's suffix": (f"{UNITS}/1/dropins/0/name", "20-cluster", "needs a name such as x.conf"),
    "units as mapping": ("systemd/units", {}, '(want a list)'),
    "mode in octal": ("storage", {"files": [FILE | {"mode": "0644"}]}, '(want number)'),
    "mode too large": ("storage", {"files": [FILE | {"mode": 100644}]}, "mode must be a decimal"),
    "mode above": ("storage", {"files": [FILE | {"mode": 6440}]}, "6440 is above 4095"),
    "relative path": ("storage", {"files": [FILE | {"path": "etc/x"}]}, "an absolute path"),
    "file twice": ("storage", {"files": [FILE, FILE]}, "duplicate path /etc/x"),
    "source": ("storage", {"files": [FILE | {"contents": {"source": "x"}}]}, "must be a URL"),
    "null": ("systemd/units/0/contents", None, '"contents" is empty'),
}  # fmt: skip


@pytest.mark.parametrize("where, value, message", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_with_its_line(where, value, message):
    text = changed(where, value)
    (problem,) = validate(text)
    assert message in problem.message
    lines = text.splitlines()
    assert 1 <= problem.line <= len(lines)
    if where in ("ignition/version", "sistemd", f"{UNITS}/0/content"):
        assert where.rpartition("/")[2] in lines[problem.line - 1]


@pytest.mark.parametrize(
    "text, message", [("[]", "not a JSON object"), ("{", "not JSON"), (TEXT[:-9], "not JSON")]
)
def test_what_is_no_json_object_is_refused(text, message):
    (problem,) = validate(text)
    assert message in problem.message


def test_a_key_twice_in_one_object_is_seen():
    (problem,) = validate(TEXT.replace('"passwd"', '"systemd": {"units": []},\n "passwd"'))
    assert "duplicate key" in problem.message


def judged(text: str, folder) -> tuple[int, str]:
    """Return what Ignition's own validator says of a config."""
    (folder / "config.ign").write_text(text)
    done = subprocess.run(
        ["ignition-validate", folder / "config.ign"], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


LENIENT = ("ssh key", "no [Install]", "is empty", "a user needs")  # to Ignition itself


@pytest.mark.system
@pytest.mark.skipif(not shutil.which("ignition-validate"), reason="needs Debian's ignition")
def test_ignition_itself_takes_what_is_rendered_and_refuses_nothing_that_we_take(tmp_path):
    assert judged(TEXT, tmp_path) == judged(FIXED, tmp_path) == (0, "")
    for where, value, message in WRONG.values():
        is_lenient = any(word in message for word in LENIENT)
        assert judged(changed(where, value), tmp_path) != (0, "") or is_lenient, message
