"""The operator's own configuration: read, checked by line, merged, and its values filled in."""

import json
import os
import re
import shutil
import subprocess
from urllib.parse import quote

import pytest
import yaml

from lib import config
from lib.config import discovery, ignition, lint, placeholders, userdata, written
from lib.errors import CheckFailed, ParamsError
from lib.record import masks
from lib.workstation.shell import write_text

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
URL = "https://discovery.etcd.io/217d781a5ad5c7c4660bfbbc239bd0c0"
IGNITION = "/usr/lib/dracut/modules.d/30ignition/ignition"
OWN = f"""\
#cloud-config
# mine
write_files:
  - path: /etc/motd
    permissions: 0644
    content: |
      ${{greeting}} from ${{cluster_name}}, $${{HOME}} and ${{x:-y}}

ssh-authorized-keys: [{KEY} two]
coreos:
  units:
    - name: mine.service
      command: start
      content: "[Service]\\nExecStart=/bin/true\\n"
    - {{name: etcd-member.service, drop-ins: [{{name: 30-mine.conf, content: "[Service]"}}]}}
  update: &u {{reboot-strategy: "off"}}
"""
OWN_IGNITION = {
    "ignition": {"version": "3.4.0"},
    "passwd": {"users": [{"name": "core", "sshAuthorizedKeys": [f"{KEY} two"]}]},
    "storage": {"files": [{"path": "/etc/motd", "contents": {"source": "data:,${greeting}%0A"}}]},
    "systemd": {
        "units": [
            {"name": "mine.service", "contents": "\U0001f600 ${greeting}"},
            {"name": "etcd-member.service", "dropins": [{"name": "30-mine.conf"}]},
        ]
    },
}
FORMS = {
    "2014": config.Form("coreos-install", "cloudstack"),
    "Flatcar": config.Form("flatcar-install", "cloudstack"),
    "user data": config.Form("flatcar-install", "cloudstack", delivery="userdata"),
    "Ignition": config.Form("flatcar-install", "cloudstack", "ignition", "userdata"),
}
NAMES = ["core-1", "core-2"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the program directories first on the PATH, and no secret that stays known."""
    monkeypatch.setattr(masks, "_known", {})
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    return tmp_path


def config_of(folder, text, form="user data", *, addresses=(), name="my.yml", **values):
    """Return the configuration of a cluster with a file of one's own."""
    (folder / name).write_text(text if isinstance(text, str) else json.dumps(text, indent=1))
    service = discovery.STATIC if addresses else discovery.PUBLIC
    bootstrap = config.Bootstrap("core", 2, service, addresses)
    file = config.config_file(str(folder / name), values, FORMS[form], bootstrap)
    return config.Config(FORMS[form], (KEY,), bootstrap, file)


def text_of(configured) -> str:
    return configured.texts(URL)[configured.form.cluster_file]


def test_a_cloud_config_is_merged_side_by_side_in_both_orders(folder):
    text = text_of(config_of(folder, OWN, greeting="Hello: #1"))
    assert text.startswith("#cloud-config\n\ncoreos:\n") and lint.validate(text) == []
    assert discovery.url_in(text) == URL
    merged = yaml.safe_load(text)
    units = merged["coreos"]["units"]
    assert [u["name"] for u in units] == [
        "etcd-address.service", "etcd-member.service", "mine.service",
    ]  # fmt: skip
    assert [d["name"] for d in units[1]["drop_ins"]] == ["20-cluster.conf", "30-mine.conf"]
    assert merged["ssh_authorized_keys"] == [KEY, f"{KEY} two"]
    assert merged["coreos"]["update"] == {"reboot-strategy": "off"}
    (file,) = merged["write_files"]
    assert file["content"] == "Hello: #1 from core, ${HOME} and ${x:-y}\n"
    assert "permissions: 0644\n" in text  # as it was written, not the number that YAML reads


def test_without_a_file_the_text_is_as_ever(folder):
    form, bootstrap = FORMS["Flatcar"], config.Bootstrap("core", 2, discovery.PUBLIC)
    assert config.config_file("", {}, form, bootstrap) is None
    with pytest.raises(ParamsError, match="config_values: no config_file uses a"):
        config.config_file("", {"a": "b"}, form, bootstrap)


def test_an_ignition_config_is_merged_into_the_newer_version_of_both(folder):
    text = text_of(config_of(folder, OWN_IGNITION, "Ignition", greeting="a b%"))
    merged = json.loads(text)
    assert ignition.validate(text) == [] and merged["ignition"] == {"version": "3.4.0"}
    names = [u["name"] for u in merged["systemd"]["units"]]
    assert names == ["etcd-address.service", "etcd-member.service", "mine.service"]
    assert merged["systemd"]["units"][2]["contents"] == "\U0001f600 a b%"
    assert merged["storage"]["files"][0]["contents"]["source"] == "data:,a%20b%25%0A"
    assert merged["passwd"]["users"][0]["sshAuthorizedKeys"] == [KEY, f"{KEY} two"]


@pytest.mark.system
@pytest.mark.skipif(not shutil.which("ignition-validate"), reason="needs Debian's ignition")
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, as Ignition writes below /run")
def test_ignition_itself_merges_alike_and_takes_what_is_merged(folder):
    own = OWN_IGNITION | {"ignition": {"version": "3.2.0"}}
    text = text_of(config_of(folder, own, "Ignition", greeting="hello"))
    filled = json.dumps(own).replace("${greeting}", "hello")
    ours = json.loads(text_of(config_of(folder, {"ignition": {"version": "3.0.0"}}, "Ignition")))
    ours["ignition"]["config"] = {"merge": [{"source": f"data:,{quote(filled)}"}]}
    assert fetched(folder, ours)["systemd"] == fetched(folder, json.loads(text))["systemd"]
    for part in ("passwd", "storage"):
        assert fetched(folder, ours)[part] == fetched(folder, json.loads(text))[part]
    (folder / "merged.ign").write_text(text)
    command = ["ignition-validate", folder / "merged.ign"]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (judged.returncode, judged.stdout + judged.stderr) == (0, "")


def fetched(folder, root: dict) -> dict:
    """Return a config as Ignition caches it, once it has merged what it names."""
    (folder / "in.ign").write_text(json.dumps(root))
    command = [IGNITION, "-platform", "file", "-stage", "fetch", "-log-to-stdout"]
    command += ["-config-cache", folder / "out.json", "-neednet", folder / "neednet"]
    where = {"IGNITION_CONFIG_FILE": str(folder / "in.ign")}
    subprocess.run(command, env=where, capture_output=True, check=True, cwd=folder)
    return json.loads((folder / "out.json").read_text())


HEAD = "#cloud-config\n"
# What is wrong -> (form, text, parts of the message).
WRONG = {
    "unknown key": ("Flatcar", HEAD + "runcmd: []\n", "my.yml, line 2: warning: unrecog"),
    "all at once": ("Flatcar", HEAD + "hostnam: a\nusers: 1\n", "2 lines that are wrong.*line 3"),
    "no YAML": ("Flatcar", HEAD + "a: [\n", "line 3: error: not YAML"),
    "first line": ("Flatcar", "hostname: a\n", 'must be "#cloud-config"'),
    "too deep": ("Flatcar", HEAD + "[" * 5000, "nested too deep"),
    "token's service": (
        "2014",
        HEAD + "coreos:\n  etcd:\n    discovery: http://x/1\n",
        "my.yml, line 4: http://x/1; the runbook's cloud-config.yml, line 5: https://discovery.et",
    ),
    "drop-in of ours": (
        "Flatcar",
        HEAD + "coreos:\n  units:\n    - name: etcd-member.service\n      drop_ins:\n"
        "        - {name: 20-cluster.conf, content: x}\n",
        r"units\[etcd-member.service\].drop_ins\[20-cluster.conf\].content: .*line 6: x; the runb",
    ),
    "list for mapping": ("Flatcar", HEAD + "coreos: []\n", "want a mapping"),
    "encoding of 2014": (
        "2014",
        HEAD + "write_files:\n  - {path: /a, encoding: b64, content: eA==}\n",
        'line 3: error: "encoding": coreos-cloudinit of 2014 writes no file',
    ),
    "unknown name": ("Flatcar", HEAD + "hostname: ${nam}\n", r"2: error: .\{nam\} has no value"),
    "unknown name in a block": (
        "Flatcar",
        HEAD + "write_files:\n  - path: /a\n    content: |\n      x\n      y ${nam}\n",
        r"line 6: error: .\{nam\} has no value",
    ),
    "machine's name": (
        "Flatcar", HEAD + "hostname: ${host_name}\n", 'has no value: config_delivery "disk" gives',
    ),
    "address": ("user data", HEAD + "hostname: ${address}\n", 'only discovery "static" fixes it'),
    "variable": ("user data", HEAD + "hostname: $${index}\n", "needs another name than index"),
    "no JSON": ("Ignition", '{"ignition": 1,}', "not JSON"),
    "Ignition's version": ("Ignition", {"ignition": {"version": "2.3.0"}}, "must be 3.0.0 to 3.6"),
    "replace": (
        "Ignition",
        {"ignition": {"version": "3.0.0", "config": {"replace": {"source": "data:,"}}}},
        "line 5: error: ignition.config.replace would replace the cluster's own",
    ),
    "unit of ours": (
        "Ignition",
        {"ignition": {"version": "3.0.0"},
         "systemd": {"units": [{"name": "etcd-member.service", "enabled": False}]}},
        r"units\[etcd-member.service\].enabled: .*my.yml, line 9: false; the runbook's user-data.y",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form, text, message", WRONG.values(), ids=WRONG)
def test_what_is_wrong_or_contradicts_is_named_with_its_line(folder, form, text, message):
    with pytest.raises(CheckFailed, match=f"(?s){message}") as failed:
        text_of(config_of(folder, text, form))
    assert str(failed.value).endswith("Nothing was written: correct these lines.")


@pytest.mark.parametrize(
    "form, text, message",
    [
        ("Flatcar", {}, "my.yml is an Ignition config .*, but config_format is cloud-config"),
        ("Ignition", HEAD, "my.yml is a cloud-config, but config_format is ignition"),
        ("Flatcar", "#!/bin/sh\n", "is a script, which cannot be merged"),
        ("Flatcar", " \n", "my.yml is empty"),
        ("Flatcar", HEAD + "#" * 10**6, "larger than 1,000,000 bytes"),
    ],
)
def test_a_file_that_cannot_be_merged_is_refused(folder, form, text, message):
    with pytest.raises(ParamsError, match=f"config_file: .*{message}"):
        config_of(folder, text, form)


@pytest.mark.parametrize(
    "path, message",
    [("none.yml", "FileNotFoundError"), ("params", "is no file"), ("/dev/zero", "is no file")],
)
def test_a_path_without_a_file_is_refused(path, message):
    bootstrap = config.Bootstrap("core", 1, "static")
    for name, read in {
        "config_file:": lambda: config.config_file(path, {}, FORMS["Flatcar"], bootstrap),
        f"ssh_key_file {path}:": lambda: config.ssh_keys(path),
        "config_values key:": lambda: placeholders.secret("key", f"secret:file:{path}"),
    }.items():
        with pytest.raises(ParamsError, match=f"{name} .*{message}"):
            read()


@pytest.mark.parametrize(
    "form, text, message",
    [
        ("2014", "coreos:\n  flannel: {interface: eth0}\n", 'line 3: "flannel": coreos-cloudinit'),
        ("2014", "coreos:\n  units:\n  - {name: a.service, drop-ins: []}\n", 'line 4: "drop_ins"'),
        ("Flatcar", "coreos:\n  fleet: {metadata: a=b}\n", 'line 3: "fleet": Flatcar ignores it'),
    ],
)
def test_keys_that_an_image_ignores_are_reported(folder, capsys, form, text, message):
    text_of(config_of(folder, HEAD + text, form))
    assert f"my.yml, {message}" in capsys.readouterr().out


OF_MACHINES = HEAD + "hostname: ${host_name}\nwrite_files:\n  - path: /a\n    content: ${address}\n"


def test_machines_beside_the_members_have_no_fixed_address(folder):
    (folder / "my.yml").write_text(OF_MACHINES)
    bootstrap = config.Bootstrap("core", 1, discovery.STATIC, ("10.1.0.7",), others=True)
    with pytest.raises(CheckFailed, match="of etcd's members only"):
        config.config_file(str(folder / "my.yml"), {}, FORMS["user data"], bootstrap)


@pytest.mark.parametrize("each", [False, True])
def test_each_machine_is_given_its_own_values(folder, each):
    text = text_of(config_of(folder, OF_MACHINES, addresses=("10.1.0.7", "10.1.0.8")))
    assert userdata.differs(text)
    own = yaml.safe_load(userdata.text_for(text, "core-2", "10.1.0.8", each))
    assert (own["hostname"], own["write_files"][0]["content"]) == ("core-2", "10.1.0.8")
    data = userdata.encoded(userdata.text_for(text, "core-2", "10.1.0.8", each))
    assert userdata.are_of(data, text, "core-2", "10.1.0.8")
    assert not userdata.are_of(data, text, "core-1", "10.1.0.7")


NAMED = {
    "user data": HEAD + "hostname: fixed\n",
    "Ignition": OWN_IGNITION
    | {"storage": {"files": [{"path": "/etc/hostname", "contents": {"source": "data:,fixed"}}]}},
}


@pytest.mark.parametrize("form, text", NAMED.items())
def test_another_host_name_contradicts_user_data_each(folder, form, text):
    text = text_of(config_of(folder, text, form, greeting="x"))
    with pytest.raises(CheckFailed, match="host name core-1, the config_file another: fixed"):
        userdata.text_for(text, "core-1", "", True)
    assert userdata.are_of(userdata.encoded(text), text, "core-1", "")


SECRET = "correct horse battery"
WITH_SECRET = HEAD + "write_files:\n  - path: /etc/key\n    content: |\n      ${key}\n"


def test_a_secret_is_filled_in_as_it_is_and_shown_nowhere(folder, here, monkeypatch, capsys):
    lines = f"-----BEGIN KEY-----\n{SECRET}\n-----END KEY-----"
    (folder / "key").write_text(f"{lines}\n")
    configured = config_of(folder, WITH_SECRET, key=f"secret:file:{folder / 'key'}")
    assert yaml.safe_load(text_of(configured))["write_files"][0]["content"] == f"{lines}\n"
    assert "whoever may read the user data reads them" in capsys.readouterr().out
    monkeypatch.setenv("THE_KEY", "another secret")
    later = config_of(folder, WITH_SECRET, key="secret:THE_KEY")
    config.write(here, "w/user-data.yml", later.texts(URL)["user-data.yml"])
    config.write(here, "w/user-data.yml", configured.texts(URL)["user-data.yml"])
    masks._known.clear()  # as in the kernel of a later stage
    shown = repr(config.read(here, "w")) + repr(config.preview(here, "w", later)) + repr(configured)
    shown += config.masked("another secret") + repr(configured.texts()["user-data.yml"])
    assert SECRET not in shown and "another secret" not in shown and "***" in shown
    assert (folder / "w/secrets.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", ["", "null", "{}", "[1]", "\0\0", '["cut of', "[" * 10**4])
def test_a_damaged_list_of_secrets_shows_no_configuration(folder, here, damage):
    write_text(here, "w/user-data.yml", "#cloud-config\n")
    write_text(here, "w/secrets.json", damage)
    for use in (lambda: config.read(here, "w"), lambda: written.keep_secrets(here, "w", ["abc"])):
        with pytest.raises(CheckFailed, match=r"w/secrets.json on .* \(mv w/secrets.json w/sec"):
            use()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"key": "secret:NOT_THERE"}, "variable NOT_THERE of the environment is not set"),
        (
            {"key": "secret:file:/none"},
            r"config_values key: /none cannot be read .*\(FileNotFoundError\)",
        ),
        ({"key": "secret:SHORT"}, "fewer than 8 characters"),
        ({"host_name": "x"}, r"\{host_name\} has a meaning of its own"),
        ({"a b": "x"}, "use letters, digits"),
    ],
)
def test_values_that_cannot_be_are_refused(folder, monkeypatch, values, message):
    monkeypatch.setenv("SHORT", "a7")
    with pytest.raises(ParamsError, match=message) as failed:
        config_of(folder, WITH_SECRET, **values)
    assert "a7" not in str(failed.value)


# Stands in for butane: it writes texts as data: URLs, or compressed where they shrink.
BUTANE = """\
#!/usr/bin/env python3
import json, sys, urllib.parse
text = sys.stdin.read().rpartition("inline: ")[2].strip()
if sys.argv[1:] != ["--strict"] or text == "broken":
    sys.exit("Error translating config: line 2")
url = "data:;base64,H4sI" if "long" in text else "data:," + urllib.parse.quote(text)
files = [{"path": "/a", "contents": {"source": url}}]
print(json.dumps({"ignition": {"version": "3.3.0"}, "storage": {"files": files}}))
"""


def test_a_butane_file_needs_butane_and_is_translated(folder):
    def run(text):
        text = "variant: flatcar\nstorage:\n  inline: " + text
        return config_of(folder, text, "Ignition", name="my.bu", name_="${host_name}")

    with pytest.raises(ParamsError, match="needs the program butane: install it"):
        run("x")
    (folder / "bin/butane").write_text(BUTANE)
    (folder / "bin/butane").chmod(0o755)
    (file,) = json.loads(text_of(run("${cluster_name}-${host_name}")))["storage"]["files"]
    assert file["contents"]["source"] == "data:,core-${host_name}"
    with pytest.raises(CheckFailed, match=r"butane refuses .*my.bu: Error translating config"):
        run("broken")
    with pytest.raises(CheckFailed, match=r"compressed a text .*Write its contents as `source"):
        run("long ${host_name}")
    with pytest.raises(CheckFailed, match=re.escape("my.bu, line 3: error: ${nam} has no value")):
        run("${nam}")
