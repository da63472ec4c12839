"""The cloud-config: what is rendered, kept on the workstation, and shown."""

import re

import pytest
import yaml

from lib import cloudconfig, notes, sshkeys, tokens
from lib.cloudconfig import plan_write, render
from lib.cloudlint import validate
from lib.errors import CheckFailed, ParamsError
from lib.shell import write_text

TOKEN = "217d781a5ad5c7c4660bfbbc239bd0c0"
URL = f"https://discovery.etcd.io/{TOKEN}"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43 + " me@here"
BOTH = pytest.mark.parametrize("installer", ["coreos-install", "flatcar-install"])


def rendered(installer="coreos-install", keys=(KEY,)):
    return render(installer=installer, discovery_url=URL, ssh_keys=list(keys))


def test_coreos_gets_etcd_and_fleet():
    assert yaml.safe_load(rendered()) == {
        "coreos": {
            "etcd": {
                "discovery": URL,
                "addr": "$private_ipv4:4001",
                "peer-addr": "$private_ipv4:7001",
            },
            "units": [
                {"name": "etcd.service", "command": "start"},
                {"name": "fleet.service", "command": "start"},
            ],
        },
        "ssh_authorized_keys": [KEY],
    }


def test_flatcar_gets_etcd_member_with_its_own_address_and_no_fallback():
    units = yaml.safe_load(rendered("flatcar-install"))["coreos"]["units"]
    address, member = units
    drop_in = member["drop_ins"][0]["content"]
    assert member["name"] == "etcd-member.service"
    assert f"--discovery={URL} --discovery-fallback=exit" in drop_in
    assert "\nExecStart=\nExecStart=/usr/lib/flatcar/etcd-wrapper $ETCD_OPTS \\\n" in drop_in
    assert "--initial-advertise-peer-urls=http://${ETCD_IP}:2380" in drop_in
    assert "After=etcd-address.service" in drop_in and address["command"] == "start"
    assert "ETCD_IP=" in address["content"] and "%" not in address["content"]


@BOTH
def test_what_is_rendered_is_valid_and_has_one_token(installer):
    text = rendered(installer, [KEY, KEY + ": a # b"])
    assert validate(text) == [] and tokens.url_in(text) == URL
    assert yaml.safe_load(text)["ssh_authorized_keys"] == [KEY, KEY + ": a # b"]


def test_another_installer_is_refused():
    with pytest.raises(ParamsError, match="installer"):
        rendered("talos-install")


@BOTH
def test_no_token_is_shown(installer):
    shown = tokens.masked(rendered(installer))
    assert TOKEN not in shown and "https://discovery.etcd.io/217d…" in shown
    assert repr(tokens.url_in(rendered(installer))) == "'https://discovery.etcd.io/217d…'"


def test_a_token_of_ones_own_etcd_is_masked_too():
    text = 'discovery: "http://10.1.0.5:2379/v2/keys/discovery/my-cluster"\n'
    assert tokens.masked(text) == 'discovery: "http://10.1.0.5:2379/v2/keys/discovery/…"\n'


def test_two_tokens_are_one_too_many():
    with pytest.raises(CheckFailed, match="found 2"):
        tokens.url_in(rendered() + f"# --discovery={URL}0\n")
    assert tokens.url_in("#cloud-config\n") == ""


def test_keys_are_read_one_a_line(tmp_path):
    (tmp_path / "k.pub").write_text(f"# mine\n{KEY}\r\n\n{KEY}2\n")
    assert sshkeys.ssh_keys(str(tmp_path / "k.pub")) == [KEY, KEY + "2"]


@pytest.mark.parametrize(
    "text, said",
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nSECRET\n", "a private key: give the .pub"),
        ("PuTTY-User-Key-File-3: SECRET\n", "a private key"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nSECRET\n", "in line 1 something else"),
        (f"{KEY}\nssh-rsa SECRET\n", "in line 2 something else"),
        ("", "none in it"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_file_that_is_no_public_key_is_refused_and_not_repeated(tmp_path, text, said):
    file = tmp_path / "k"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ParamsError, match=re.escape(said)) as failed:
        sshkeys.ssh_keys(str(file))
    assert "SECRET" not in str(failed.value)


def test_a_key_file_that_is_absent_is_named():
    with pytest.raises(ParamsError, match=r"ssh_key_file params/none.pub.*FileNotFoundError"):
        sshkeys.ssh_keys("params/none.pub")


WANTED = {
    "work_dir": "w",
    "installer": "coreos-install",
    "ssh_keys": [KEY],
    "size": 3,
    "discovery": "public",
    "local": "",
}


def test_an_absent_config_is_planned_unless_something_was_made_from_it(here):
    (step,) = plan_write(here, **WANTED)
    assert step.params["base"] == "https://discovery.etcd.io"
    assert "absent" in step.why and "deprecated" in step.why
    assert plan_write(here, **WANTED, made=True) == []


def test_one_that_differs_only_in_its_token_is_as_wanted(here):
    write_text(here, "w/cloud-config.yml", rendered())
    assert plan_write(here, **WANTED) == []


def test_one_that_differs_otherwise_is_shown_masked(here):
    write_text(here, "w/cloud-config.yml", rendered().replace("fleet", "docker"))
    with pytest.raises(CheckFailed, match=r"(?s)-.*fleet.*\+.*docker.*90-remove-cluster") as failed:
        plan_write(here, **WANTED)
    assert TOKEN not in str(failed.value)


def test_a_token_for_another_size_or_service_is_not_as_wanted(here):
    write_text(here, "w/cloud-config.yml", rendered())
    notes.update(here, "w", config={"base": "https://discovery.etcd.io", "size": 5})
    with pytest.raises(CheckFailed, match=r"for 3 machines, found one of .* for 5 machines"):
        plan_write(here, **WANTED)
    with pytest.raises(CheckFailed, match=r"wanted one of http://10\.1\.0\.5"):
        plan_write(here, **WANTED | {"size": 5, "discovery": "http://10.1.0.5"})


def test_a_config_edited_by_hand_is_validated(here, capsys):
    cloudconfig.check_valid(here, "w", "plan")
    assert "no w/cloud-config.yml yet" in capsys.readouterr().out
    with pytest.raises(CheckFailed, match="absent"):
        cloudconfig.check_valid(here, "w", "apply")
    write_text(here, "w/cloud-config.yml", "\n" + rendered())
    with pytest.raises(CheckFailed, match="line 1: error: the first line is blank"):
        cloudconfig.check_valid(here, "w", "plan")


def test_cleared_notes_leave_what_others_put_there(here, tmp_path):
    write_text(here, "w/cloud-config.yml", rendered())
    write_text(here, "w/mine", "x")
    notes.update(here, "w", a=1)
    notes.clear(here, "w")
    assert [p.name for p in (tmp_path / "w").iterdir()] == ["mine"]
    (tmp_path / "w/mine").unlink()
    notes.clear(here, "w")
    notes.clear(here, "w")
    assert not (tmp_path / "w").exists()
