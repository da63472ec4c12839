"""A server: a local cloud in its folder, from its seed to its last answer."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..commands import planting, projects
from ..guests import etcd, guests, login
from ..state import jobs, seeds
from ..state.cloud import OPTIONS, Cloud
from ..state.dialects import DIALECTS, named
from ..state.rows import State
from ..workstation import plugs, shell
from . import sessions
from .http import API, Listener


class Server:
    """A local cloud in its folder, serving on 127.0.0.1 between `start` and `stop`.

    Port 0 takes any free one. `clock` gives the seconds since 1970. `seed` is the file that a new
    cloud is made from; OtherSeed if the folder holds one from another. Other options are those of
    `cloud.OPTIONS`; None leaves the option as it is in the folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dialect: str = "4.22",
        seed: str | Path | None = None,
        port: int = 0,
        clock: Callable[[], float] = time.time,
        **options: Any,
    ):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.folder / "disks").mkdir(exist_ok=True)
        kind = DIALECTS[named(dialect)]
        self.cloud = Cloud(State(self.folder / "state.sqlite", kind), kind, self.folder, clock)
        self.thread: threading.Thread | None = None
        with ExitStack() as failed:  # closes what is open when a later step fails
            failed.callback(self.cloud.state.file.close)
            self._plant(seed)
            for name, value in options.items():
                setting, key = OPTIONS[name]
                if value is not None:
                    self.cloud.state.change("setting", self.cloud.setting(setting), **{key: value})
            self.listener = Listener(port, self.cloud)
            failed.callback(self.listener.server_close)
            self.cloud.base_url = f"http://127.0.0.1:{self.listener.server_port}"
            self._prepare()
            failed.pop_all()

    def _plant(self, seed: str | Path | None) -> None:
        name = self.cloud.dialect.name
        content = seeds.read(Path(seed), name) if seed else seeds.default(name)
        is_new = not self.cloud.state.table("account")
        planting.plant(self.cloud, content)
        held = self.cloud.state.setting("seedfile", {"digest": seeds.digest(content)})
        if seed and not is_new and held["digest"] != seeds.digest(content):
            raise seeds.OtherSeed(seeds.other(self.folder, seed))

    def _prepare(self) -> None:
        projects.found(self.cloud, self.cloud.setting("project")["name"])
        jobs.resume(self.cloud)
        shell.prepare(self.folder)
        login.prepare(self.folder)
        shell.set_time_scale(self.folder, self.cloud.setting("time")["scale"])
        plugs.update_workstation(self.cloud, self.cloud.one("virtualmachine"))
        guests.revive(self.cloud)
        sessions.password(self.cloud)  # which is kept with all else that is new
        self.cloud.state.commit()

    def serve(self) -> None:
        """Serve until `stop` is called from elsewhere."""
        self.listener.serve_forever(0.5)

    def start(self) -> "Server":
        """Serve in a thread of its own."""
        self.thread = threading.Thread(
            target=self.listener.serve_forever, args=(0.01,), daemon=True
        )
        self.thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and release port and files; the state stays in its folder."""
        if self.thread:
            self.listener.shutdown()
            self.thread.join()
        self.listener.server_close()
        self.listener.drop_connections()
        with self.cloud.lock:
            etcd.end_all(self.cloud)
            self.cloud.state.close()

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def connection(self) -> dict:
        """Return the connection data of a client, keys included."""
        me = self.cloud.account()
        values = {name: self.cloud.setting(s)[key] for name, (s, key) in OPTIONS.items()}
        if sessions.offered(self.cloud):
            values |= {"username": me["name"], "domain": me["domain"]}
            values["password"] = sessions.password(self.cloud)
        return values | {
            "endpoint": f"{self.cloud.base_url}{API}",
            "apikey": me["apikey"],
            "secretkey": me["secretkey"],
            "dialect": self.cloud.dialect.name,
            "etcd": "real" if self.cloud.runs_etcd else "stand-in",
            "discovery": self.cloud.base_url,
            "shell": ["/bin/sh", str(self.folder / "workstation" / "shell")],
            "machine_shell": ["/bin/sh", str(self.folder / "machines" / "shell")],
            "dir": str(self.folder),
            "seed": self.cloud.state.table("setting")["seedfile"]["digest"],
        }
