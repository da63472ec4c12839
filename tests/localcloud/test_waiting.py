"""A long poll of the registry gets its head at once, and the change when it happens."""

import pytest
import requests

from lib.localcloud.wire.server import Server


@pytest.fixture
def token(server) -> str:
    return requests.get(f"{server.cloud.base_url}/new?size=2", timeout=5).text


def waiting(token: str, more: str = "") -> requests.Response:
    """Return an answer whose head has come; its body comes with the change."""
    return requests.get(f"{token}?wait=true&recursive=true{more}", stream=True, timeout=10)


def test_a_long_poll_returns_an_earlier_change_by_its_index(server, token):
    index = int(requests.get(token, timeout=5).headers["X-Etcd-Index"])
    for name in ("a1", "a2"):
        requests.put(f"{token}/{name}", data={"value": name}, timeout=5)
    first = waiting(token, f"&waitIndex={index + 1}").json()["node"]
    assert first["value"] == "a1"
    after = f"&waitIndex={first['modifiedIndex'] + 1}"
    assert waiting(token, after).json()["node"]["value"] == "a2"


def test_hidden_keys_and_other_tokens_do_not_end_a_long_poll(server, token):
    answer = waiting(token)
    other = requests.get(f"{server.cloud.base_url}/new", timeout=5).text
    requests.put(f"{other}/b1", data={"value": "b1"}, timeout=5)
    requests.put(f"{token}/_state", data={"value": "started"}, timeout=5)
    requests.put(f"{token}/a1", data={"value": "a1"}, timeout=5)
    assert answer.json()["node"]["value"] == "a1"


def test_the_server_ends_while_someone_waits(tmp_path):
    with Server(tmp_path / "cloud", time_scale=0) as server:
        token = requests.get(f"{server.cloud.base_url}/new", timeout=5).text
        answer = waiting(token)
    with pytest.raises(requests.RequestException):
        answer.json()
