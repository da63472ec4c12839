"""Servers in processes of their own, so that they do not compete with who asks them.

`python servers.py cloud FOLDER VOLUMES` serves a local cloud with so many volumes more than it has
from the start, `python servers.py bare BYTES` answers everything with so many bytes. Both print one
JSON object that says where, and end when their input does.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread


@contextlib.contextmanager
def running(*words: str) -> Iterator[dict]:
    """Run this file with these words and yield what it says about itself."""
    command = [sys.executable, __file__, *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        yield json.loads(process.stdout.readline())
        process.stdin.close()


def serve_cloud(folder: str, volumes: str) -> None:
    """Serve a local cloud whose jobs take no time."""
    from lib.localcloud.wire.server import Server

    with Server(Path(folder), time_scale=0) as server:
        plant_volumes(server.cloud, int(volumes))
        _tell(server.connection)


def plant_volumes(cloud, count: int) -> None:
    """Put volumes straight into the cloud's state, as if createVolume had made them."""
    of = {"zoneid": cloud.one("zone")["id"], "diskofferingid": cloud.one("diskoffering")["id"]}
    of |= {"type": "DATADISK", "state": "Allocated", "size": 40 * 2**30}
    with cloud.lock:
        for n in range(count):
            cloud.state.add("volume", name=f"disk-{n:05}", at=cloud.clock() - n, **of)
        cloud.state.commit()


def serve_bare(size: str) -> None:
    """Serve a constant as Python's own `http.server` does, each answer at once."""
    body = b"x" * int(size)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        _tell({"endpoint": f"http://127.0.0.1:{server.server_port}/"})
        server.shutdown()


def _tell(facts: dict) -> None:
    """Say where to find the server, then wait until nobody needs it any more."""
    print(json.dumps(facts), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    {"cloud": serve_cloud, "bare": serve_bare}[sys.argv[1]](*sys.argv[2:])
