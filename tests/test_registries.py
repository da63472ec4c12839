"""The local cloud's discovery service and Debian's answer alike."""

import shutil
import threading

import pytest
import requests
from registries import serving

from lib import discovery
from lib.errors import CheckFailed
from lib.localcloud.wire import Server

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
    with serving(request.param, folder) as url:
        yield url


@pytest.fixture
def token(base) -> discovery.TokenUrl:
    return discovery.ask_token(base, 3)


def put(url: str, **form: str) -> requests.Response:
    return requests.put(url, data=form, timeout=5)


def keys(token: str) -> dict[str, str]:
    nodes = requests.get(token, timeout=5).json()["node"].get("nodes", [])
    return {n["key"].rpartition("/")[2]: n["value"] for n in nodes}


def test_a_new_token_has_its_size_and_nobody(base, token):
    assert token.startswith(f"{base}/") and discovery.members(token) == {}
    asked = requests.get(f"{token}/_config/size", timeout=5)
    assert asked.json()["node"]["value"] == "3"


def test_a_size_that_is_none_is_refused(base):
    assert requests.get(f"{base}/new?size=x", timeout=5).status_code == 400


def test_a_token_that_nobody_asked_for_is_not_known(base):
    with pytest.raises(CheckFailed, match="unknown"):
        discovery.members(discovery.TokenUrl(f"{base}/{'5' * 32}"))


def test_members_are_put_listed_and_deleted(token):
    assert put(f"{token}/a1", value="n1=http://10.1.0.7:2380").status_code == 201
    assert put(f"{token}/a1", value="n1=http://10.1.0.8:2380").status_code == 200
    assert discovery.members(token) == {"n1": "10.1.0.8"}
    assert requests.delete(f"{token}/a1", timeout=5).status_code == 200
    assert discovery.members(token) == {}


def test_a_key_is_created_once(token):
    assert put(f"{token}/a1", value="x", prevExist="false").status_code == 201
    assert put(f"{token}/a1", value="y", prevExist="false").status_code == 412
    assert keys(token) == {"a1": "x"}


def test_hidden_keys_are_not_listed(token):
    put(f"{token}/_state", value="started")
    assert keys(token) == {}
    assert requests.get(f"{token}/_state", timeout=5).json()["node"]["value"] == "started"


def test_a_registration_of_etcd_0_4_has_a_time_to_live(token):
    put(f"{token}/m1", value="http://10.1.0.7:7001", ttl="604800")
    (node,) = requests.get(token, timeout=5).json()["node"]["nodes"]
    assert 604700 < node["ttl"] <= 604800 and node["expiration"].endswith("Z")


def test_who_waits_is_told_of_the_next_member(token):
    index = int(requests.get(token, timeout=5).headers["X-Etcd-Index"])
    asked = f"{token}?wait=true&recursive=true&waitIndex={index + 1}"
    told = []
    waiter = threading.Thread(target=lambda: told.append(requests.get(asked, timeout=10).json()))
    waiter.start()
    put(f"{token}/a1", value="n1=http://10.1.0.7:2380", prevExist="false")
    waiter.join(10)
    assert told[0]["node"]["value"] == "n1=http://10.1.0.7:2380"
