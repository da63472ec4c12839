"""Authentication, and the form of refusals."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lib.localcloud.wire.auth import moment, signature, string_to_sign

VECTORS = json.loads((Path(__file__).parents[1] / "fixtures/signature_vectors.json").read_text())
UNVERIFIED = "unable to verify user credentials and/or request signature"


def unverified(key: str) -> dict:
    return {key: {"uuidList": [], "errorcode": 401, "errortext": UNVERIFIED}}


def signed(api, command="listZones", secret=None, **params):
    given = {"command": command, "response": "json", "apikey": api.facts["apikey"], **params}
    return given | {"signature": signature(given, secret or api.facts["secretkey"])}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["case"])
def test_signatures_are_those_of_the_real_server(vector):
    assert string_to_sign(vector["params"]) == vector["string_to_sign"]
    assert signature(vector["params"], vector["secret"]) == vector["signature"]


WRONG = {"secret": {"signature": "bm90IHRoZSBzaWduYXR1cmU="}, "key": {"apikey": "nobody"}}
WRONG |= {"no signature": {"signature": ""}, "changed": {"name": "added after signing"}}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_wrong_credentials_all_get_the_same_answer(api, change):
    answer = api.send(signed(api) | change)
    assert answer.status == 401
    assert json.loads(answer.text) == unverified("listzonesresponse")
    assert answer.description is None


def test_a_request_with_signature_version_3_is_good_until_it_expires(api, old):
    soon, past = (datetime.now(UTC) + timedelta(minutes=m) for m in (5, -1))
    for form in ("%Y-%m-%dT%H:%M:%S+0000", "%Y-%m-%dT%H:%M:%SZ"):
        for at, status in ((soon, 200), (past, 401)):
            given = signed(api, signatureversion="3", expires=at.strftime(form))
            assert api.send(given).status == status
    for expires in ({"expires": "tomorrow"}, {}):
        assert api.send(signed(api, signatureversion="3", **expires)).status == 401
    assert api.send(signed(api, expires="2001-01-01T00:00:00+0000")).status == 200
    late = signed(old, signatureversion="3", expires="2001-01-01T00:00:00+0000")
    assert old.send(late).status == 200
    assert moment("2030-01-01T00:00:00") is None
    assert moment("2030-01-01T00:00:00.250+0000") == moment("2030-01-01T01:00:00.250+0100")


def test_names_of_credentials_have_any_case_and_values_any_characters(api):
    given = {"command": "listZones", "response": "JSON", "apiKey": api.facts["apikey"]}
    sent = given | {"Signature": signature(given, api.facts["secretkey"])}
    assert api.send(sent, "GET").status == 200
    name = "Été 日本 *~+/=&\r\n"
    assert api.volume(name, 1)["name"] == name
    answer = api.raw("listCapacity")
    assert (answer.status, answer.description) == answer.error


def test_unknown_commands_are_refused_before_the_signature_check(api, old):
    assert json.loads(api.send({"command": "listzones", "response": "json"}).text) == unverified(
        "errorresponse"
    )
    assert json.loads(api.send({"response": "json"}).text) == unverified("errorresponse")
    answer = old.send({"command": "listApis", "response": "json"})
    assert answer.status == 432
    assert answer.text == (
        '{ "errorresponse" : {"errorcode" : 432, '
        '"errortext" : "The given command does not exist"}  }'
    )


def test_too_many_calls_are_put_off(cloud_of, clock):
    api = cloud_of(clock=clock)
    api.fault("throttle", "max:3;interval:1")
    clock.now += 1
    for _ in range(3):
        api("listZones")
    code, text = api.refused("listZones")
    assert code == 429
    assert text.endswith("account api limit, please retry after [1000] ms.")
    clock.now += 1
    assert api("getApiLimit")["apilimit"]["apiAllowed"] == 2
