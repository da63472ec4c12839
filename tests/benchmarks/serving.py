"""Serving: how many requests a second the local cloud answers on one kept connection.

Beside it Python's own `http.server` answering the same number of bytes without looking at what was
asked: that makes the figure mean something on any machine.
"""

import tempfile
import time
from http.client import HTTPConnection
from statistics import median
from urllib.parse import urlencode, urlsplit

from benchmarks.noticing import volume
from benchmarks.report import Line
from benchmarks.servers import running

from lib.api.signing import sign
from lib.cloud import Cloud
from lib.profiles import Profile


def measure(count: int = 1000, times: int = 3) -> list[Line]:
    """Compare the median rates of listVolumes and queryAsyncJobResult with the bare server's."""
    with tempfile.TemporaryDirectory() as folder, running("cloud", folder, "0") as facts:
        volumes = _line("listVolumes (2 volumes)", signed(facts, "listVolumes"), count, times)
        job = signed(facts, "queryAsyncJobResult", jobid=_job(facts))
        return [volumes, _line("queryAsyncJobResult", job, count, times)]


def _job(facts: dict) -> str:
    profile = Profile("local", facts["endpoint"], facts["apikey"], facts["secretkey"])
    cloud = Cloud(profile)
    return cloud.call("createVolume", **volume(cloud))["jobid"]


def signed(facts: dict, command: str, **params: str) -> str:
    """Return the URL of a request that is good for ever, so that it is signed only once."""
    words = {"command": command, "response": "json", "apikey": facts["apikey"], **params}
    words["signature"] = sign(words, facts["secretkey"])
    return f"{facts['endpoint']}?{urlencode(words)}"


def _line(name: str, url: str, count: int, times: int) -> Line:
    """Measure both servers in turn."""
    with running("bare", str(len(_ask(url)))) as bare:
        pairs = [(rate(url, count), rate(bare["endpoint"], count)) for _ in range(times)]
    ours, other = (median(rates) for rates in zip(*pairs, strict=True))
    return Line(f"{name}, against a bare http.server", "requests/s", ours, other)


def _ask(url: str) -> bytes:
    place = urlsplit(url)
    connection = HTTPConnection(place.netloc)
    body = _answer(connection, url)
    connection.close()
    return body


def rate(url: str, count: int) -> float:
    """Return the requests a second, one after the other on one connection."""
    connection = HTTPConnection(urlsplit(url).netloc)
    _answer(connection, url)  # connects, and loads what is loaded late
    started = time.perf_counter()
    for _ in range(count):
        _answer(connection, url)
    took = time.perf_counter() - started
    connection.close()
    return count / took


def _answer(connection: HTTPConnection, url: str) -> bytes:
    place = urlsplit(url)
    connection.request("GET", f"{place.path}?{place.query}")
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"HTTP {answer.status} from {place.netloc}")
    return body
