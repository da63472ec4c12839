"""Discovery services and etcds: what answers as a test wants, and real ones for marked tests."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from harness import until


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(url: str) -> bool:
    """Tell whether something answers well at a URL."""
    try:
        return requests.get(url, timeout=2).status_code == 200
    except requests.ConnectionError:
        return False


class Handler(BaseHTTPRequestHandler):
    """Answers with `server.answers`, and records the requests.

    Status 0 ends the connection without an answer.
    """

    def do_GET(self):
        length = int(self.headers.get("Content-Length", 0))
        asked = f"{self.command} {self.path} {self.rfile.read(length).decode()}".strip()
        self.server.asked.append(asked)
        answers, path = self.server.answers, self.path.split("?")[0]
        status, body = answers.get(path, (404, "page not found"))
        if status == 0:
            return self.connection.close()
        text = body if isinstance(body, str) else json.dumps(body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_PUT = do_POST = do_DELETE = do_GET

    def log_message(self, *_):
        """Keep quiet."""


@contextlib.contextmanager
def answering(answers: dict, host: str = "127.0.0.1", port: int = 0) -> Iterator:
    """Run a server that gives these answers: path -> status and body, a text or JSON."""
    with ThreadingHTTPServer((host, port), Handler) as server:
        server.answers, server.asked = answers, []
        server.base = f"http://{host}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run Debian's etcd-discovery before an etcd, and say its base URL."""
    client, peer, port = (free_port() for _ in range(3))
    at, other, own = (f"http://127.0.0.1:{n}" for n in (client, peer, port))
    flags = {"data-dir": folder / "registry", "name": "one", "initial-cluster": f"one={other}"}
    flags |= {"listen-client-urls": at, "advertise-client-urls": at}
    flags |= {"listen-peer-urls": other, "initial-advertise-peer-urls": other}
    commands = [(at, ["etcd", "--enable-v2", *(f"--{k}={v}" for k, v in flags.items())])]
    words = ["--addr", f":{port}", "--host", own, "--etcd", at]
    commands.append((own, ["discovery.etcd.io", *words]))
    missing = [c[0] for _, c in commands if not shutil.which(c[0])]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    running = []
    try:
        with open(folder / "service.log", "wb") as text:
            for url, command in commands:
                running.append(subprocess.Popen(command, stdout=text, stderr=text))
                until(lambda url=url: answers(f"{url}/health"), url)
        yield own
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()


def receive_request(connection: socket.socket) -> None:
    """Read a request to its end: closing before would reset the connection."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(65536)
    head, _, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.I)
    left = (int(length[1]) if length else 0) - len(body)
    while left > 0:
        left -= len(connection.recv(left))


@contextlib.contextmanager
def saying(first: bytes, again: bytes = b"", every: float = 0.05):
    """Run a server that says something to all who come, and then the same again and again."""
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                receive_request(connection)
                connection.sendall(first)
                while again and not over.wait(every):
                    connection.sendall(again)
            except OSError:
                return  # the client has gone

    def accept() -> None:
        while not over.is_set():
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
