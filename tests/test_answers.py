"""Clouds that misbehave: every answer is bounded and validated in one place."""

import json

import pytest
from registries import answering, saying

from lib.api import answers
from lib.cloud import Cloud
from lib.errors import CloudError, JobFailed, Refused, RunbookError, TooManyRows, Unreachable
from lib.jobs import Job, look
from lib.profiles import Profile

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def cloud(base: str, tmp_path, **bounds) -> Cloud:
    profile = Profile("x", f"{base}/", "k" * 8, "s" * 8, **bounds)
    return Cloud(profile, sleep=lambda s: None, folder=tmp_path)


DRIBBLES = {
    "status line": (b"", b"H"),
    "header fields": (HEAD, b"X"),
    "body": (HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize("where", DRIBBLES)
def test_a_slow_answer_ends_at_the_deadline(tmp_path, where):
    with saying(*DRIBBLES[where]) as base, pytest.raises(Unreachable, match=r"`deadline`") as late:
        cloud(base, tmp_path, deadline=0.3).ask("listZones")
    assert "profile x sets the bound" in str(late.value) and not late.value.may_have_changed


def test_a_change_with_a_slow_answer_stays_open_in_the_journal(tmp_path):
    with saying(*DRIBBLES["body"]) as base, pytest.raises(Unreachable) as late:
        cloud(base, tmp_path, deadline=0.3).ask("createVolume")
    assert late.value.may_have_changed


@pytest.mark.parametrize("head", ["Content-Length: 9000000", "Transfer-Encoding: chunked"])
def test_an_answer_has_a_maximum_size(tmp_path, head):
    piece = b" " * 300_000
    chunk = b"%x\r\n%s\r\n" % (len(piece), piece) if "chunked" in head else piece
    first = HEAD + f"{head}\r\n\r\n".encode()
    with saying(first, chunk, 0.001) as base, pytest.raises(Unreachable, match="`max_answer`"):
        cloud(base, tmp_path, max_answer=1).ask("listZones")


def test_a_listing_has_a_maximum_number_of_rows(tmp_path):
    class Endless(Cloud):
        def ask(self, command, **params):
            page = params["page"]
            return {"count": 10**9, "zone": [{"id": f"{page}-{n}"} for n in range(500)]}

    endless = Endless(Profile("x", "http://x/", "k", "s", max_rows=2000), folder=tmp_path)
    with pytest.raises(TooManyRows, match=r"more than 2000 rows came, which is `max_rows`"):
        endless.list("listZones")


@pytest.mark.parametrize("ms", ["99999999999", "9" * 500])
def test_a_pause_has_a_maximum(tmp_path, ms):
    refusal = {"errorresponse": {"errorcode": 429, "errortext": f"retry after [{ms}] ms"}}
    pauses = []
    with answering({"/": (429, refusal)}) as server:
        throttled = cloud(server.base, tmp_path)
        throttled.sleep = pauses.append
        with pytest.raises(Refused, match=r"`max_pause` of profile x allows 60 s"):
            throttled.ask("listZones")
    assert pauses == []


DEEP = '{"a": ' * 10_000 + "1" + "}" * 10_000
INVALID = {
    "rows that are texts": {"r": {"count": 1, "zone": ["a"]}},
    "rows that are numbers": {"r": {"zone": [1, 2]}},
    "rows within rows": {"r": {"zone": [[{"id": "1"}]]}},
    "a row that is nothing": {"r": {"zone": [None]}},
    "count as a text": {"r": {"count": "1", "zone": [{"id": "1"}]}},
    "count as a truth value": {"r": {"count": True, "zone": []}},
    "count as a fraction": {"r": {"count": 1.5, "zone": []}},
    "size as a text": {"r": {"count": 1, "volume": [{"id": "1", "size": "1"}]}},
    "an id that is an object": {"r": {"count": 1, "zone": [{"id": {"a": 1}}]}},
    "a name that is a list": {"r": {"count": 1, "zone": [{"id": "1", "name": ["a"]}]}},
    "tags that are texts": {"r": {"zone": [{"id": "1", "tags": ["a"]}]}},
    "cards that are an object": {"r": {"zone": [{"id": "1", "nic": {"ipaddress": "10.1.1.1"}}]}},
    "an id with a blank": {"r": {"zone": [{"id": "1 2"}]}},
    "an id that is a path": {"r": {"zone": [{"id": "../x"}]}},
    "an id that is an option": {"r": {"zone": [{"id": "-oProxyCommand=x"}]}},
    "a job's id with a line end": {"r": {"jobid": "1\n"}},
    "an address for a shell": {"r": {"vm": [{"id": "1", "nic": [{"ipaddress": "x'$(id)'"}]}]}},
    "an address that is a name": {"r": {"vm": [{"id": "1", "nic": [{"ipaddress": "host"}]}]}},
    "a network that is none": {"r": {"network": [{"id": "1", "cidr": "10.0.0.0/99"}]}},
    "nothing inside": {"r": None},
    "a text inside": {"r": "zone"},
    "an empty object": {},
    "a list": [1],
    "half an answer": '{"r": {"zone": [',
    "10,000 deep": DEEP,
    "deep within the limit of the parser": '{"a": ' * 300 + "1" + "}" * 300,
    "a number without end": '{"r": {"count": ' + "9" * 5000 + "}}",
    "bytes that are no text": '{"r": \ud800',
}


@pytest.mark.parametrize("kind", INVALID)
def test_an_answer_that_cloudstack_never_sends_is_invalid(kind):
    body = INVALID[kind]
    assert answers.oddity(answers.parsed(body if isinstance(body, str) else json.dumps(body)))


@pytest.mark.parametrize("command", ["listZones", "createVolume"])
def test_an_invalid_answer_leaves_a_change_open(tmp_path, command):
    body = HEAD + b'Connection: close\r\n\r\n{"r": \xff'
    with saying(body) as base, pytest.raises(Unreachable, match="not a CloudStack answer") as no:
        cloud(base, tmp_path).ask(command)
    assert no.value.may_have_changed == (command == "createVolume")


CODES = {"a text": "INTERNAL", "nothing": None, "a list": [1], "without end": "9" * 5000, "²": "²"}


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_an_error_code_of_any_kind_is_read(tmp_path, code):
    refusal = {"errorresponse": {"errorcode": code, "errortext": {"a": "\x1b[2Jx\x07"}}}
    with answering({"/": (531, refusal)}) as server, pytest.raises(Refused) as no:
        cloud(server.base, tmp_path).ask("listZones")
    assert no.value.code == 531 and "\x1b" not in str(no.value)


def test_no_error_holds_escape_sequences():
    refused = Refused("listZones", 431, "no\x1b[2J zone\x07\x9b")
    assert str(refused) == "listZones was refused (431): no zone" and refused.text == "no zone"
    assert str(RunbookError("\x1b]0;title\x07a\tb\nc")) == "a b\nc"


@pytest.mark.parametrize("result", ["it broke", {"errorcode": "x", "errortext": ["it broke"]}])
def test_a_job_ends_whatever_its_result_is(tmp_path, result):
    seen = {"queryasyncjobresultresponse": {"jobstatus": 2, "jobresult": result}}
    with answering({"/": (200, seen)}) as server, pytest.raises(JobFailed, match="it broke"):
        look(cloud(server.base, tmp_path), Job("1", "createVolume", "v", 0))


def test_pauses_between_tries_are_no_longer_than_the_profile_allows(tmp_path):
    nobody = cloud("http://127.0.0.1:9", tmp_path, max_pause=0.1)
    pauses = []
    nobody.sleep = pauses.append
    with pytest.raises(Unreachable, match="no connection could be made"):
        nobody.list("listZones")
    assert pauses and set(pauses) == {0.1}


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (r"a\u001b[2Jb", r"a\x1b[2Jb"),
        ("a\x1b[2J\x07", r"a\x1b[2J\x07"),
        ("a\u202eb\x9b", r"a\u202eb\x9b"),
        (r"over\rwritten", r"over\rwritten"),
        (r"two\nlines\tand \u65e5\u3000\u672c", "two\nlines\tand 日\u3000本"),
    ],
)
def test_control_characters_in_an_answer_are_escaped(sent, shown):
    rows = answers.parsed(f'{{"r": {{"vm": [{{"name": "{sent}"}}]}}}}')["r"]["vm"]
    assert rows == [{"name": shown}]


@pytest.mark.parametrize("name", ["a", r"a\u001b"])
def test_the_error_about_a_missing_field_names_it(tmp_path, name):
    body = f'{{"r": {{"count": 1, "volume": [{{"name": "{name}", "id": "1"}}]}}}}'
    with answering({"/": (200, body)}) as server:
        (row,) = cloud(server.base, tmp_path).list("listVolumes")
    assert row["id"] == "1" and row.get("state") is None
    with pytest.raises(CloudError, match="listVolumes: an answer has no `state`, which"):
        row["state"]
