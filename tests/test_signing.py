"""The signature must be the server's, and the variants known to be wrong must not be it."""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from lib.api.signing import encode, sign, string_to_sign
from lib.errors import ProfileError

VECTORS = json.loads((Path(__file__).parent / "fixtures/signature_vectors.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["case"])
def test_every_vector_of_the_server_is_reproduced(vector):
    assert string_to_sign(vector["params"]) == vector["string_to_sign"]
    assert sign(vector["params"], vector["secret"]) == vector["signature"]


def signed_with(encoder, params: dict, secret: str, lower_first: bool = False) -> str:
    def value(text: str) -> str:
        return encoder(text.lower() if lower_first else text)

    text = "&".join(f"{k}={value(params[k])}" for k in sorted(params)).lower()
    mac = hmac.new(secret.encode(), text.encode(), hashlib.sha1)
    return base64.b64encode(mac.digest()).decode()


WRONG = {
    "plain quote leaves / and ~ and encodes *": (lambda v: quote(v), "a/b~c*"),
    "safe='*' is wrong for ~": (lambda v: quote(v, safe="*"), "a~b"),
    "safe='[]*' is wrong for brackets and ~": (lambda v: quote(v, safe="[]*"), "[x]~"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_encodings_known_to_be_wrong_give_another_signature(name):
    encoder, text = WRONG[name]
    params = {"command": "listVolumes", "keyword": text}
    assert signed_with(encoder, params, "s") != sign(params, "s")
    assert signed_with(encode, params, "s") == sign(params, "s")


def test_lowering_before_encoding_is_wrong_for_letters_beyond_ascii():
    params = {"name": "É"}
    assert signed_with(encode, params, "s", lower_first=True) != sign(params, "s")


def test_sorting_by_name_and_value_together_is_wrong():
    params = {"a": "1", "a1": "2", "a.b": "3"}
    assert string_to_sign(params) == "a=1&a.b=3&a1=2"
    assert "&".join(sorted(f"{k}={v}" for k, v in params.items())) != string_to_sign(params)


def test_an_older_signature_among_the_parameters_is_left_out():
    assert string_to_sign({"a": "1", "Signature": "x"}) == "a=1"


def test_the_algorithm_is_a_setting():
    sizes = {a: len(base64.b64decode(sign({"a": "1"}, "s", a))) for a in ("HmacSHA1", "HmacSHA512")}
    assert sizes == {"HmacSHA1": 20, "HmacSHA512": 64}
    with pytest.raises(ProfileError, match="HmacSHA256"):
        sign({"a": "1"}, "s", "MD5")
