"""What the machines are configured with: rendered, shown before it is written, and read back."""

import json
import re
import stat

import pytest
import yaml
from registries import answering, free_port

from lib import config
from lib.config import addresses, discovery, keys
from lib.config.lint import validate
from lib.errors import CheckFailed, ParamsError, RunbookError
from lib.plan import show
from lib.record.journal import Journal, run_folder
from lib.workstation import notes
from lib.workstation.shell import write_text

TOKEN = "217d781a5ad5c7c4660bfbbc239bd0c0"
URL = f"https://discovery.etcd.io/{TOKEN}"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43 + " me@here"
BOTH = pytest.mark.parametrize("installer", ["coreos-install", "flatcar-install"])
FILE = "cloud-config.yml"


def config_of(installer="coreos-install", keys=(KEY,), size=3, service=discovery.PUBLIC, **form):
    form = config.Form(installer, "cloudstack", **form)
    return config.Config(form, tuple(keys), config.Bootstrap("core", size, service))


def rendered(installer="coreos-install", keys=(KEY,)) -> str:
    return config_of(installer, keys).texts(URL)[FILE]


def plan(here, config_, template=None, deployed=()):
    return config.plan_write(here, "w", config_, template, deployed)


def test_coreos_gets_etcd_and_fleet():
    ports = {"addr": "$private_ipv4:4001", "peer-addr": "$private_ipv4:7001"}
    units = [{"name": f"{name}.service", "command": "start"} for name in ("etcd", "fleet")]
    assert yaml.safe_load(rendered()) == {
        "coreos": {"etcd": {"discovery": URL, **ports}, "units": units},
        "ssh_authorized_keys": [KEY],
    }


def test_a_plain_image_of_coreos_finds_its_address_itself():
    form = config.Form("coreos-install", "")
    configured = config.Config(form, (KEY,), config.Bootstrap("core", 3, discovery.PUBLIC))
    text = configured.texts(URL)[FILE]
    files = {f["path"]: f["content"] for f in yaml.safe_load(text)["write_files"]}
    assert validate(text) == [] and "$private_ipv4" not in text
    assert "\nETCD_ADDR=$ip:4001\n" in files["/opt/bin/note-address"]
    assert "EnvironmentFile=" in files["/etc/systemd/system/fleet.service.d/30-address.conf"]


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


def test_user_data_leave_a_neutral_text_for_the_disk():
    texts = config_of("flatcar-install", delivery="userdata").texts(URL)
    assert yaml.safe_load(texts[FILE]) == {"ssh_authorized_keys": [KEY]}
    assert list(texts) == [FILE, "user-data.yml"] and URL in texts["user-data.yml"]


@BOTH
def test_what_is_rendered_is_valid_and_has_one_token_which_is_not_shown(installer):
    text = rendered(installer, [KEY, KEY + ": a # b"])
    assert validate(text) == [] and discovery.url_in(text) == URL
    assert yaml.safe_load(text)["ssh_authorized_keys"] == [KEY, KEY + ": a # b"]
    for shown in (config.masked(text), repr(config.Written(FILE, text))):
        assert TOKEN not in shown and "https://discovery.etcd.io/217d…" in shown
    assert repr(config.Written(FILE, text).url) == "'https://discovery.etcd.io/217d…'"


def test_tokens_of_any_service_are_masked_and_two_are_one_too_many():
    text = 'discovery: "http://10.1.0.5:2379/discovery/my-cluster"\n'
    assert config.masked(text) == 'discovery: "http://10.1.0.5:2379/discovery/…"\n'
    with pytest.raises(CheckFailed, match="has 2 discovery URLs"):
        discovery.url_in(rendered() + f"# --discovery={URL}0\n")
    assert discovery.url_in("#cloud-config\n") == ""


def test_keys_are_read_one_a_line(tmp_path):
    (tmp_path / "k.pub").write_text(f"# mine\n{KEY}\r\n\n{KEY}2\n")
    assert config.ssh_keys(str(tmp_path / "k.pub")) == (KEY, KEY + "2")
    with pytest.raises(ParamsError, match=r"ssh_key_file params/none.pub.*FileNotFoundError"):
        keys.ssh_keys("params/none.pub")


@pytest.mark.parametrize(
    "text, message",
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nSECRET\n", "a private key: give the .pub"),
        ("PuTTY-User-Key-File-3: SECRET\n", "a private key"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nSECRET\n", "line 1 is no public key"),
        (f"{KEY}\nssh-rsa SECRET\n", "line 2 is no public key"),
        ("", "holds no key"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_file_that_is_no_public_key_is_refused_and_not_repeated(tmp_path, text, message):
    file = tmp_path / "k"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ParamsError, match=re.escape(message)) as failed:
        keys.ssh_keys(str(file))
    assert "SECRET" not in str(failed.value)


@pytest.mark.parametrize(
    "form, message",
    [
        (("talos-install", "cloudstack"), "installer: wanted coreos-install or flatcar-install"),
        (("flatcar-install", "x", "butane"), "config_format: wanted cloud-config or ignition"),
        (("coreos-install", "x", "ignition"), "CoreOS of 2014 has no Ignition"),
        (("coreos-install", "x", "cloud-config", "floppy"), "config_delivery: wanted disk or user"),
        (("coreos-install", "", "cloud-config", "userdata"), "oem: the plain image reads no user"),
    ],
)
def test_a_form_that_cannot_be_is_refused(form, message):
    with pytest.raises(ParamsError, match=message):
        config.Form(*form)


def test_an_absent_text_is_planned_in_full_unless_something_was_made_from_it(here):
    (step,) = plan(here, config_of())
    assert step.params["text"] == config_of().texts()[FILE]
    assert "discovery: https://discovery.etcd.io/<token>\n" in step.params["text"]
    assert "absent" in step.why and "deprecated" in step.why
    assert show([step])["text"][0].startswith("15 lines, sha256 ")
    assert plan(here, config_of(), template={"id": "t"}) == []


def test_the_text_is_shown_before_it_is_written_and_its_token_masked_after(here):
    before = config.preview(here, "w", config_of())
    assert repr(before).startswith(f"── w/{FILE}: absent, to be written\n#cloud-config\n")
    assert "discovery: https://discovery.etcd.io/<token>" in repr(before)
    write_text(here, f"w/{FILE}", rendered())
    assert plan(here, config_of()) == []  # only the token differs
    after = config.preview(here, "w", config_of())
    assert repr(after).startswith(f"── w/{FILE}: as it is there\n#cloud-config\n")
    assert "/217d…" in repr(after) and TOKEN not in repr(after) + after._repr_html_()
    notes.update(here, "w", config={"base": "https://discovery.etcd.io", "size": 5})
    with pytest.raises(CheckFailed, match=r"for 3 machines, found one of .* for 5 machines"):
        plan(here, config_of())
    with pytest.raises(CheckFailed, match=r"wanted one of http://10\.1\.0\.5"):
        plan(here, config_of(size=5, service="http://10.1.0.5"))


def test_lines_that_differ_are_shown_in_colours_and_stop_it_with_advice_that_helps(here):
    write_text(here, f"w/{FILE}", rendered().replace("fleet", "<b>docker"))
    shown = config.preview(here, "w", config_of())
    assert "-    - name: <b>docker.service\n+    - name: fleet.service" in repr(shown)
    html = shown._repr_html_()
    assert '<span style="background:#ffebe9' in html and "&lt;b&gt;docker" in html
    assert "coreos:" not in html and TOKEN not in html + repr(shown)
    with pytest.raises(CheckFailed, match=r"(?s)-.*fleet.*\+.*docker.*70-reconfigure") as failed:
        plan(here, config_of())
    assert TOKEN not in str(failed.value)


def test_a_text_edited_by_hand_is_validated(here, capsys):
    form = config_of().form
    config.check_valid(here, "w", form, "plan")
    assert f"no w/{FILE} yet" in capsys.readouterr().out
    with pytest.raises(CheckFailed, match="is not on the workstation"):
        config.check_valid(here, "w", form, "apply")
    write_text(here, f"w/{FILE}", "\n" + rendered())
    with pytest.raises(CheckFailed, match="line 1: error: the first line is blank"):
        config.check_valid(here, "w", form, "plan")


@pytest.mark.parametrize(
    "files, where, url",
    [
        ([], "w", ""),
        ([FILE], f"w/{FILE}", URL),
        ([FILE, "user-data.yml"], "w/user-data.yml", URL),
        (["config.ign"], "w/config.ign", URL),
    ],
)
def test_one_function_reads_back_what_makes_machines_a_cluster(here, files, where, url):
    for name in files:
        write_text(here, f"w/{name}", rendered())
    there = config.read(here, "w")
    assert (there.where, there.url, there.addresses) == (where, url, ())
    assert bool(there.sha256) == bool(files) == bool(there.text)
    assert config.read(here, "w", "other.yml") == config.Written("w/other.yml")


def test_cleared_notes_leave_what_others_put_there(here, tmp_path):
    write_text(here, f"w/{FILE}", rendered())
    write_text(here, "w/mine", "x")
    notes.update(here, "w", a=1)
    notes.clear(here, "w")
    assert [p.name for p in (tmp_path / "w").iterdir()] == ["mine"]
    (tmp_path / "w/mine").unlink()
    notes.clear(here, "w")
    notes.clear(here, "w")
    assert not (tmp_path / "w").exists()


@pytest.fixture
def service():
    with answering({}) as server:
        server.answers["/new"] = (200, f"{server.base}/{TOKEN}")
        yield server


def test_applying_asks_for_one_token_fills_it_in_and_is_then_done(service, here, tmp_path, capsys):
    configured = config_of(service=service.base)
    steps = plan(here, configured)
    config.apply_write(here, steps, "plan", "w")
    assert service.asked == [] and not (tmp_path / "w").exists()
    config.apply_write(here, steps, "apply", "w")
    file = tmp_path / "w" / FILE
    assert file.read_text() == steps[0].params["text"].replace("<token>", TOKEN)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert plan(here, configured) == [] and service.asked == ["GET /new?size=3"]
    assert TOKEN not in capsys.readouterr().out
    service.answers["/new"] = (200, URL)  # of the service under another name
    file.unlink()
    config.apply_write(here, plan(here, configured), "apply", "w")
    assert config.read(here, "w").url == URL and plan(here, configured) == []


def test_a_text_that_is_not_valid_is_not_written(service, here, tmp_path):
    steps = plan(here, config_of(keys=["ssh-rsa broken"], service=service.base))
    with pytest.raises(CheckFailed, match=r"line 15: error: ssh key: its base64 part is damaged"):
        config.apply_write(here, steps, "apply", "w")
    assert not (tmp_path / "w").exists() and service.asked == []


@pytest.mark.parametrize(
    "answer, message",
    [
        ((403, "no"), "GET at the discovery service: 403."),
        ((502, "no"), "GET at the discovery service: HTTP 502 Bad Gateway."),
        ((0, ""), "GET at the discovery service: the connection failed"),
        ((200, f"x {TOKEN}"), "http://127.0.0.1:"),
        (None, "GET at the discovery service: the connection failed"),
    ],
)
def test_the_journal_says_how_asking_for_a_token_failed(
    service, here, tmp_path, monkeypatch, answer, message
):
    monkeypatch.setenv("RUNBOOK_RUN", str(tmp_path / "run"))
    base = service.base if answer else f"http://127.0.0.1:{free_port()}"
    service.answers["/new"] = answer
    configured = config_of(service=base)
    for _ in range(2):
        with pytest.raises(RunbookError):
            config.apply_write(here, plan(here, configured), "apply", "w")
    entries = Journal(run_folder(), base).every()
    assert [(e.state, e.text[: len(message)]) for e in entries] == [("failed", message)] * 2
    assert TOKEN not in (tmp_path / "run/journal.jsonl").read_text()


def test_an_ignition_config_and_a_cloud_config_say_the_same_of_fixed_addresses():
    bootstrap = config.Bootstrap("core", 2, discovery.STATIC, ("10.1.0.7", "10.1.0.8"))
    arguments = (
        "--name=${ETCD_IP} --initial-cluster-state=new --initial-cluster-token=core \\\n"
        "  --initial-cluster=10.1.0.7=http://10.1.0.7:2380,10.1.0.8=http://10.1.0.8:2380\n"
    )
    for form, name in (("cloud-config", FILE), ("ignition", "config.ign")):
        one = config.Config(config.Form("flatcar-install", "x", form), (KEY,), bootstrap)
        text = one.texts()[name]
        assert addresses.fixed_in(text) == bootstrap.addresses and "<token>" not in text
        unit = json.loads(text)["systemd"] if name.endswith("ign") else yaml.safe_load(text)
        drop_in = unit["units"][1]["dropins"] if "units" in unit else None
        drop_in = drop_in or unit["coreos"]["units"][1]["drop_ins"]
        assert drop_in[0].get("contents", drop_in[0].get("content")).endswith(arguments)
