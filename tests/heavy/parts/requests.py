"""Requests to the local cloud: each is answered, none makes an error inside, and no row is lost."""

import contextlib
import json
import random
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from heavy.judging import NASTY, Fault, mutated, printed

from lib.localcloud.state.registry import known, params_of
from lib.localcloud.state.rows import State
from lib.localcloud.wire.auth import signature
from lib.localcloud.wire.server import Server

PATIENCE = 30  # seconds for an answer
LIFE = 300  # requests to one cloud, after which its rows are compared with its file
AS_A_CLIENT = 0.8  # of the requests are whole and signed
KINDS = ("zone", "volume", "virtualmachine", "snapshot", "template", "network", "diskoffering",
         "serviceoffering", "ostype")  # fmt: skip
NOT_ALONE = ("configureSimulator",)  # which makes faults on demand
GONE = ("Connectio", "BrokenPip")  # errors when the client has gone


@contextlib.contextmanager
def part(folder: Path) -> Iterator["Requests"]:
    """Give the part of the fuzz, with a cloud of each dialect."""
    one = Requests(folder)
    yield one
    for dialect in list(one.servers):
        one.end(dialect)


class Requests:
    """Sends signed calls of any command with any values, and bytes that are no request."""

    def __init__(self, folder: Path):
        self.folder, self.servers, self.sent = folder, {}, 0

    def case(self, chance: random.Random) -> dict:
        """Return a dialect, and a call or the bytes of a request."""
        dialect = chance.choice(("4.22", "4.22", "2.2"))
        if chance.random() < AS_A_CLIENT:
            return {"dialect": dialect, "call": self._call(dialect, chance)}
        call = self._call(dialect, chance)
        form = "&".join(f"{k}={quote(v, errors='replace')}" for k, v in call.items())
        length = chance.choice((len(form), len(form), "x", -1, 10**12, "1_0", "٣"))
        heads = (f"POST /client/api HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{form}",
                 f"GET /client/api?{form} HTTP/1.1\r\nHost: x\r\n\r\n",
                 f"{chance.choice(('GET', 'PUT', 'DELETE'))} /{form} HTTP/1.1\r\n\r\n",
                 "PUT /t/_state HTTP/1.1\r\nContent-Length: 4\r\n\r\na=%%")  # fmt: skip
        data = mutated(chance.choice(heads).encode(), chance)
        return {"dialect": dialect, "bytes": data.decode("latin-1")}

    def _call(self, dialect: str, chance: random.Random) -> dict[str, str]:
        commands = [c for n, c in known(dialect).items() if n not in NOT_ALONE]
        command = chance.choice(commands)
        found = {"command": command.name, "response": chance.choice(("json", "json", "xml", "x"))}
        for param in params_of(command, dialect):
            if param.needed(dialect) or chance.random() < 0.3:
                name = (
                    f"{param.name}[{chance.choice('01x')}].key"
                    if param.type == "map"
                    else param.name
                )
                found[name] = self._value(param, dialect, chance)
        return found

    def _value(self, param, dialect: str, chance: random.Random) -> str:
        state = self._server(dialect).cloud.state
        table = state.table(chance.choice(list(state.tables)))
        ids = [str(id) for kind in KINDS for id in state.table(kind)]
        if param.type in ("uuid", "uuids") and chance.random() < 0.8:
            return chance.choice([*ids, *map(str, table)])
        plain = {"integer": ["1", "2", "-1", "0", "2147483648"], "boolean": ["true", "false"]}
        usual = [*plain.get(param.type, ["a", "b", "disk", "8"]), *map(str, list(table)[:3])]
        return chance.choice([*usual, chance.choice(NASTY)])

    def attempt(self, case: dict) -> None:
        """Send it and read the answer."""
        server = self._server(case["dialect"])
        with printed() as output:
            data = case["bytes"].encode("latin-1") if "bytes" in case else _signed(server, case)
            answer = _answer(server, data)
        found = re.findall(r"^[\w.]+(?:Error|Exception)\b.*", output(), re.M)
        errors = [error for error in found if not error.startswith(GONE)]
        if errors:
            raise Fault(f"an error inside: {errors[-1][:300]}")
        if "call" in case and not answer.startswith(b"HTTP/1.1 "):
            raise Fault(f"no answer: {answer[:80]!r}")
        if server.connection["secretkey"].encode() in answer:
            raise Fault("a secret in the answer")
        self.sent += 1
        if self.sent % LIFE == 0:
            self.end(case["dialect"])

    def _server(self, dialect: str) -> Server:
        if dialect not in self.servers:
            folder = self.folder / f"{dialect}-{self.sent}"
            self.servers[dialect] = Server(folder, dialect=dialect, time_scale=0).start()
        return self.servers[dialect]

    def end(self, dialect: str) -> None:
        """Stop a server; raise Fault where its file does not hold what it held."""
        server = self.servers.pop(dialect)
        server.stop()
        again = State(server.folder / "state.sqlite", server.cloud.dialect)
        again.close()
        lost = [
            k
            for k, rows in server.cloud.state.tables.items()
            if _text(rows) != _text(again.table(k))
        ]
        if lost:
            raise Fault(f"rows are lost: {lost}")


def _text(rows: dict) -> str:
    return json.dumps({str(k): v for k, v in rows.items()}, sort_keys=True)


def _signed(server: Server, case: dict) -> bytes:
    facts = server.connection
    params = case["call"] | {"apikey": facts["apikey"]}
    params = {k: v.encode("utf-8", "replace").decode() for k, v in params.items()}
    params["signature"] = signature(params, facts["secretkey"])
    form = "&".join(f"{quote(k)}={quote(v, safe='')}" for k, v in params.items()).encode()
    head = f"POST /client/api HTTP/1.1\r\nHost: x\r\nContent-Length: {len(form)}\r\n\r\n"
    return head.encode() + form


def _answer(server: Server, data: bytes) -> bytes:
    """Send bytes and no more, and return all that comes back."""
    with socket.create_connection(server.listener.server_address, timeout=PATIENCE) as line:
        pieces = []
        try:
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
            while piece := line.recv(65536):
                pieces.append(piece)
        except TimeoutError:
            raise Fault(f"no answer within {PATIENCE} s") from None
        except OSError:
            pass  # the server has closed the connection
    return b"".join(pieces)
