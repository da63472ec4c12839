"""A remote control: one signed call to a running server."""

from urllib.parse import urlencode
from urllib.request import urlopen

from .auth import signature


def configure(facts: dict, name: str, value: str) -> None:
    """Send `configureSimulator` to the server whose facts are given."""
    params = {"command": "configureSimulator", "response": "json", "name": name, "value": value}
    params |= {"apikey": facts["apikey"]}
    params |= {"signature": signature(params, facts["secretkey"])}
    with urlopen(facts["endpoint"], urlencode(params).encode(), timeout=10) as answer:
        answer.read()
