"""What an etcd answers at its client port, by the answers of the generations that cannot be run."""

import contextlib
import json

import pytest
from registries import answering

from lib.cluster import etcd

HERE = "127.9.9.11"
OLD = {
    "/v2/machines": (200, f"http://{HERE}:4001, http://127.9.9.12:4001"),
    "/v2/leader": (200, f"http://{HERE}:7001"),
    "/v2/stats/self": (200, '{"name":"a","startTime":"2014-07-19T04:05:06.7Z"}'),
}
TWO = {
    "/health": (200, '{"health": "true"}'),
    "/v2/members": (200, json.dumps({"members": [
        {"id": "8e9e05c52164694d", "name": "a", "peerURLs": [f"http://{HERE}:2380"]},
        {"id": "91bc3c398fb3c146", "name": "b", "peerURLs": ["http://127.9.9.12:2380"]},
    ]})),
}  # fmt: skip


@pytest.fixture
def serve():
    """Return a function that starts an etcd with these answers, at its own port."""
    with contextlib.ExitStack() as running:
        yield lambda port, answers: running.enter_context(answering(answers, HERE, port))


def test_an_etcd_of_2014_is_asked_at_its_own_port(serve):
    serve(etcd.OLD_PORT, OLD)
    answer = etcd.ask(HERE, old=True)
    assert (answer.state, answer.members) == ("healthy", {HERE, "127.9.9.12"})
    assert answer.started == "2014-07-19T04:05:06.7Z"


def test_an_etcd_of_2014_without_a_leader_is_unhealthy(serve):
    serve(etcd.OLD_PORT, OLD | {"/v2/leader": (500, "")})
    assert etcd.ask(HERE, old=True).state == "unhealthy"


def test_a_standby_of_2014_sends_whoever_asks_it_to_the_leader(serve):
    serve(etcd.OLD_PORT, {"/v2/machines": (307, ""), "/v2/leader": (307, "")})
    assert etcd.ask(HERE, old=True) == etcd.Answer("standby")


def test_an_etcd_2_lists_its_members_another_way(serve):
    serve(etcd.PORT, TWO)
    answer = etcd.ask(HERE, old=False)
    assert (answer.state, answer.members) == ("healthy", {HERE, "127.9.9.12"})


def test_an_etcd_without_a_leader_is_unhealthy(serve):
    serve(etcd.PORT, TWO | {"/health": (503, '{"health": "false"}')})
    assert etcd.ask(HERE, old=False).state == "unhealthy"


def test_a_proxy_is_known_although_it_passes_on_the_health_of_others(serve):
    serve(etcd.PORT, TWO | {"/v2/config/local/proxy": (200, '{"endpoints":[]}')})
    assert etcd.ask(HERE, old=False) == etcd.Answer("proxy")


@pytest.mark.parametrize(
    "text", ["<html>hello</html>", "[" * 10**4, "[]", '{"members": [{"peerURLs": 1}]}']
)
def test_something_else_at_the_port_is_no_etcd(serve, text):
    serve(etcd.PORT, dict.fromkeys(("/health", "/v3/cluster/member/list"), (200, text)))
    assert etcd.ask(HERE, old=False) == etcd.Answer(etcd.FOREIGN)


@pytest.mark.parametrize("old", [True, False])
def test_what_knows_no_path_of_etcd_is_none(serve, old):
    serve(etcd.OLD_PORT if old else etcd.PORT, {})
    assert etcd.ask(HERE, old) == etcd.Answer(etcd.FOREIGN)


def test_a_members_url_that_is_none_is_reported_as_it_is(serve):
    rows = json.dumps({"members": [{"peerURLs": ["http://[x:2380"]}]})
    serve(etcd.PORT, TWO | {"/v2/members": (200, rows)})
    assert etcd.ask(HERE, old=False).members == {"http://[x:2380"}


def test_where_nothing_listens_an_etcd_is_silent():
    assert etcd.ask("127.9.9.13", old=False).state == "silent"


def test_which_etcd_it_is_stands_in_the_configuration():
    assert etcd.is_old("#cloud-config\ncoreos:\n  etcd:\n")
    assert not etcd.is_old("ExecStart=/usr/lib/flatcar/etcd-wrapper\n[etcd-member.service]")
