"""The signature is the one that the server computes."""

import base64
import json
from pathlib import Path

import pytest

from lib.api.signing import sign, string_to_sign
from lib.errors import ProfileError

VECTORS = json.loads((Path(__file__).parent / "fixtures/signature_vectors.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["case"])
def test_every_vector_of_the_server_is_reproduced(vector):
    assert string_to_sign(vector["params"]) == vector["string_to_sign"]
    assert sign(vector["params"], vector["secret"]) == vector["signature"]


def test_an_older_signature_among_the_parameters_is_left_out():
    assert string_to_sign({"a": "1", "Signature": "x"}) == "a=1"


def test_the_algorithm_is_a_setting():
    sizes = {a: len(base64.b64decode(sign({"a": "1"}, "s", a))) for a in ("HmacSHA1", "HmacSHA512")}
    assert sizes == {"HmacSHA1": 20, "HmacSHA512": 64}
    with pytest.raises(ProfileError, match="HmacSHA256"):
        sign({"a": "1"}, "s", "MD5")
