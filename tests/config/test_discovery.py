"""The discovery service, asked over HTTP: tokens, members, and what a machine needs of it."""

import shutil
import socket
import threading

import pytest
import requests
from harness import changes, client, fault, home, play
from registries import answering, saying, serving

from lib.config import discovery
from lib.config.discovery import TokenUrl, ask_token, has_begun, members, service, size_of
from lib.errors import CheckFailed, ParamsError, Refused, RunbookError, Unreachable
from lib.localcloud.wire.server import Server
from lib.machines import address_of

TOKEN = "217d781a5ad5c7c4660bfbbc239bd0c0"
FIFTY, SIXTY = "50-deploy-cluster", "60-verify-cluster"


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
    assert service("http://10.1.0.5:8087/x/", "x") == "http://10.1.0.5:8087/x"
    assert service("static", "") == "static"


@pytest.mark.parametrize(
    "wrong, message",
    [
        *((w, "wanted .* URL") for w in ("local", "", "discovery.etcd.io", "ftp://x", "publik")),
        ("http://", "URL"),
        ("http://x/?a=b", r"without \?"),
        ("http://10.1.0.5:2379/v2/keys/discovery", "Keys of an etcd are none: .*etcd-discovery"),
    ],
)
def test_another_value_is_refused(wrong, message):
    with pytest.raises(ParamsError, match=f"discovery: .*{message}"):
        service(wrong, "")


def test_a_new_token_is_asked_for_with_its_size(server):
    server.answers["/new"] = (200, f"{server.base}/{TOKEN}\n")
    assert ask_token(server.base, 3) == f"{server.base}/{TOKEN}"
    assert server.asked == ["GET /new?size=3"]
    assert TOKEN not in repr(ask_token(server.base, 3))


@pytest.mark.parametrize(
    "answer, error, message",
    [
        *(((200, body), CheckFailed, "Is there a discovery service")
          for body in ("<html>hello</html>", "", "https://x/short", f"x {TOKEN}")),
        ((404, "no"), Refused, r"refused \(404\)"),
        ((500, "<html>"), Unreachable, "HTTP 500"),
        ((0, ""), Unreachable, "the connection failed"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_token_is_named(server, answer, error, message):
    server.answers["/new"] = answer
    with pytest.raises(error, match=message) as failed:
        ask_token(server.base, 3)
    assert TOKEN not in str(failed.value)


def test_a_service_that_hangs_is_not_waited_for_ever(monkeypatch):
    monkeypatch.setattr(discovery, "TIMEOUT", (0.2, 0.2))
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(Unreachable, match="no answer in time"),
    ):
        ask_token(f"http://127.0.0.1:{silent.getsockname()[1]}", 3)


@pytest.mark.parametrize("again", [b" ", b" " * 300_000])
def test_an_answer_without_end_is_bounded(monkeypatch, again):
    monkeypatch.setattr(discovery, "LONGEST", 0.3 if len(again) == 1 else 30)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"
    every = 0.05 if len(again) == 1 else 0.001
    with (
        saying(head, again, every) as base,
        pytest.raises(Unreachable, match="larger than 1 MB, or takes longer"),
    ):
        ask_token(base, 3)


NO_NODES = [None, [], {"nodes": {"a": 1}}, {"nodes": [1]}, {"nodes": [{"key": 1}]}, {"value": []}]


@pytest.mark.parametrize("node", [*NO_NODES, "[" * 10**4])
def test_keys_that_etcd_does_not_have_are_named(server, node):
    body = f'{{"node": {node}}}' if isinstance(node, str) else {"node": node}
    server.answers[f"/{TOKEN}"] = 200, body
    with pytest.raises(CheckFailed, match="does not answer with etcd's JSON"):
        members(f"{server.base}/{TOKEN}")


def test_control_characters_of_a_registry_reach_nobody_as_they_are(server):
    server.answers[f"/{TOKEN}"] = listing(("a", "n\x1b[2J=http://10.1.0.7:2380"))
    server.answers[f"/{TOKEN}/_config/size"] = 200, {"node": {"value": "²"}}
    assert members(f"{server.base}/{TOKEN}") == {r"n\x1b[2J": "10.1.0.7"}
    assert size_of(f"{server.base}/{TOKEN}") is None


@pytest.mark.parametrize("kind, tokens", [("drop-before", 1), ("drop-after", 2)])
def test_a_token_whose_answer_is_lost_is_asked_for_again(tmp_path, kind, tokens):
    with Server(tmp_path / "cloud") as there:
        fault(client(there), "newDiscovery", f"fault:{kind}")
        assert size_of(ask_token(there.connection["discovery"], 3)) == 3
        assert len(there.cloud.state.setting("discovery", {"rows": {}})["rows"]) == tokens


def test_members_have_their_name_in_the_key_of_etcd_0_4_and_in_the_value_later(server):
    server.answers[f"/{TOKEN}"] = listing(
        ("179b2d98", "http://10.1.0.73:7001"),
        ("8e9e05c52164694d", "n1=http://10.1.0.7:2380,n1=http://10.2.0.7:2380"),
        ("91bc3c398fb3c146", "n2=https://[fd00::8]:2380"),
        ("fd422379fda50e48", "garbage"),
    )
    found = {"179b2d98": "10.1.0.73", "n1": "10.1.0.7", "n2": "fd00::8"}
    assert members(f"{server.base}/{TOKEN}") == found | {"fd422379fda50e48": "garbage"}


@pytest.mark.parametrize(
    "answer", [(200, "<html>"), (200, []), (200, {"node": 1}), (403, ""), (502, "<html>"), (0, "")]
)
def test_no_error_carries_the_token(server, answer):
    server.answers[f"/{TOKEN}"] = answer
    with pytest.raises(RunbookError) as failed:
        members(f"{server.base}/{TOKEN}")
    error = failed.value
    assert TOKEN not in f"{error}{error!r}{vars(error)}" and error.__suppress_context__ | (
        error.__context__ is None
    )


@pytest.fixture
def cloud(built, tmp_path):
    """A client of a local cloud on which a template with a token was made."""
    with built().running(tmp_path / "cloud") as one:
        yield one


def url(cloud) -> str:
    return discovery.url_in((home(cloud) / "cloud-config.yml").read_text())


def forget(cloud) -> None:
    """Have the service lose all its tokens."""
    cloud.server.cloud.state.setting("discovery", {"rows": {}})["rows"].clear()


def put(key: str, value: str) -> None:
    assert requests.put(key, data={"value": value}, timeout=5).status_code == 201


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("m1", "http://10.9.9.9:7001", r"with the token: 10\.9\.9\.9.*Set work_dir\..*90-remove"),
        ("_state", "started", "has begun with the token already, and its members are gone"),
        ("", "", "does not know the token .*90-remove-cluster"),
    ],
)
def test_a_token_that_was_used_or_forgotten_stops_the_first_machine(cloud, key, value, message):
    if key:
        put(f"{url(cloud)}/{key}", value)
    else:
        forget(cloud)
    with pytest.raises(CheckFailed, match=message) as failed:
        play(cloud, FIFTY)
    assert url(cloud).rpartition("/")[2] not in str(failed.value)
    assert "deployVirtualMachine" not in changes(cloud)


def gone(cloud) -> None:
    cloud.call("configureSimulator", name="getDiscovery", value="fault:drop-before", count=99)


@pytest.mark.parametrize(
    "lost, message", [(forget, "no longer knows"), (gone, "the connection fail")]
)
def test_a_cluster_that_is_complete_needs_its_token_no_more(cloud, lost, message, monkeypatch):
    monkeypatch.setattr(discovery, "PAUSE", 0)
    play(cloud, FIFTY)
    lost(cloud)
    before = changes(cloud)
    assert play(cloud, FIFTY)["plan"] == []
    rows = play(cloud, SIXTY)["found"]
    odd = [r for r in rows if r.what == "registered"]
    assert all(r.ok == "-" and message in r.next and "90" not in r.next for r in odd) and odd
    assert {r.ok for r in rows} == {"✓", "-"} and changes(cloud) == before


def test_no_advice_removes_machines_that_run(cloud):
    play(cloud, FIFTY)
    last = cloud.list("listVirtualMachines", name="coreos-cluster-3")[0]["id"]
    cloud.call("destroyVirtualMachine", id=last)
    put(f"{url(cloud)}/m9", "http://10.9.9.9:7001")
    for text in ("others have registered", "does not know the token"):
        with pytest.raises(CheckFailed, match=text) as failed:
            play(cloud, FIFTY)
        assert "etcdctl member add" in str(failed.value)
        assert "90-remove-cluster" not in str(failed.value)
        forget(cloud)


def test_a_machine_that_is_gone_is_deployed_again_beside_its_entry(built, tmp_path, capsys):
    with built().running(tmp_path / "cloud", may_expunge=1) as cloud:
        play(cloud, FIFTY)
        last = cloud.list("listVirtualMachines", name="coreos-cluster-3")[0]
        cloud.call("destroyVirtualMachine", id=last["id"], expunge=True)
        play(cloud, FIFTY)
        assert f"taken for what is missing: {address_of(last)}" in capsys.readouterr().out
        again = cloud.list("listVirtualMachines", name="coreos-cluster-3")[0]
        assert again["state"] == "Running" and again["id"] != last["id"]


DEBIAN = pytest.param(
    "etcd-discovery",
    marks=[
        pytest.mark.system,
        pytest.mark.skipif(not shutil.which("discovery.etcd.io"), reason="needs etcd-discovery"),
    ],
)


@pytest.fixture(scope="module", params=["local", DEBIAN])
def base(request, tmp_path_factory):
    """The base URL of a service that gives tokens."""
    folder = tmp_path_factory.mktemp("service")
    if request.param == "local":
        with Server(folder, time_scale=0) as server:
            yield server.cloud.base_url
        return
    with serving(folder) as there:
        yield there


def put_as(url: str, **form: str) -> int:
    return requests.put(url, data=form, timeout=5).status_code


def keys(token: str) -> dict[str, str]:
    nodes = requests.get(token, timeout=5).json()["node"].get("nodes", [])
    return {n["key"].rpartition("/")[2]: n["value"] for n in nodes}


def test_both_services_know_tokens_and_members_alike(base):
    token = ask_token(base, 3)
    assert token.startswith(f"{base}/") and members(token) == {}
    assert size_of(token) == 3 and not has_begun(token)
    assert requests.get(f"{base}/new?size=x", timeout=5).status_code == 400
    unknown = TokenUrl(f"{base}/{'5' * 32}")
    assert (members(unknown), size_of(unknown)) == (None, None)
    assert put_as(f"{token}/a1", value="n1=http://10.1.0.7:2380") == 201
    assert put_as(f"{token}/a1", value="n1=http://10.1.0.8:2380") == 200
    assert members(token) == {"n1": "10.1.0.8"}


def test_both_services_create_once_hide_and_forget_alike(base):
    token = ask_token(base, 3)
    assert put_as(f"{token}/a1", value="x", prevExist="false") == 201
    assert put_as(f"{token}/a1", value="y", prevExist="false") == 412
    put_as(f"{token}/_state", value="started")
    assert keys(token) == {"a1": "x"} and has_begun(token)
    put_as(f"{token}/m1", value="http://10.1.0.7:7001", ttl="604800")
    nodes = requests.get(token, timeout=5).json()["node"]["nodes"]
    (node,) = [n for n in nodes if "ttl" in n]
    assert 604700 < node["ttl"] <= 604800 and node["expiration"].endswith("Z")


def test_both_services_answer_a_long_poll_with_the_next_member(base):
    token = ask_token(base, 3)
    index = int(requests.get(token, timeout=5).headers["X-Etcd-Index"])
    asked = f"{token}?wait=true&recursive=true&waitIndex={index + 1}"
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(requests.get(asked, timeout=10).json()))
    waiter.start()
    put_as(f"{token}/a1", value="n1=http://10.1.0.7:2380", prevExist="false")
    waiter.join(10)
    assert answers[0]["node"]["value"] == "n1=http://10.1.0.7:2380"


@pytest.mark.parametrize("serve", [answering, saying], ids=["answering", "saying"])
def test_a_service_of_a_test_ends_with_its_block_also_where_that_raises(serve):
    given = {} if serve is answering else b"HTTP/1.1 200 OK\r\n\r\n"
    with pytest.raises(KeyError), serve(given) as served:
        raise KeyError
    with pytest.raises(requests.ConnectionError):
        requests.get(getattr(served, "base", served), timeout=2)
