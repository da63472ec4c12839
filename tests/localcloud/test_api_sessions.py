"""Logins with a name and a password replace signatures."""

import pytest
import requests

from lib.localcloud.wire.server import Server


@pytest.fixture
def login(api):
    """Log in with what the server's facts say, or other values, and return session and answer."""

    def send(method="POST", **changed):
        facts = api.facts
        given = {k: facts[k] for k in ("username", "password", "domain")} | changed
        session = requests.Session()
        params = {"command": "login", "response": "json"} | given
        sent = {"params" if method == "GET" else "data": params}
        return session, session.request(method, facts["endpoint"], timeout=10, **sent)

    return send


def ask(session, api, command="listZones", **params):
    given = {"command": command, "response": "json"} | params
    return session.get(api.facts["endpoint"], params=given, timeout=10)


def test_a_session_answers_calls_without_signature(api, login):
    session, answer = login()
    facts = answer.json()["loginresponse"]
    assert (facts["username"], facts["account"], facts["timeout"]) == ("runbook", "runbook", 1800)
    assert set(session.cookies.keys()) == {"JSESSIONID", "sessionkey"}
    assert session.cookies["sessionkey"] == facts["sessionkey"]
    zones = ask(session, api, sessionkey=facts["sessionkey"]).json()["listzonesresponse"]
    assert zones["count"] == 1
    jobs = ask(session, api, "listAsyncJobs", sessionkey=facts["sessionkey"])
    assert jobs.status_code == 200


def test_the_domain_has_several_forms_and_any_wrong_login_gets_the_same_refusal(api, login):
    id = api("listDomains")["domain"][0]["id"]
    for right in ({"domain": "/local"}, {"domain": "/local/"}, {"domain": "", "domainid": id}):
        assert login(**right)[1].status_code == 200
    for wrong in ({"password": "no"}, {"username": "no"}, {"domain": ""}):
        session, answer = login(**wrong)
        body = answer.json()["loginresponse"]
        assert (answer.status_code, body["errorcode"]) == (531, 531)
        assert body["errortext"].startswith("Failed to authenticate user ")
        assert "X-Description" not in answer.headers and not session.cookies


def test_only_post_logs_in(login):
    session, answer = login("GET")
    assert answer.status_code == 405
    assert answer.text == "Please use HTTP POST to authenticate using this API"
    assert not session.cookies


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_call_without_the_sessions_key_ends_the_session(api, login, key):
    session, answer = login()
    refused = ask(session, api, sessionkey=key)
    assert refused.status_code == 401
    assert refused.json()["listzonesresponse"]["errortext"] == "unable to verify user credentials"
    right = answer.json()["loginresponse"]["sessionkey"]
    assert ask(session, api, sessionkey=right).status_code == 401


def test_logout_ends_the_session(api, login):
    session, answer = login()
    key, kept = answer.json()["loginresponse"]["sessionkey"], session.cookies.copy()
    ended = ask(session, api, "logout")
    assert ended.json() == {"logoutresponse": {"description": "success"}}
    assert not session.cookies
    session.cookies = kept
    assert ask(session, api, sessionkey=key).status_code == 401


def test_the_password_stays_the_same_and_is_in_no_record(api, login, tmp_path):
    login()
    [call] = [c for c in api.calls() if c["command"] == "login"]
    assert set(call["params"]) == {"username", "domain"}
    with Server(tmp_path / "kept") as first:
        password = first.connection["password"]
    with Server(tmp_path / "kept") as again:
        assert again.connection["password"] == password


def test_the_old_dialect_has_no_sessions(old):
    answer = old.send({"command": "login", "response": "json"})
    assert answer.status == 432
    assert "password" not in old.facts
