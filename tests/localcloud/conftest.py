"""A local cloud for each test, in this process, whose jobs are done at the first look."""

import json
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest

from lib.localcloud.wire.auth import signature
from lib.localcloud.wire.server import Server


class Answer(NamedTuple):
    """A response: HTTP status, content type, text; `body` is the content of the envelope."""

    status: int
    type: str
    text: str
    description: str | None

    @property
    def body(self) -> dict:
        [body] = json.loads(self.text).values()
        return body

    @property
    def error(self) -> tuple[int, str]:
        return self.body["errorcode"], self.body["errortext"]


class Api:
    """A bare client: signs, sends, and returns the response."""

    def __init__(self, server: Server):
        self.server = server
        self.facts = server.connection

    def send(self, params: dict, method: str = "POST") -> Answer:
        """Send parameters as they are."""
        place = urlsplit(self.facts["endpoint"])
        line = HTTPConnection(place.hostname, place.port, timeout=10)
        data = urlencode(params)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        if method == "GET":
            line.request("GET", f"{place.path}?{data}")
        else:
            line.request(method, place.path, data, form)
        got = line.getresponse()
        answer = Answer(
            got.status, got.headers["Content-Type"], got.read().decode(),
            got.headers["X-Description"],
        )  # fmt: skip
        line.close()
        return answer

    def raw(self, command: str, method: str = "POST", **params: object) -> Answer:
        """Send a signed command."""
        return self.signed(command, method, params)

    def signed(
        self, command: str, method: str, params: dict, instead: dict | None = None
    ) -> Answer:
        """Send a signed command, with `instead` in place of the usual parameters."""
        given = {"command": command, "response": "json", "apikey": self.facts["apikey"]}
        given |= {k: str(v) for k, v in params.items()}
        given |= {k: v for k, v in (instead or {}).items() if k != "signature"}
        given["signature"] = signature(given, self.facts["secretkey"])
        return self.send(given | (instead or {}), method)

    def __call__(self, command: str, **params: object) -> dict:
        """Send a command that must be accepted, and return the content of the envelope."""
        answer = self.raw(command, **params)
        assert answer.status == 200, answer.text
        return answer.body

    def job(self, command: str, **params: object) -> dict:
        """Send an asynchronous command and return its job as it stands at the first look."""
        return self("queryAsyncJobResult", jobid=self(command, **params)["jobid"])

    def done(self, command: str, **params: object) -> dict:
        """Send an asynchronous command that must succeed and return the object it is about."""
        job = self.job(command, **params)
        assert job["jobstatus"] == 1, job
        [result] = job["jobresult"].values()
        return result

    def failed(self, command: str, **params: object) -> tuple[int, str]:
        """Send an asynchronous command whose job must fail and return code and text."""
        job = self.job(command, **params)
        assert job["jobstatus"] == 2, job
        return job["jobresultcode"], job["jobresult"]["errortext"]

    def refused(self, command: str, **params: object) -> tuple[int, str]:
        """Send a command that must be refused at once and return code and text."""
        answer = self.raw(command, **params)
        assert answer.status != 200, answer.text
        return answer.error

    def id_of(self, command: str, name: str, by: str = "name", **params: object) -> object:
        """Return the id of the one row with that name."""
        lists = [v for v in self(command, **params).values() if isinstance(v, list)]
        [row] = [r for r in lists[0] if r[by] == name]
        return row["id"]

    def zone(self, name: str = "local-1") -> object:
        return self.id_of("listZones", name)

    def workstation(self) -> object:
        return self.id_of("listVirtualMachines", "my-workstation")

    def volume_params(self, name: str = "disk", size: int = 1) -> dict:
        """Return the parameters of a new volume of custom size."""
        offering = self.id_of("listDiskOfferings", "Custom Disk")
        return {"name": name, "size": size, "diskofferingid": offering, "zoneid": self.zone()}

    def volume(self, name: str = "disk", size: int = 1) -> dict:
        """Make a volume."""
        return self.done("createVolume", **self.volume_params(name, size))

    def attached(self, name: str = "disk", size: int = 1) -> dict:
        """Make a volume and attach it to the workstation."""
        created = self.volume(name, size)
        return self.done("attachVolume", id=created["id"], virtualmachineid=self.workstation())

    def snapshot(self, name: str = "disk") -> dict:
        """Make a snapshot of a new volume, which is detached again."""
        volume = self.attached(name)
        self.done("detachVolume", id=volume["id"])
        return self.done("createSnapshot", volumeid=volume["id"])

    def template(self, name: str = "tpl", **more: object) -> dict:
        """Make a template of a new snapshot."""
        kind = self.id_of("listOsTypes", "Other Linux (64-bit)", by="description")
        taken = self.snapshot(name)["id"]
        return self.done(
            "createTemplate", name=name, displaytext=name, ostypeid=kind, snapshotid=taken, **more
        )

    def machine_params(
        self, offering: str = "Small Instance", zone: str = "local-1", **more: object
    ) -> dict:
        """Return the parameters of a deployment from the stock template."""
        template = self("listTemplates", templatefilter="featured")["template"][0]
        return {
            "zoneid": self.zone(zone),
            "templateid": template["id"],
            "serviceofferingid": self.id_of("listServiceOfferings", offering),
        } | more

    def machine(self, name: str, **more: object) -> dict:
        """Deploy a machine."""
        return self.done("deployVirtualMachine", **self.machine_params(name=name, **more))

    def fault(self, command: str, value: str, count: int = 1) -> None:
        """Plan a fault, or change a setting."""
        self("configureSimulator", name=command, value=value, count=count)

    def calls(self) -> list[dict]:
        """Return the calls the cloud has recorded."""
        return self("listSimulatorCalls").get("simulatorcall", [])


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock for clouds whose jobs take time."""
    return Clock()


@pytest.fixture
def cloud_of(tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """Make a cloud with the options given; several in one test have folders of their own."""
    started: list[Server] = []

    def make(folder: str = "cloud", **options: object) -> Api:
        server = Server(tmp_path / folder, **({"time_scale": 0} | options)).start()
        started.append(server)
        return Api(server)

    yield make
    for server in started:
        server.stop()


@pytest.fixture
def api(cloud_of: Callable[..., Api]) -> Api:
    """A cloud of the 4.22 dialect."""
    return cloud_of()


@pytest.fixture
def old(cloud_of: Callable[..., Api]) -> Api:
    """A cloud of the 2.2 dialect."""
    return cloud_of("old", dialect="2.2")


@pytest.fixture(params=["api", "old"])
def either(request: pytest.FixtureRequest) -> Api:
    """A cloud of each dialect in turn."""
    return request.getfixturevalue(request.param)
