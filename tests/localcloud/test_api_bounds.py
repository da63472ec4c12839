"""A full disk or a careless client does not break the local cloud."""

import json
import socket

import pytest

from lib.localcloud.state import faults
from lib.localcloud.state.registry import COMMANDS
from lib.localcloud.wire import http as wire


def exchange(api, request: bytes) -> bytes:
    """Send bytes and return all that comes until the server closes the connection."""
    with socket.create_connection(api.server.listener.server_address[:2], timeout=10) as line:
        line.sendall(request)
        return b"".join(iter(lambda: line.recv(65536), b""))


def limit(api, pages: int) -> None:
    api.server.cloud.state.file.execute(f"PRAGMA max_page_count = {pages}")


def test_changes_on_a_full_disk_are_saved_once_there_is_space(cloud_of):
    api = cloud_of(time_scale=0)
    params = api.volume_params("x" * 200)
    limit(api, 1)
    codes = [api.raw("createVolume", **params).status for _ in range(30)]
    assert codes[-1] == 530
    limit(api, 10**6)
    there = [v["id"] for v in api("listVolumes", name="x" * 200)["volume"]]
    api.server.stop()
    again = cloud_of(time_scale=0)
    assert [v["id"] for v in again("listVolumes", name="x" * 200)["volume"]] == there


@pytest.mark.parametrize("phase", ["begin", "finish", "failed"])
def test_a_job_ends_whatever_goes_wrong_in_a_phase_of_it(api, monkeypatch, phase, capsys):
    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    disk = api.attached()["id"]
    command = COMMANDS["createSnapshot"]
    monkeypatch.setitem(command.phases, phase, broken)
    if phase == "failed":
        monkeypatch.setitem(command.phases, "finish", broken)
    code, text = api.failed("createSnapshot", volumeid=disk)
    assert code == 530 and "Internal error" in text
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("length", ["x", "-1", "1e3", "²", "1, 2"])
@pytest.mark.parametrize("path", ["/client/api", "/new"])
def test_a_length_that_is_no_number_is_a_bad_request(api, length, path, capfd):
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    assert exchange(api, head.encode("latin-1")).startswith(b"HTTP/1.1 400 Bad Request")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("message", [b"", b"GET /client/api HTTP/1.1\r\n"])
def test_a_silent_connection_is_closed(api, monkeypatch, message):
    monkeypatch.setattr(wire.Handler, "timeout", 0.05)
    assert exchange(api, message) == b""


def test_the_record_of_calls_has_an_end():
    kept = faults.Faults()
    for number in range(faults.CALLS + 5):
        kept.record(f"c{number}", {}, False, 200)
    kept.record("x" * 10**6, {f"p{n}": "x" * 10**6 for n in range(100)}, False, 200)
    assert len(kept.calls) == faults.CALLS
    assert len(json.dumps(kept.calls[-1])) < 2 * faults.PARAMS * faults.LONGEST
