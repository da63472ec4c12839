"""Signing a CloudStack API request, exactly as the server checks it.

The rules are those of `ApiServer.verifyRequest`: sort by name, encode values as Java's
`URLEncoder` does with blanks as %20, join, lower-case the whole, HMAC, base64.
"""

import base64
import hmac
from urllib.parse import quote

from lib.errors import ProfileError

DIGESTS = {
    "HmacSHA1": "sha1",
    "HmacSHA256": "sha256",
    "HmacSHA384": "sha384",
    "HmacSHA512": "sha512",
}


def encode(value: str) -> str:
    """Encode one value as `java.net.URLEncoder` does, but with a blank as %20.

    >>> encode("a*b~c d/é")
    'a*b%7Ec%20d%2F%C3%A9'
    """
    return quote(value, safe="*-._").replace("~", "%7E")


def string_to_sign(params: dict[str, str]) -> str:
    """Return what is signed: sorted by name, names as they are, values encoded, all lower-cased.

    >>> string_to_sign({"b": "X Y", "a1": "2", "a": "1"})
    'a=1&a1=2&b=x%20y'
    """
    kept = ((k, params[k]) for k in sorted(params) if k.lower() != "signature")
    return "&".join(f"{k}={encode(v)}" for k, v in kept).lower()


def sign(params: dict[str, str], secret: str, algorithm: str = "HmacSHA1") -> str:
    """Return the base64 signature of `params`.

    Names are sorted as they are given (code units, as Java does), so give lower-case names.
    Raises ProfileError for an algorithm that is not one of `DIGESTS`.
    """
    if algorithm not in DIGESTS:
        raise ProfileError(f"algorithm: wanted one of {', '.join(DIGESTS)}, found {algorithm!r}")
    mac = hmac.new(secret.encode(), string_to_sign(params).encode(), DIGESTS[algorithm])
    return base64.b64encode(mac.digest()).decode()
