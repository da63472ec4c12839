"""The wire: HTTP/1.1 on 127.0.0.1, the API under /client/api, discovery everywhere else."""

import select
import socket
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote_plus

from ..guests import discovery, guests
from ..state import jobs
from ..state.cloud import Cloud
from .dispatch import Reply, handle

API = "/client/api"
LONGEST_LINE = 8192
LONGEST_BODY = 1048576
IDLE = 120  # seconds until a silent connection is closed
HTML = "text/html; charset=UTF-8"


def parameters(query: str, form: str) -> dict[str, str]:
    """Return a request's parameters as the server reads them.

    Of repeated names, the first counts in a form and the last in a query, and the query wins. Parts
    without `=` are ignored.
    """
    found: dict[str, str] = {}
    for name, value in _pairs(form):
        found.setdefault(name, value)
    return found | dict(_pairs(query))


def _pairs(text: str) -> list[tuple[str, str]]:
    split = (token.partition("=") for token in text.split("&"))
    return [(unquote_plus(name), unquote_plus(value)) for name, sign, value in split if sign]


class Handler(BaseHTTPRequestHandler):
    """Reads requests and writes answers, whose content comes from `dispatch`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE
    server: "Listener"

    def answer(self) -> None:
        """Answer one request of any method."""
        if len(self.raw_requestline) > LONGEST_LINE:
            return self.write(414, HTML, "<h1>Bad Message 414</h1><pre>reason: URI Too Long</pre>")
        length = self.headers.get("Content-Length") or "0"
        if not (length.isascii() and length.isdecimal()):
            self.close_connection = True
            return self.write(
                400, HTML, "<h1>Bad Message 400</h1><pre>reason: Bad Content-Length</pre>"
            )
        size = int(length[:20])
        if size > LONGEST_BODY:
            self.close_connection = True
            status = self.server.cloud.dialect.longest_body
            return self.write(status, HTML, "<h1>Form is larger than max length 1048576</h1>")
        form = self.rfile.read(size).decode(errors="replace") if size else ""
        path, _, query = self.path.partition("?")
        self.server.served = time.monotonic()
        if path.rstrip("/") == API:
            return self.answer_api(parameters(query, form))
        return self.answer_discovery(form)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def answer_api(self, given: dict[str, str]) -> None:
        """Answer an API request, late or not at all if a fault says so."""
        reply: Reply = handle(
            self.server.cloud, given, self.command, self.headers.get("Cookie", "")
        )
        if reply.delay:
            time.sleep(reply.delay)
        if reply.body is None:
            return self.drop()
        more = {"X-Description": reply.error} if reply.error else {}
        # Two header fields of one name, which differ in case on a real server, too.
        more |= dict(zip(("Set-Cookie", "SET-COOKIE"), reply.cookies, strict=False))
        self.write(reply.status, reply.type, reply.body, **more)

    def drop(self) -> None:
        """End the connection without an answer."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def answer_discovery(self, form: str) -> None:
        """Answer a request to the discovery service, late or not at all if a fault says so."""
        cloud = self.server.cloud
        path, _, query = self.path.partition("?")
        asked = parameters(query, "")
        if self.command == "GET" and asked.get("wait") == "true":
            return self.answer_waiting(path, asked.get("waitIndex", ""))
        with cloud.lock:
            jobs.advance(cloud)
            fault = cloud.faults.take(discovery.command(self.command, path))
            if fault and fault.kind == "drop-before":
                return self.drop()
            given = parameters("", form)
            found = guests.ask_discovery(cloud, self.command, self.path, given)
            index = discovery.last_index(guests.registry(cloud))
            try:
                cloud.state.commit()
            except sqlite3.Error:
                traceback.print_exc(file=sys.stderr)
                found = 500, "text/plain", "The registry cannot be written."
        if fault and fault.kind == "drop-after":
            return self.drop()
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        self.write(*found, **{"X-Etcd-Index": str(index)})

    def answer_waiting(self, path: str, since: str) -> None:
        """Send the head at once, and the next change of the registry when it happens."""
        cloud = self.server.cloud
        with cloud.lock:
            index = discovery.last_index(guests.registry(cloud))
            first = int(since) if since.isdecimal() else index + 1
            self.wfile.write(self.head(200, "application/json", **{
                "X-Etcd-Index": str(index), "Transfer-Encoding": "chunked"}))  # fmt: skip
            while (body := discovery.seen(guests.registry(cloud), path, first)) is None:
                cloud.changed.wait(1)
                if self.is_gone():
                    self.close_connection = True
                    return
        self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body.encode()))

    def is_gone(self) -> bool:
        """Return whether either side has closed the connection."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def write(self, status: int, type_: str, body: str, **more: str) -> None:
        """Write an answer in one piece."""
        data = body.encode(errors="replace")
        self.wfile.write(
            self.head(status, type_, **{"Content-Length": str(len(data))} | more) + data
        )

    def head(self, status: int, type_: str, **more: str) -> bytes:
        """Return status line and header fields of an answer."""
        cloud = self.server.cloud
        if cloud.dialect.sends_date:
            more = {"Date": self.date_time_string(cloud.clock())} | more
        lines = [
            f"HTTP/1.1 {status} {self.responses.get(status, ('Error',))[0]}",
            f"Content-Type: {type_}",
            *(f"{name}: {_header(value)}" for name, value in more.items()),
            "X-Content-Type-Options: nosniff",
        ]
        if self.close_connection:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: request lines contain keys and signatures."""


def _header(text: str) -> str:
    return " ".join(text.split())


class Listener(ThreadingHTTPServer):
    """Accepts connections, and can drop them all."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, cloud: Cloud):
        self.cloud = cloud
        self.served = time.monotonic()
        self.connections: set[socket.socket] = set()
        self.on_idle: Callable[[float], None] = lambda seconds: None
        super().__init__(("127.0.0.1", port), Handler)

    def server_bind(self) -> None:
        """Bind, without a lookup of our own name."""
        self.allow_reuse_address = True
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember a connection while it is open."""
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self.connections.discard(request)
        super().shutdown_request(request)

    def drop_connections(self) -> None:
        """Close all connections, so that no client continues with an ended server."""
        for request in list(self.connections):
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError:
                self.connections.discard(request)  # it was closed at the other end

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect early; report other errors."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def service_actions(self) -> None:
        """Report the time since the last request."""
        self.on_idle(time.monotonic() - self.served)
