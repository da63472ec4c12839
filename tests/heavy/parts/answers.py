"""A hostile server between a stage and the cloud: errors of ours, and no change lost or doubled."""

import contextlib
import http.client
import json
import random
import shutil
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from harness import STAGES, Built, client, inventory, play, running, settled
from heavy.judging import NASTY, Fault, demand_clean, mutated, printed

from lib.errors import RunbookError
from lib.record.journal import Journal

PLAYED = ("10", "11", "41", "42", "50")  # stages
# How much is borne of the hostile server; a slow machine needs more to answer honestly.
BOUNDS = {"deadline": 0.5, "timeout": 0.5, "max_answer": 0.5, "max_rows": 500, "max_pause": 1}
# What a program that is not CloudStack, or a bad line, does to an answer: nothing of it can be
# taken for an answer of the cloud.
LINE = [
    "closed",
    "garbage",
    "no end",
    "slow",
    "huge",
    "endless head",
    "bad length",
    "page",
    "bytes",
]
VALUES = [None, True, -1, 10**30, 1.5, "", [], {}, [None], [[]], {"a": {}}, "9" * 400, *NASTY]


@contextlib.contextmanager
def part(folder: Path) -> Iterator["Answers"]:
    """Give the part of the fuzz, with a cloud at rest before each stage."""
    yield Answers(folder)


class Answers:
    """Plays one stage through a proxy that spoils some answers.

    Where none of these could be taken for true, it is played again without spoiling, and what there
    is then is compared.
    """

    def __init__(self, folder: Path):
        self.work = folder / "work"
        self.built = _before_each(folder)
        self.after: dict[str, dict] = {}
        for stage in self.built:
            self.attempt({"stage": stage, "at": 0, "count": 0, "how": "page", "by": 0})

    def case(self, chance: random.Random) -> dict:
        """Return a stage, which of its answers are spoiled, how, and by which chance."""
        at = int(chance.expovariate(1 / 15))
        how = chance.choice([*LINE, "value", "value", "value", "value"])
        spoiled = {"at": at, "count": chance.choice((1, 1, 2, 8)), "how": how}
        return {"stage": chance.choice(list(self.built)), "by": chance.randrange(10**9)} | spoiled

    def attempt(self, case: dict) -> None:
        """Play the stage, and again where that tells something."""
        stage = case["stage"]
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.built[stage].folder.with_name("run"), self.work / "run")
        with (
            self.built[stage].running(self.work / "cloud") as real,
            Proxy(real.profile.endpoint, case) as proxy,
            printed() as output,
        ):
            errors = [_played(real, proxy, stage, BOUNDS)]
            if case["how"] in LINE:
                proxy.case = {"count": 0}
                errors.append(_played(real, proxy, stage, {}))
                self._compare(stage, real, errors)
                left = Journal(self.work / "run", proxy.endpoint).unfinished()
                if left:
                    raise Fault(f"{stage} left open: {[e.command for e in left]}")
            demand_clean(f"{output()}\n{errors}", [real.profile.secret])
            text = "".join(p.read_text() for p in (self.work / "run").glob("*.jsonl"))
            if real.profile.secret in text:
                raise Fault("a secret in the record")

    def _compare(self, stage: str, real, errors: list) -> None:
        """Raise Fault where what there is then differs from what an undisturbed stage leaves."""
        found = _names(real)
        expected = self.after.setdefault(stage, found)
        if found != expected or errors[-1]:
            raise Fault(f"{stage} ended otherwise: {errors} {found}")


def _before_each(folder: Path) -> dict[str, Built]:
    """Play the procedure; return the cloud at rest, with its records, before each stage PLAYED."""
    grown, port, found = folder / "grown", 0, {}
    for stage in [s for s in STAGES if s[:2] <= max(PLAYED)]:
        if stage[:2] in PLAYED:
            found[stage] = Built(folder / stage / "cloud", {"port": port})
            Built(grown, {}).copy(folder / stage)
        with running(grown / "cloud", port=port) as cloud:
            port = cloud.server.listener.server_port
            play(cloud, stage)
    return found


def _names(cloud) -> dict:
    """Return the names of all things, without the time in that of a snapshot."""
    return {k: [n.rpartition("_2")[0] or n for n in v] for k, v in inventory(cloud).items()}


def _played(real, proxy: "Proxy", stage: str, bounds: dict) -> str:
    """Play a stage through the proxy; return the text of an error of ours."""
    cloud = client(real.server, endpoint=proxy.endpoint, **bounds)
    cloud.folder, cloud.grace = real.folder, 0
    try:
        settled(cloud)
        play(cloud, stage, patience=1)
    except RunbookError as error:
        return str(error)
    return ""


class Proxy(ThreadingHTTPServer):
    """Passes requests on, and spoils `count` answers from number `at` on, counted from 0."""

    daemon_threads = True

    def __init__(self, endpoint: str, case: dict):
        super().__init__(("127.0.0.1", 0), Handler)
        self.real, self.case, self.number = urlsplit(endpoint), case, 0
        self.endpoint = f"http://127.0.0.1:{self.server_port}{self.real.path}"

    def __enter__(self) -> "Proxy":
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Say nothing when the other side has gone."""

    def spoils(self) -> bool:
        """Count an answer; tell whether it is to be spoiled."""
        number, self.number = self.number, self.number + 1
        return bool(self.case["count"]) and 0 <= number - self.case["at"] < self.case["count"]


class Handler(BaseHTTPRequestHandler):
    """Answers one request with that of the real cloud, whole or spoiled."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_POST(self) -> None:
        """Pass a request on."""
        data = self.rfile.read(int(self.headers["Content-Length"]))
        line = http.client.HTTPConnection(self.server.real.netloc)
        line.request("POST", self.path, data, {"Content-Type": self.headers["Content-Type"]})
        answer = line.getresponse()
        body = answer.read()
        line.close()
        self.close_connection = True
        if self.server.spoils():
            case = self.server.case
            return self.spoil(answer.status, body, case["how"], random.Random(case["by"]))
        self.wfile.write(_head(answer.status, len(body)) + body)

    def spoil(self, status: int, body: bytes, how: str, chance: random.Random) -> None:
        """Write something else."""
        length, write = len(body), self.wfile.write
        if how == "garbage":
            write(chance.randbytes(chance.randint(1, 4000)))
        elif how == "no end":
            write(_head(status, length + chance.choice((1, 10**9))) + body[: length // 2])
        elif how == "slow":
            for byte in _head(status, length) + body:
                write(bytes([byte]))
                time.sleep(0.05)
        elif how == "huge":
            write(_head(200, 10**6) + b'{"a":"' + b"x" * 10**6)
        elif how == "endless head":
            write(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 3000 + b"\r\n")
        elif how == "bad length":
            answer = chance.choice((b"-1", b"x", b"9" * 30, b"0", b"1, 2"))
            write(b"HTTP/1.1 200 OK\r\nContent-Length: " + answer + b"\r\n\r\n" + body[:9])
        elif how == "page":
            answer = chance.choice((200, 301, 302, 403, 404, 407, 429, 500, 502, 503, 530, 999))
            write(_head(answer, 5, "text/html") + b"<p>no")
        elif how == "bytes":
            cut = body[: chance.randrange(max(length, 1))]
            write(_head(chance.choice((200, status)), len(cut)) + cut)
        elif how == "value":
            other = _spoiled(body, chance)
            write(_head(status, len(other)) + other)


def _head(status: int, length: int, kind: str = "application/json") -> bytes:
    fields = f"Content-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close"
    return f"HTTP/1.1 {status} Some\r\n{fields}\r\n\r\n".encode()


def _spoiled(body: bytes, chance: random.Random) -> bytes:
    """Return an answer one of whose values is another one, or whose bytes differ."""
    if chance.random() < 0.3:
        return mutated(body, chance)
    whole = json.loads(body)
    places = list(_places(whole))
    if places:
        holder, key = chance.choice(places)
        holder[key] = chance.choice(VALUES)
        if chance.random() < 0.2 and isinstance(holder, dict):
            del holder[key]
    return json.dumps(whole).encode()


def _places(value: object) -> Iterator[tuple]:
    """Yield each place in a JSON value: the object or list, and the key."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)
