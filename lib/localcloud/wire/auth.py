"""Authentication: checks signatures as CloudStack does."""

import base64
import hashlib
import hmac
from datetime import datetime
from urllib.parse import quote

from ..state.dialects import Dialect
from ..state.refusals import UNVERIFIED, ApiError

EXPIRES_FORMS = ("%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z")


def encode(value: str) -> str:
    """Return a value as Java's URLEncoder writes it, with %20 for blanks."""
    return quote(value, safe="*-._").replace("~", "%7E")


def string_to_sign(params: dict[str, str]) -> str:
    """Return the text whose HMAC is the signature."""
    named = ((k, params[k]) for k in sorted(params) if k.lower() != "signature")
    return "&".join(f"{k}={encode(v)}" for k, v in named).lower()


def signature(params: dict[str, str], secret: str) -> str:
    """Return the signature of a request's parameters."""
    mac = hmac.new(secret.encode(), string_to_sign(params).encode(), hashlib.sha1)
    return base64.b64encode(mac.digest()).decode()


def unverified(command: str | None) -> ApiError:
    """Return the answer to any fault of the credentials; it does not name the fault."""
    return ApiError(401, UNVERIFIED, None, key=f"{command.lower()}response" if command else "null")


def credentials(params: dict[str, str]) -> tuple[str, str]:
    """Return API key and signature, refusing a request without them."""
    lower = {k.lower(): v for k, v in params.items()}
    if not (lower.get("apikey") and lower.get("signature")):
        raise unverified(params.get("command"))
    return lower["apikey"], lower["signature"]


def check_expiry(dialect: Dialect, params: dict[str, str], now: float) -> None:
    """Refuse an expired request; only signature version 3 has an expiry."""
    lower = {k.lower(): v for k, v in params.items()}
    if not dialect.expires_checked or lower.get("signatureversion") != "3":
        return
    until = moment(lower.get("expires", ""))
    if until is None or until < now:
        raise unverified(params.get("command"))


def moment(text: str) -> float | None:
    """Return the time of an `expires`, None if it is malformed."""
    for form in EXPIRES_FORMS:
        try:
            return datetime.strptime(text, form).timestamp()
        except ValueError:
            continue
    return None


def check_signature(params: dict[str, str], given: str, secret: str) -> None:
    """Refuse a request with a signature that differs from the server's own."""
    if not hmac.compare_digest(signature(params, secret).encode(), given.encode()):
        raise unverified(params.get("command"))
