"""Profiles come from where operators already keep them, and never from anywhere else."""

import os

import cs
import pytest

from lib import profiles
from lib.errors import ProfileError
from lib.record import masks

INI = "[idcf]\nendpoint = https://c.example/client/api\nkey = K1\nsecret = S1%%+/=\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home and an empty folder to stand in, with no CLOUDSTACK_ variables."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for module in (profiles.files, profiles.local):
        monkeypatch.setattr(module, "ROOT", tmp_path / "project")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in [n for n in os.environ if n.startswith("CLOUDSTACK_")]:
        monkeypatch.delenv(name)
    return tmp_path


def write(path, text, mode=0o600):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def test_a_section_of_cs_own_file_is_a_profile(home):
    write(home / ".cloudstack.ini", INI)
    found = profiles.read("idcf")
    endpoint = "https://c.example/client/api"
    assert (found.endpoint, found.key, found.secret) == (endpoint, "K1", "S1%+/=")
    settings = (found.algorithm, found.timeout, found.expires, found.verify)
    assert settings == ("HmacSHA1", 30, 600, True)
    assert "K1" not in repr(found) and "S1" not in repr(found)


def test_the_file_that_cs_reads_last_wins(home, monkeypatch):
    write(home / ".cloudstack.ini", INI)
    write(home / "here/cloudstack.ini", "[idcf]\nkey = K2\n")
    write(home / "other.ini", "[idcf]\nsecret = S3\n")
    monkeypatch.setenv("CLOUDSTACK_CONFIG", "~/other.ini")
    found = profiles.read("idcf")
    assert (found.key, found.secret) == ("K2", "S3")


def test_settings_of_a_section_are_understood(home):
    write(home / "ca.pem", "")
    more = f"timeout = 5\nexpiration = -1\nverify = {home}/ca.pem\nalgorithm = HmacSHA512\n"
    write(home / ".cloudstack.ini", INI + more)
    found = profiles.read("idcf")
    assert (found.timeout, found.expires, found.verify) == (5, 0, f"{home}/ca.pem")
    assert found.algorithm == "HmacSHA512"


def test_a_profile_of_cloudmonkey_is_one_too(home):
    text = "[core]\nprofile = lab\n[lab]\nurl = http://lab/client/api\napikey = A\nsecretkey = B\n"
    write(home / ".cmk/config", text)
    found = profiles.read("lab")
    assert (found.endpoint, found.key, found.secret) == ("http://lab/client/api", "A", "B")


CMK_6 = """prompt     = cmk
timeout    = 1800
verifycert = {verify}
profile    = lab

[lab]
url       = http://localhost:8080/client/api
username  = admin
password  = password
apikey    = AnApiKey11223344
secretkey = A%Secret55667788
"""


@pytest.mark.parametrize(("word", "verify"), [("true", True), ("false", False)])
def test_cloudmonkey_6_writes_keys_before_any_section(home, word, verify):
    write(home / ".cmk/config", CMK_6.format(verify=word))
    found = profiles.read("lab")
    assert (found.key, found.secret) == ("AnApiKey11223344", "A%Secret55667788")
    assert (found.verify, found.timeout) == (verify, 30)
    assert {"AnApiKey11223344", "A%Secret55667788"} <= set(profiles.kept())
    assert "password" not in profiles.kept()  # it is cloudmonkey's alone, and a word of any text
    with pytest.raises(ProfileError, match="no profile"):
        profiles.read(profiles.HEAD)


def test_values_are_read_as_cs_reads_them(home, monkeypatch):
    ini = f"[DEFAULT]\ntimeout = 7\nname = part\n{INI}endpoint = http://c/%(name)s\n"
    write(home / ".cloudstack.ini", ini.replace("endpoint = https://c.example/client/api\n", ""))
    monkeypatch.delenv("CLOUDSTACK_CONFIG", raising=False)
    theirs, ours = cs.read_config("idcf"), profiles.read("idcf")
    assert (ours.endpoint, ours.key, ours.secret) == (
        theirs["endpoint"], theirs["key"], theirs["secret"],
    )  # fmt: skip
    assert (ours.secret, ours.timeout) == ("S1%+/=", float(theirs["timeout"]))


def test_user_and_password_of_the_endpoint_go_to_the_server_only(home, monkeypatch):
    monkeypatch.setenv("CLOUDSTACK_ENDPOINT", "http://op%40s:Hunter2%2BCanary@h:1/api")
    monkeypatch.setenv("CLOUDSTACK_KEY", "EKEKEK")
    monkeypatch.setenv("CLOUDSTACK_SECRET", "ESESES")
    found = profiles.read("env")
    assert (found.endpoint, found.login) == ("http://h:1/api", ("op@s", "Hunter2+Canary"))
    assert "Hunter2" not in repr(found)
    assert {"Hunter2%2BCanary", "Hunter2+Canary"} <= set(profiles.kept())
    assert "Hunter2+Canary" in masks.values()


def test_a_name_that_stands_in_both_places_is_refused(home):
    write(home / ".cloudstack.ini", INI)
    write(home / ".cmk/config", "[idcf]\nurl = http://x\napikey = A\nsecretkey = B\n")
    with pytest.raises(ProfileError, match="both"):
        profiles.read("idcf")


def test_the_environment_serves_the_profile_env_and_no_other(home, monkeypatch):
    for name, value in {"ENDPOINT": "http://e/", "KEY": "EK", "SECRET": "ES"}.items():
        monkeypatch.setenv(f"CLOUDSTACK_{name}", value)
    assert profiles.read("env").key == "EK"
    with pytest.raises(ProfileError, match=r"no profile 'idcf'.*\.cloudstack\.ini"):
        profiles.read("idcf")


def test_a_missing_key_is_named_and_nothing_is_borrowed(home, monkeypatch):
    monkeypatch.setenv("CLOUDSTACK_SECRET", "ES")
    write(home / ".cloudstack.ini", "[a]\nendpoint = http://x\nkey = K\n[b]\nsecret = S\n")
    with pytest.raises(ProfileError, match=r"profile a in .*\.cloudstack\.ini lacks secret"):
        profiles.read("a")


def test_a_file_that_others_can_read_is_warned_about(home):
    write(home / ".cloudstack.ini", INI, mode=0o644)
    with pytest.warns(UserWarning, match="chmod 600"):
        profiles.read("idcf")


def test_an_unknown_option_of_the_local_cloud_is_refused():
    with pytest.raises(ProfileError, match=r"dialekt.*dialect, time_scale"):
        profiles.read("local?dialekt=2.2")


def test_the_secrets_of_all_profiles_are_masked(home, monkeypatch, tmp_path):
    ini = "[a]\nendpoint=http://x\nkey=the-key-of-a\nsecret=the-secret-of-a\n[b]\nkey=%broken\n"
    (home / ".cloudstack.ini").write_text(ini)
    (home / ".cmk").mkdir()
    (home / ".cmk" / "config").write_text("[c]\napikey=cmk-api-key\nsecretkey=cmk-secret\n")
    (tmp_path / "no.ini").write_text("this is no INI\n")
    monkeypatch.setenv("CLOUDSTACK_CONFIG", str(tmp_path / "no.ini"))
    monkeypatch.setenv("CLOUDSTACK_SECRET", "of-the-environment")
    (tmp_path / "cloud" / "4.22").mkdir(parents=True)
    facts = '{"apikey": "local-api-key", "secretkey": "local-secret"}'
    (tmp_path / "cloud" / "4.22" / "server.json").write_text(facts)
    for number, damaged in enumerate(["", "[]", "null", "\0\0"]):
        (tmp_path / "cloud" / str(number)).mkdir()
        (tmp_path / "cloud" / str(number) / "server.json").write_text(damaged)
    monkeypatch.setenv("https_proxy", "http://me:of-a-proxy@proxy:3128")
    monkeypatch.setenv("RUNBOOK_LOCALCLOUD", str(tmp_path / "cloud"))
    answer = set(profiles.kept())
    assert {"the-key-of-a", "the-secret-of-a", "%broken", "cmk-api-key", "cmk-secret"} <= answer
    assert {"local-api-key", "local-secret", "of-the-environment", "of-a-proxy"} <= answer


BOUNDS = "deadline = 7\nmax_answer = 0.5\nmax_rows = 10\nmax_pause = 3\n"


def test_a_profile_bounds_what_a_cloud_may_do(home):
    write(home / ".cloudstack.ini", INI + BOUNDS)
    found = profiles.read("idcf")
    assert (found.deadline, found.max_answer, found.max_rows, found.max_pause) == (7, 0.5, 10, 3)
    write(home / ".cloudstack.ini", INI + "timeout = 300\n")
    assert profiles.read("idcf").deadline == 1200


ENDPOINTS = ["http://h/api?token=abcdef", "http:///api", "http://[h/", "h", "http://h:x/"]
ENDPOINTS += ["http://h:99999/", "http://a b/", "http://h..x/", "http://\x1b[2Jh/"]
ENDPOINTS += [f"http://{'h' * 64}/"]
INVALID = {
    "no section": ("no section\n", r"\.cloudstack\.ini: line"),
    "a key twice": ("[idcf]\nkey = 1\nkey = 2\n", r"\.cloudstack\.ini: line"),
    "a percent sign that cs cannot read": (
        INI.replace("%%", "%"), r"\.cloudstack\.ini: secret .*write it as %%",
    ),
    "missing certificates": (
        f"{INI}verify = /none.pem\n",
        r"verify in .*/\.cloudstack\.ini: there is no file /none\.pem",
    ),
    **{
        endpoint: (
            f"[idcf]\nendpoint = {endpoint}\nkey = K\nsecret = S\n",
            "profile idcf in .*: endpoint must",
        )
        for endpoint in ENDPOINTS
    },
    **{
        f"{key} {value}": (
            f"{INI}{key} = {value}\n", rf"{key} in .*wanted a number of .*found '{value}'",
        )
        for key in ("timeout", "deadline", "max_answer", "max_rows", "max_pause")
        for value in ("0", "-1", "nan", "inf", "1e10", "soon")
    },
}  # fmt: skip


@pytest.mark.parametrize("text, error", INVALID.values(), ids=INVALID)
def test_an_invalid_file_is_refused_without_showing_its_values(home, text, error):
    write(home / ".cloudstack.ini", text)
    with pytest.raises(ProfileError, match=error) as refused:
        profiles.read("idcf")
    assert not any(value in str(refused.value) for value in ("S1", "abcdef", "no section"))


def test_the_values_of_a_file_that_cs_could_not_read_are_masked_too(home):
    write(home / ".cloudstack.ini", INI.replace("%%", "%"))
    assert "S1%+/=" in profiles.kept()
