import json
from pathlib import Path

import pytest
from harness import client

from lib import cloudconfig, masks
from lib.discovery import TokenUrl
from lib.profiles import Profile


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return the values that stand in the file that the environment names."""
    file = tmp_path / "secrets"
    file.touch()
    monkeypatch.setenv("RUNBOOK_SECRETS", str(file))
    return lambda: [json.loads(line) for line in file.read_text().splitlines()]


def test_a_secret_is_told_once_to_who_writes_the_record(told):
    masks.know("a secret\nwith two lines")
    masks.know("a secret\nwith two lines")
    assert told() == ["a secret\nwith two lines"]


def test_what_is_known_before_there_is_a_record_is_told_to_it_later(told, monkeypatch):
    with monkeypatch.context() as before:
        before.delenv("RUNBOOK_SECRETS")
        masks.know("known-early-1")
    masks.know("known-early-1")
    assert "known-early-1" in masks.values()
    assert told() == ["known-early-1"]


def test_what_is_too_short_is_no_secret(told):
    masks.know("")
    masks.know("12345")
    assert told() == []


def test_both_keys_of_a_profile_are_secrets(told):
    Profile("p", "http://x", "the-api-key", "the-secret-key")
    assert told() == ["the-api-key", "the-secret-key"]


def test_every_signature_is_a_secret(told, server):
    cloud = client(server)
    cloud.call("listZones")
    signed = cloud._signed("listZones", {})["signature"]
    assert told()[-1] == signed
    assert len(told()) >= 2


def test_the_token_of_a_discovery_url_is_a_secret(told):
    TokenUrl("http://127.0.0.1:1/0123456789abcdef0123456789abcdef")
    assert told() == ["0123456789abcdef0123456789abcdef"]


def test_the_token_in_a_cloud_config_is_a_secret_as_soon_as_it_is_read(told, monkeypatch):
    text = "discovery: http://127.0.0.1:1/fedcba9876543210fedcba9876543210\n"
    monkeypatch.setattr(cloudconfig, "find_text", lambda shell, path: text)
    assert cloudconfig.current(None, "work") == text
    assert told() == ["fedcba9876543210fedcba9876543210"]


def test_passwords_and_private_keys_in_answers_are_secrets(told):
    machine = {"virtualmachine": {"name": "m", "password": "pW3x9q", "nic": [{"id": "n"}]}}
    pair = {"keypair": {"privatekey": "-----BEGIN X-----\nMIIabc\n-----END X-----"}}
    for body in (machine, pair, {"list": [{"secretkey": "se-cr-et"}]}, {"zone": [{"id": 1}]}):
        masks.know_told(json.dumps(body), body)
    assert told() == ["pW3x9q", pair["keypair"]["privatekey"], "se-cr-et"]
