"""Kernels: a fresh one for each stage; the next stage's starts while the current one works.

Such a spare has the environment and folder of its stage, and has imported the modules that stages
need, outside the name space of cells: to a cell it looks like a new kernel.
"""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from time import monotonic

from jupyter_client import AsyncKernelManager
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_core.utils import run_sync
from nbclient.exceptions import DeadKernelError

NAME = "python3"
PATIENCE = 60.0  # seconds that a kernel may take to answer

# A new kernel runs this before it listens. Its output waits for a driver that is slow; by default
# ZeroMQ drops what is more than 1,000 messages ahead. An import error comes up in the cell that
# needs the module. ipykernel ends when its parent dies, but watches its parent only later.
_PRELOAD = """
import importlib, os, zmq
thread = get_ipython().kernel.iopub_socket.io_thread
thread.schedule(lambda: thread.socket.setsockopt(zmq.XPUB_NODROP, 1))
for name in {names}:
    try:
        importlib.import_module(name)
    except Exception:
        pass
if os.getppid() != int(os.environ["JPY_PARENT_PID"]):
    os._exit(1)
"""


@dataclass(frozen=True)
class Place:
    """A kernel's stage and working directory."""

    stage: str
    folder: Path


class Kernels:
    """Gives each stage a kernel; a context manager that ends all of them.

    The sockets are files in `scratch`, so that no port is open; its path must be short (a socket's
    path has about 100 characters at most) and private. `env` is added to each kernel's environment,
    `preload` names the modules that it imports early, `lock` is an open file that it inherits.
    """

    def __init__(
        self, scratch: Path, env: Mapping[str, str], preload: Sequence[str] = (), lock: int = -1
    ):
        self._scratch, self._env, self._preload = scratch, dict(env), list(preload)
        self._count, self._inherited = 0, () if lock < 0 else (lock,)
        self._spare: tuple[Place, AsyncKernelManager] | None = None

    def __enter__(self) -> "Kernels":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm(self, place: Place) -> None:
        """Start the spare for the stage that comes next, and return at once."""
        if not self._spare:
            self._spare = place, self._started(place)

    @contextmanager
    def kernel(self, place: Place) -> Iterator[tuple[AsyncKernelManager, AsyncKernelClient]]:
        """Yield a ready kernel for the stage; then end it with all its children.

        Raises `DeadKernelError` when it never answers.
        """
        manager, client = self._ready_spare(place) or _connected(self._started(place))
        try:
            yield manager, client
        finally:
            client.stop_channels()
            _end(manager)

    def _ready_spare(self, place: Place) -> tuple[AsyncKernelManager, AsyncKernelClient] | None:
        """Return the spare when it is ready; None if there is none, or it has died."""
        spare = self._taken(place)
        with suppress(DeadKernelError):
            return _connected(spare) if spare else None
        return None

    def _taken(self, place: Place) -> AsyncKernelManager | None:
        """Return the spare if it is this stage's and lives."""
        if self._spare and self._spare[0] == place and run_sync(self._spare[1].is_alive)():
            manager, self._spare = self._spare[1], None
            return manager
        self.close()
        return None

    def close(self) -> None:
        """End the spare, if there is one."""
        if self._spare:
            _end(self._spare[1])
            self._spare = None

    def _started(self, place: Place) -> AsyncKernelManager:
        self._count += 1
        at = f"{self._scratch}/{self._count}"
        manager = AsyncKernelManager(
            kernel_name=NAME, transport="ipc", ip=at, connection_file=f"{at}.json"
        )
        # Otherwise a kernel warns that its debugger sees frozen modules.
        own = {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "RUNBOOK_STAGE": place.stage}
        run_sync(manager.start_kernel)(
            cwd=str(place.folder),
            env=os.environ | own | self._env,
            pass_fds=self._inherited,
            extra_arguments=_arguments(self._preload),
        )
        return manager


def _arguments(preload: Sequence[str]) -> list[str]:
    lines = [f"exec({_PRELOAD.format(names=list(preload))!r}, {{}})"]
    return ["--HistoryManager.hist_file=:memory:", f"--IPKernelApp.exec_lines={lines!r}"]


def _connected(manager: AsyncKernelManager) -> tuple[AsyncKernelManager, AsyncKernelClient]:
    """Return a kernel and its client when it is ready; otherwise end it and raise."""
    client = manager.client()
    try:
        client.start_channels(stdin=False, hb=False, control=False)
        run_sync(_ready)(manager, client)
    except BaseException:
        client.stop_channels()
        _end(manager)
        raise
    manager.cleanup_connection_file()  # both sides have its key now
    return manager, client


async def _ready(manager: AsyncKernelManager, client: AsyncKernelClient) -> None:
    """Wait until the kernel answers and its messages reach us.

    The library's own wait takes 0.2 s more, to drop messages that our client ignores anyway.
    """
    until = monotonic() + PATIENCE
    while monotonic() < until:
        if await _answers(client, client.kernel_info()):
            return
        if not await manager.is_alive():
            raise DeadKernelError("the kernel did not start: it died")
    raise DeadKernelError(f"the kernel did not start: no answer in {PATIENCE:.0f} s")


async def _answers(client: AsyncKernelClient, request: str) -> bool:
    """Return whether the kernel answers a request within 0.3 s of its last message."""
    with suppress(Empty):
        while message := await client.get_iopub_msg(timeout=0.3):
            idle = message["content"].get("execution_state") == "idle"
            if idle and message["parent_header"].get("msg_id") == request:
                return True
    return False


def _end(manager: AsyncKernelManager) -> None:
    """Kill a kernel and its children, wait for its end, and release its resources."""
    process = manager.provisioner.process
    with suppress(ProcessLookupError):  # they have ended already
        os.killpg(manager.provisioner.pgid, signal.SIGKILL)
    if process:
        process.wait()
    run_sync(manager.cleanup_resources)()
