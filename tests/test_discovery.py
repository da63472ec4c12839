"""The discovery service, asked over HTTP."""

import shutil
import socket
import stat
import subprocess
import time

import pytest
import requests
from harness import client, fault
from registries import answering, free_port

from lib import cloudconfig, discovery, tokens
from lib.discovery import (
    ask_token,
    choose_token,
    has_begun,
    members,
    register,
    service,
    size_of,
)
from lib.errors import CheckFailed, ParamsError, Refused, RunbookError, Unreachable
from lib.journal import Journal, run_folder
from lib.localcloud import wire as localcloud

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
TOKEN = "217d781a5ad5c7c4660bfbbc239bd0c0"


@pytest.fixture
def server():
    with answering({}) as server:
        yield server


def listing(*nodes):
    rows = [{"key": f"/_etcd/registry/{TOKEN}/{k}", "value": v} for k, v in nodes]
    node = {"key": f"/_etcd/registry/{TOKEN}", "dir": True} | ({"nodes": rows} if rows else {})
    return 200, {"action": "get", "node": node}


def test_the_service_is_chosen_by_a_word_or_a_url():
    assert service("local", "http://127.0.0.1:1/") == "http://127.0.0.1:1"
    assert service("public", "") == "https://discovery.etcd.io"
    assert service("http://10.1.0.5:8087/", "x") == "http://10.1.0.5:8087"


@pytest.mark.parametrize(
    "wrong", ["local", "", "discovery.etcd.io", "ftp://x", "http://", "publik"]
)
def test_another_word_is_refused(wrong):
    with pytest.raises(ParamsError, match="discovery"):
        service(wrong, "")


def test_a_new_token_is_asked_for_with_its_size(server):
    server.answers["/new"] = (200, f"{server.base}/{TOKEN}\n")
    assert ask_token(server.base, 3) == f"{server.base}/{TOKEN}"
    assert server.asked == ["GET /new?size=3"]


def test_where_the_service_gives_tokens_none_is_chosen():
    assert choose_token("https://discovery.etcd.io") is None
    one, two = (choose_token("http://10.1.0.5:2379/v2/keys/d") for _ in range(2))
    assert one != two and one.startswith("http://10.1.0.5:2379/v2/keys/d/")


def test_an_etcd_of_ones_own_is_told_the_size(server):
    url, path = f"{server.base}/v2/keys/d/{TOKEN}", f"/v2/keys/d/{TOKEN}/_config/size"
    server.answers[path] = (201, {"node": {"value": "5"}})
    register(url, 5)
    assert server.asked == [f"PUT {path} value=5&prevExist=false"]


def test_a_token_that_was_registered_before_is_taken_if_it_is_for_as_many(server):
    url, path = f"{server.base}/v2/keys/d/{TOKEN}", f"/v2/keys/d/{TOKEN}/_config/size"
    server.refused[path] = (412, {"errorCode": 105})
    server.answers[path] = (200, {"node": {"value": "5"}})
    register(url, 5)
    with pytest.raises(CheckFailed, match="wanted 3, found 5") as failed:
        register(url, 3)
    assert TOKEN not in str(failed.value)


def test_an_etcd_without_these_keys_is_told(server):
    with pytest.raises(Refused, match=r"refused \(404\)"):
        register(f"{server.base}/v2/keys/d/{TOKEN}", 5)


def test_a_cluster_that_had_begun_is_seen_though_its_members_are_gone(server):
    url = f"{server.base}/{TOKEN}"
    assert not has_begun(url)
    server.answers[f"/{TOKEN}/_state"] = (200, {"node": {"value": "started"}})
    assert has_begun(url)


@pytest.mark.parametrize("body", ["<html>hello</html>", "", "https://x/short", f"x {TOKEN}"])
def test_an_answer_that_is_no_token_is_refused(server, body):
    server.answers["/new"] = (200, body)
    with pytest.raises(CheckFailed, match="Is there a discovery service"):
        ask_token(server.base, 3)


def test_an_error_of_the_service_is_told(server):
    server.answers["/new"] = (500, "<html>")
    with pytest.raises(Refused, match=r"refused \(500\)"):
        ask_token(server.base, 3)


def test_a_token_is_asked_for_once_even_if_no_answer_comes(server):
    server.answers["/new"] = (0, "")
    with pytest.raises(Unreachable, match="the connection failed"):
        ask_token(server.base, 3)
    assert len(server.asked) == 1


def test_a_service_that_hangs_is_not_waited_for_ever(monkeypatch):
    monkeypatch.setattr(discovery, "TIMEOUT", (0.2, 0.2))
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(Unreachable, match="no answer in time"),
    ):
        ask_token(f"http://127.0.0.1:{silent.getsockname()[1]}", 3)


def test_members_of_etcd_0_4_have_their_name_in_the_key(server):
    server.answers[f"/{TOKEN}"] = listing(("179b2d98", "http://10.1.0.73:7001"))
    assert members(f"{server.base}/{TOKEN}") == {"179b2d98": "10.1.0.73"}


def test_members_of_etcd_2_and_3_have_it_in_the_value(server):
    server.answers[f"/{TOKEN}"] = listing(
        ("8e9e05c52164694d", "n1=http://10.1.0.7:2380,n1=http://10.2.0.7:2380"),
        ("91bc3c398fb3c146", "n2=https://[fd00::8]:2380"),
        ("fd422379fda50e48", "garbage"),
    )
    found = {"n1": "10.1.0.7", "n2": "fd00::8", "fd422379fda50e48": "garbage"}
    assert members(f"{server.base}/{TOKEN}") == found


def test_a_new_token_has_no_members_and_a_size(server):
    server.answers[f"/{TOKEN}"] = listing()
    server.answers[f"/{TOKEN}/_config/size"] = (200, {"node": {"key": "x", "value": "3"}})
    assert members(f"{server.base}/{TOKEN}") == {} and size_of(f"{server.base}/{TOKEN}") == 3


def test_an_unknown_token_is_explained_and_not_named(server):
    server.answers[f"/{TOKEN}"] = (404, {"errorCode": 100, "message": "Key not found"})
    with pytest.raises(CheckFailed, match=r"217d….*unknown.*20-write-cloud-config") as failed:
        members(f"{server.base}/{TOKEN}")
    assert TOKEN not in str(failed.value) and size_of(f"{server.base}/{TOKEN}") is None


@pytest.mark.parametrize(
    "answer", [(200, "<html>"), (200, []), (200, {"node": 1}), (502, "<html>"), (0, "")]
)
def test_no_error_carries_the_token(server, answer):
    server.answers[f"/{TOKEN}"] = answer
    with pytest.raises(RunbookError) as failed:
        members(f"{server.base}/{TOKEN}")
    error = failed.value
    assert TOKEN not in f"{error}{error!r}{vars(error)}" and error.__suppress_context__ | (
        error.__context__ is None
    )


def test_a_token_shown_by_itself_is_masked(server):
    server.answers["/new"] = (200, f"{server.base}/{TOKEN}")
    assert TOKEN not in repr(ask_token(server.base, 3))


def wanted(server, key=KEY):
    given = {"work_dir": "w", "installer": "coreos-install", "ssh_keys": [key], "size": 3}
    return given | {"discovery": "local", "local": server.base}


def test_writing_a_cloud_config_asks_for_one_token_and_is_then_done(server, here, tmp_path, capsys):
    server.answers["/new"] = (200, f"{server.base}/{TOKEN}")
    plan = cloudconfig.plan_write(here, **wanted(server))
    cloudconfig.apply_write(here, plan, "plan", work_dir="w")
    assert server.asked == [] and not (tmp_path / "w").exists()
    cloudconfig.apply_write(here, plan, "apply", work_dir="w")
    file = tmp_path / "w/cloud-config.yml"
    assert f"discovery: {server.base}/{TOKEN}\n" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert cloudconfig.plan_write(here, **wanted(server)) == [] and len(server.asked) == 1
    assert TOKEN not in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer, end",
    [
        ((403, "no"), ("refused", "403: Forbidden")),
        ((502, "no"), ("lost", "502: Bad Gateway")),
        ((0, ""), ("lost", "the connection failed (ConnectionError)")),
        ((200, f"x {TOKEN}"), ("failed", "the answer of")),
        (None, ("not-sent", "the connection failed (ConnectionError)")),
    ],
)
@pytest.mark.parametrize("chosen", [False, True])
def test_the_journal_tells_how_asking_for_a_token_failed(
    server, here, tmp_path, monkeypatch, capsys, answer, end, chosen
):
    monkeypatch.setenv("RUNBOOK_RUN", str(tmp_path / "run"))
    base = f"{server.base}/v2/keys/d" if chosen else server.base
    path = "/v2/keys/d/" + "0" * 31 + "1/_config/size" if chosen else "/new"
    monkeypatch.setattr(discovery.secrets, "token_hex", lambda n: "0" * 31 + "1")
    if answer is None:
        base = base.replace(server.base, f"http://127.0.0.1:{free_port()}")
    elif chosen and answer[0] == 200:
        server.refused[path] = (412, "no")
        answer = (200, {"node": {"key": "x", "value": "5"}})
        end = ("failed", "machines that the token")
    server.answers[path] = answer
    want = wanted(server) | {"discovery": base}
    with pytest.raises(RunbookError) as failed:
        cloudconfig.apply_write(here, cloudconfig.plan_write(here, **want), "apply", work_dir="w")
    (entry,) = Journal(run_folder(), base).every()
    assert (entry["state"], entry["text"][: len(end[1])]) == end
    if isinstance(failed.value, Unreachable):
        assert failed.value.may_have_changed == (answer is not None)
    with pytest.raises(RunbookError):
        cloudconfig.apply_write(here, cloudconfig.plan_write(here, **want), "apply", work_dir="w")
    assert "was not written" not in capsys.readouterr().out
    told = (tmp_path / "run/journal.jsonl").read_text()
    assert TOKEN not in told and "0" * 31 not in told


def test_an_invalid_cloud_config_is_not_written(server, here, tmp_path):
    server.answers["/new"] = (200, f"{server.base}/{TOKEN}")
    plan = cloudconfig.plan_write(here, **wanted(server, key="ssh-rsa broken"))
    with pytest.raises(CheckFailed, match=r"line 15: error: ssh key: its base64 part is damaged"):
        cloudconfig.apply_write(here, plan, "apply", work_dir="w")
    assert not (tmp_path / "w").exists()


def test_strangers_who_used_the_token_stop_a_deploy(server):
    tokens.check_token_unused("", {})
    url = f"{server.base}/{TOKEN}"
    text = cloudconfig.render(installer="coreos-install", discovery_url=url, ssh_keys=["k"])
    server.answers[f"/{TOKEN}"] = listing(("a", "http://10.1.0.7:7001"))
    tokens.check_token_unused(text, {"m-1": "10.1.0.7"})
    with pytest.raises(CheckFailed, match=r"none but ours, found 10\.1\.0\.7"):
        tokens.check_token_unused(text, {})


def test_a_token_whose_members_are_gone_stops_the_first_deploy(server):
    url = f"{server.base}/{TOKEN}"
    text = cloudconfig.render(installer="coreos-install", discovery_url=url, ssh_keys=["k"])
    server.answers[f"/{TOKEN}"] = listing()
    tokens.check_token_unused(text, {})
    server.answers[f"/{TOKEN}/_state"] = (200, {"node": {"value": "started"}})
    with pytest.raises(CheckFailed, match=r"wanted none, found one\. Its members are gone"):
        tokens.check_token_unused(text, {})
    tokens.check_token_unused(text, {"m-1": "10.1.0.7"})


def test_a_chosen_token_is_written_before_it_is_registered_and_registered_again(
    server, here, tmp_path, capsys
):
    base = f"{server.base}/v2/keys/d"
    want = wanted(server) | {"discovery": base}
    with pytest.raises(Refused):
        cloudconfig.apply_write(here, cloudconfig.plan_write(here, **want), "apply", work_dir="w")
    url = tokens.url_in((tmp_path / "w/cloud-config.yml").read_text())
    (step,) = cloudconfig.plan_write(here, **want)
    assert step.command == "register" and url.rpartition("/")[2] not in repr(step)
    server.answers[f"{url.removeprefix(server.base)}/_config/size"] = (201, {"node": {}})
    cloudconfig.apply_write(here, [step], "apply", work_dir="w")
    assert cloudconfig.plan_write(here, **want) == []
    put = f"PUT {url.removeprefix(server.base)}/_config/size value=3&prevExist=false"
    assert server.asked == [put, put]
    assert url.rpartition("/")[2] not in capsys.readouterr().out


@pytest.fixture
def etcd(tmp_path):
    """The base of a discovery at a real etcd with the version 2 API."""
    ports = []
    with socket.socket() as one, socket.socket() as two:
        for s in (one, two):
            s.bind(("127.0.0.1", 0))
            ports.append(s.getsockname()[1])
    client, peer = (f"http://127.0.0.1:{port}" for port in ports)
    command = ["etcd", "--enable-v2", "--data-dir", tmp_path / "etcd", "--name", "one"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"one={peer}"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(200):
            time.sleep(0.05)
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", ports[0])) == 0:
                    break
        yield f"{client}/v2/keys/discovery/mine"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.system
@pytest.mark.skipif(not shutil.which("etcd"), reason="needs Debian's etcd-server")
def test_a_key_of_a_real_etcd_serves_as_discovery(etcd):
    base = service(f"{etcd}/", "")
    one, two = choose_token(base), choose_token(base)
    for url, size in ((one, 3), (two, 5), (one, 3)):
        register(url, size)
    with pytest.raises(CheckFailed, match="wanted 4, found 3"):
        register(one, 4)
    assert not has_begun(one)
    assert (size_of(one), members(one), size_of(two)) == (3, {}, 5)
    form = {"value": "n1=http://10.1.0.7:2380,http://10.1.0.8:2380"}
    requests.put(f"{one}/8e9e05c52164694d", data=form, timeout=5)
    assert members(one) == {"n1": "10.1.0.7"} and members(two) == {}
    with pytest.raises(CheckFailed, match="found unknown"):
        members(f"{base}/{TOKEN}")


@pytest.mark.parametrize("kind", ["drop-before", "drop-after"])
def test_a_token_whose_registration_is_lost_is_registered_again(tmp_path, kind):
    with localcloud.Server(tmp_path / "cloud") as there:
        fault(client(there), "putDiscovery", f"fault:{kind}")
        url = choose_token(there.connection["discovery"])
        register(url, 3)
        assert size_of(url) == 3


def test_a_service_that_chooses_tokens_is_not_asked_twice(tmp_path):
    with localcloud.Server(tmp_path / "cloud") as there:
        fault(client(there), "newDiscovery", "fault:drop-after")
        base = there.connection["discovery"].partition("/v2/")[0]
        with pytest.raises(Unreachable):
            ask_token(base, 3)
        assert len(there.cloud.state.setting("discovery", {"rows": {}})["rows"]) == 1
