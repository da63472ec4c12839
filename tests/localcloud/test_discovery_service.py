"""The discovery service answers as discovery.etcd.io does."""

import json
import re

import pytest

from lib.localcloud.guests import discovery

BASE = "http://127.0.0.1:1234"


class Service:
    """The service with the tables it is given."""

    def __init__(self):
        self.rows = {}

    def ask(self, method: str, path: str, **form: str) -> tuple[int, dict]:
        status, kind, body = discovery.handle(self.rows, method, path, {}, form, BASE)
        assert kind == "application/json"
        return status, json.loads(body)

    def new(self, size: int = 3) -> str:
        url = discovery.handle(self.rows, "GET", "/new", {"size": str(size)}, {}, BASE)[2]
        return url.removeprefix(BASE)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def token(service) -> str:
    return service.new()


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("query, size", [({"size": "5"}, "5"), ({}, "3")])
def test_new_returns_a_url_with_a_random_token_of_the_size(service, method, query, size):
    status, kind, url = discovery.handle(service.rows, method, "/new", query, {}, BASE)
    assert (status, kind) == (200, "text/plain; charset=utf-8")
    assert re.fullmatch(rf"{BASE}/[0-9a-f]{{32}}", url)
    status, answer = service.ask("GET", f"{url.removeprefix(BASE)}/_config/size")
    assert (status, answer["node"]["value"]) == (200, size)


@pytest.mark.parametrize("size", ["x", "", "0", "-1", "1.5"])
def test_a_size_that_is_no_number_of_machines_is_refused(service, size):
    reply = discovery.handle(service.rows, "GET", "/new", {"size": size}, {}, BASE)
    assert reply[0] == 400
    assert service.rows == {}


def test_a_new_token_lists_nothing(service, token):
    status, answer = service.ask("GET", token)
    assert status == 200
    assert (answer["action"], answer["node"]["dir"]) == ("get", True)
    assert answer["node"]["key"] == f"/_etcd/registry{token}"
    assert "nodes" not in answer["node"]
    assert answer["node"]["createdIndex"] == answer["node"]["modifiedIndex"] == 1


def test_registering_again_replaces_the_entry(service, token):
    service.ask("PUT", f"{token}/abc", value="a")
    status, answer = service.ask("PUT", f"{token}/abc", value="b")
    assert (status, answer["prevNode"]["value"]) == (200, "a")
    assert answer["node"]["createdIndex"] > answer["prevNode"]["createdIndex"]
    status, answer = service.ask("PUT", f"{token}/abc", value="c", prevExist="true")
    assert (status, answer["action"]) == (200, "update")
    assert answer["node"]["createdIndex"] == answer["prevNode"]["createdIndex"]
    assert len(service.ask("GET", token)[1]["node"]["nodes"]) == 1


def test_a_missing_key_is_answered_like_etcd(service, token):
    for path in (f"{token}/abc", "/" + "0" * 32):
        status, answer = service.ask("GET", path)
        assert (status, answer["errorCode"], answer["message"]) == (404, 100, "Key not found")
        assert answer["cause"] == f"/_etcd/registry{path}"
    assert service.ask("PUT", f"{token}/abc", value="x", prevExist="true")[0] == 404


def test_a_token_itself_is_no_file(service, token):
    assert service.ask("PUT", token)[1]["errorCode"] == 102
    assert service.ask("GET", token)[0] == 200


def test_an_entry_vanishes_when_its_time_is_over(service, token):
    service.ask("PUT", f"{token}/abc", value="a", ttl="0")
    assert "nodes" not in service.ask("GET", token)[1]["node"]
    assert service.ask("PUT", f"{token}/abc", value="a", ttl="x")[1]["errorCode"] == 202


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/health", 200, "OK"),
        ("GET", "/nonsense", 404, "404 page not found\n"),
        ("GET", "/" + "g" * 32, 404, "404 page not found\n"),
        ("DELETE", "/new", 405, "Method Not Allowed\n"),
        ("POST", "/" + "0" * 32, 405, "Method Not Allowed\n"),
    ],
)
def test_other_paths_and_methods_get_plain_answers(service, method, path, status, body):
    assert discovery.handle(service.rows, method, path, {}, {}, BASE)[::2] == (status, body)
