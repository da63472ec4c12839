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


BOTH = frozenset({HERE, "127.9.9.12"})
NO_ETCD = (etcd.FOREIGN, frozenset(), "")
STARTED = "2014-07-19T04:05:06.7Z"
ASKED = {  # whether it is of 2014, its answers, state, members and start
    "of 2014": (True, OLD, ("healthy", BOTH, STARTED)),
    "of 2014, no leader": (
        True, OLD | {"/v2/leader": (500, "")}, ("unhealthy", BOTH, STARTED)
    ),
    "a standby of 2014": (
        True, {"/v2/machines": (307, ""), "/v2/leader": (307, "")}, ("standby", frozenset(), "")
    ),
    "of 2014, no path of etcd": (True, {}, NO_ETCD),
    "etcd 2, whose members are listed another way": (False, TWO, ("healthy", BOTH, "")),
    "no leader": (
        False, TWO | {"/health": (503, '{"health": "false"}')}, ("unhealthy", BOTH, "")
    ),
    "a proxy, which passes on the health of others": (
        False,
        TWO | {"/v2/config/local/proxy": (200, '{"endpoints":[]}')},
        ("proxy", frozenset(), ""),
    ),
    "no path of etcd": (False, {}, NO_ETCD),
    **{
        f"no etcd: {text[:9]}": (
            False, dict.fromkeys(("/health", "/v3/cluster/member/list"), (200, text)), NO_ETCD
        )
        for text in ("<html>hello</html>", "[" * 10**4, "[]", '{"members": [{"peerURLs": 1}]}')
    },
}  # fmt: skip


@pytest.mark.parametrize("old, answers, expected", ASKED.values(), ids=ASKED)
def test_an_etcd_is_known_by_its_answers(serve, old, answers, expected):
    serve(etcd.OLD_PORT if old else etcd.PORT, answers)
    found = etcd.ask(HERE, old)
    assert (found.state, found.members, found.started) == expected


def test_a_members_url_that_is_none_is_reported_as_it_is(serve):
    rows = json.dumps({"members": [{"peerURLs": ["http://[x:2380"]}]})
    serve(etcd.PORT, TWO | {"/v2/members": (200, rows)})
    assert etcd.ask(HERE, old=False).members == {"http://[x:2380"}


def test_where_nothing_listens_an_etcd_is_silent():
    assert etcd.ask("127.9.9.13", old=False).state == "silent"


def test_which_etcd_it_is_stands_in_the_configuration():
    assert etcd.is_old("#cloud-config\ncoreos:\n  etcd:\n")
    assert not etcd.is_old("ExecStart=/usr/lib/flatcar/etcd-wrapper\n[etcd-member.service]")
