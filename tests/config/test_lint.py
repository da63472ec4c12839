"""The rules for a cloud-config, each with the line it names."""

import base64
import gzip

import pytest

from lib.config.keys import key_fault
from lib.config.lint import validate

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43 + " me@here"
GOOD = f"""\
#cloud-config

coreos:
  etcd:
      discovery: https://discovery.etcd.io/217d781a5ad5c7c4660bfbbc239bd0c0
      addr: $private_ipv4:4001
      peer-addr: $private_ipv4:7001
  update: {{reboot-strategy: "off"}}
  units:
    - name: etcd.service
      command: start
      enable: true
      drop-ins: [{{name: 10-x.conf, content: "[Service]"}}]

ssh_authorized_keys:
  - {KEY}
write_files:
  - path: /etc/environment
    permissions: 0644
    content: COREOS_PRIVATE_IPV4=$private_ipv4
"""
PACKED = base64.b64encode(gzip.compress(b"x")).decode()


# What is wrong -> (text after a good first line, the line, part of the message).
WRONG = {
    "YAML error": ("a: [\n", 3, "not YAML"),
    "tab": ("coreos:\n\tunits: []\n", 3, "not YAML"),
    "control character": ("hostname: a\x07\n", 1, "does not allow"),
    "second document": ("hostname: a\n---\nhostname: b\n", 3, "not YAML"),
    "a list": ("- a\n", 2, "incorrect type for the cloud-config (want a mapping)"),
    "duplicate key": ("write_files: []\nhostname: a\nwrite_files: []\n", 4, "duplicate key"),
    "duplicate, spelt otherwise": (
        "coreos:\n  etcd:\n    peer-addr: a\n    peer_addr: b\n", 5, 'duplicate key "peer_addr"',
    ),
    "unknown key": ("hostnam: a\n", 2, 'unrecognized key "hostnam"; is it meant to be "hostname"?'),
    "unknown key below": ("coreos:\n  etcd:\n    adress: a\n", 4, "unrecognized key"),
    "name for path": (
        "write_files:\n  - name: /etc/x\n", 3, 'unrecognized key "name"; is it meant to be "path"?',
    ),
    "deprecated key": ("coreos:\n  etcd2: {ca-file: /x}\n", 3, 'deprecated key "ca-file": trusted'),
    "deprecated key of a user": (
        "users:\n  - name: a\n    coreos_ssh_import_github: b\n", 4, "deprecated key",
    ),
    "file without path": ("write_files:\n  - content: x\n", 3, "without a path"),
    "text for a list": ("ssh_authorized_keys: x\n", 2, "(want a list)"),
    "mapping for a list": ("coreos:\n  units:\n    name: x\n", 4, "(want a list)"),
    "list for a text": ("hostname: [a]\n", 2, 'incorrect type for "hostname" (want string)'),
    "text for a bool": ("coreos:\n  units:\n    - {name: a, enable: maybe}\n", 4, "(want bool)"),
    "text for a number": ("coreos:\n  etcd:\n    snapshot_count: many\n", 4, "(want number)"),
    "nothing": ("hostname:\n", 2, '"hostname" is empty'),
    "unit command": ("coreos:\n  units:\n    - {command: run}\n", 4, "invalid value 'run'"),
    "permissions": ("write_files:\n  - {path: /x, permissions: '999'}\n", 3, "invalid value '999'"),
    "encoding": ("write_files:\n  - {path: /x, encoding: zip}\n", 3, "invalid value 'zip'"),
    "reboot": ("coreos:\n  update: {reboot_strategy: never}\n", 3, "invalid value 'never'"),
    "proxy": ("coreos:\n  etcd2: {proxy: maybe}\n", 3, "invalid value 'maybe'"),
    "content": (
        "write_files:\n  - path: /x\n    encoding: b64\n    content: '#'\n", 5, "decoded as",
    ),
    "content with another letter": (
        "write_files:\n  - path: /x\n    encoding: b64\n    content: AAAé\n", 5, "be decoded",
    ),
    "packed content": (
        "write_files:\n  - path: /x\n    encoding: gz+b64\n    content: QQ==\n", 5, "be decoded",
    ),
    "discovery URL": ("coreos:\n  etcd: {discovery: discovery.etcd.io/1}\n", 3, "URL is not valid"),
    "read-only": ("write_files:\n  - path: /usr/x\n", 3, "read-only filesystem"),
    "read-only, written otherwise": ("write_files:\n  - path: //./usr/x\n", 3, "read-only file"),
    "merged text": ("users:\n  - {<<: text, name: a}\n", 3, 'unrecognized key "<<"'),
    "merged into itself": ("users:\n  - &a {<<: *a, nam: a}\n", 3, 'unrecognized key "nam"'),
    "merged key": ("x: &a {nam: b}\nusers:\n  - {<<: *a, name: c}\n", 2, 'unrecognized key "nam"'),
    "misplaced files": ("coreos:\n  write_files: []\n", 3, "doesn't belong under coreos"),
    "full-width space in a key": (
        f"ssh_authorized_keys:\n  - {KEY.replace(' me', chr(0x3000) + 'me')}\n", 3, "U+3000",
    ),
    "full-width space before a key": ("coreos:\n\u3000units: []\n", 3, "U+3000"),
    "key with another letter": ("ssh_authorized_keys:\n  - ssh-rsa AAAAé\n", 3, "part is damaged"),
    "damaged key": ("ssh_authorized_keys:\n  - ssh-rsa AAAAB3xxx\n", 3, "base64 part is damaged"),
    "damaged key of a user": (
        "users:\n  - name: a\n    ssh-authorized-keys: [ssh-rsa AAAA]\n", 4, "cut off or damaged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("body, line, message", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_with_its_line(body, line, message):
    problems = validate("#cloud-config\n" + body)
    assert [p.line for p in problems if message in p.message] == [line], problems


@pytest.mark.parametrize(
    "text, message",
    [
        ("\n" + GOOD, "the first line is blank"),
        ("\ufeff" + GOOD, "byte order mark"),
        ("# cloud-config\n", 'must be "#cloud-config"'),
        ("#cloud-config # mine\n", 'must be "#cloud-config"'),
        ("hostname: a\n", 'must be "#cloud-config"'),
    ],
)
def test_the_first_line_is_exactly_the_mark(text, message):
    (problem,) = validate(text)
    assert (problem.line, problem.level) == (1, "error") and message in problem.message


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "",
        "#!/bin/bash\na: [\n",
        "#cloud-config  \r\nhostname: a\r\n",
        "#cloud-config\n# \u30e1\u30e2\u3000\u3067\u3059\nhostname: a\n",
        "#cloud-config\ncoreos:\n  update:\n    reboot-strategy: off\t# none\n    group:\tbeta\n",
        "#cloud-config\nwrite_files:\n  - &a {path: /x, content: x}\n  - <<: *a\n    path: /y\n",
        "#cloud-config\nwrite_files:\n  - &a {path: /x}\n  - &b {path: /y, content: x}\n"
        "  - <<: [*a, *b]\n",
        "#cloud-config\nwrite_files:\n  - path: /x\n    encoding: gzip+base64\n"
        f"    content: {PACKED}\n",
    ],
)
def test_what_is_allowed_is_no_problem(text):
    assert validate(text) == []


def test_all_problems_are_reported_at_once_in_the_order_of_lines():
    text = "\nhostnam: a\nwrite_files:\n  - name: /usr\nhostname: [a]\n"
    assert [p.line for p in validate(text)] == [1, 2, 4, 4, 5]


def test_a_problem_reads_as_coreos_cloudinits_do():
    assert str(validate("#cloud-config\nx: 1\n")[0]).startswith(
        'line 2: warning: unrecognized key "x"'
    )


@pytest.mark.parametrize(
    "key",
    [
        KEY.replace("ssh-ed25519", "ssh-rsa"),
        KEY.split(" ")[0],
        KEY.split(" ")[0] + " " + KEY.split(" ")[1][:-8],
        "AAAA " + KEY,
        "",
        KEY.replace("AAAA", "\u00e9", 1),
        "ssh-rsa " + base64.b64encode(b"\xff\xff\xff\xff").decode(),
    ],
)
def test_a_damaged_key_is_known(key):
    assert key_fault(KEY) == "" and key_fault(key)
