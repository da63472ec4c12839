"""Kernels: a fresh one for each stage; the next stage's starts while the current one works.

Such a spare has its stage's environment and folder and has imported what stages import, into no
name space that a cell can see: a cell finds it as it finds a new kernel, only sooner.
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

# Run by a new kernel before it listens. What cannot be imported is told by the cell that needs it.
# ipykernel ends itself when its parent dies, but looks out for that only later.
_PRELOAD = """
import importlib, os
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
    """What a kernel is started for and where: a stage and the kernel's working directory."""

    stage: str
    folder: Path


class Kernels:
    """Gives each stage its kernel; to be used with `with`, after which none is left.

    Their sockets are files in `scratch`, so that no port is open and none collides; its path must
    be short (a socket's may have some 100 characters), and only we should be able to enter it.
    `env` is added to the environment of each, `preload` names the modules that it imports early,
    `lock` is an open file that each keeps open as long as it lives.
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
        """Give the stage its kernel, ready, for the while; then end it with all its children.

        Raises `DeadKernelError` when it never answers.
        """
        manager, client = self._ready_spare(place) or _connected(self._started(place))
        try:
            yield manager, client
        finally:
            client.stop_channels()
            _end(manager)

    def _ready_spare(self, place: Place) -> tuple[AsyncKernelManager, AsyncKernelClient] | None:
        """Return the spare, ready; None if there is none, or it has died, which harmed nothing."""
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
        # A kernel would warn that its debugger sees frozen modules; nobody debugs here.
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
    """Return a kernel and its client when it is ready; end it and raise when it never is."""
    client = manager.client()
    try:
        client.start_channels(stdin=False, hb=False, control=False)
        run_sync(_ready)(manager, client)
    except BaseException:
        client.stop_channels()
        _end(manager)
        raise
    return manager, client


async def _ready(manager: AsyncKernelManager, client: AsyncKernelClient) -> None:
    """Wait until the kernel answers and its messages reach us, no longer.

    The library's own wait then listens for 0.2 s more, for messages that are told apart anyway.
    """
    until = monotonic() + PATIENCE
    while monotonic() < until:
        if await _answers(client, client.kernel_info()):
            return
        if not await manager.is_alive():
            raise DeadKernelError("the kernel did not start: it died")
    raise DeadKernelError(f"the kernel did not start: no answer in {PATIENCE:.0f} s")


async def _answers(client: AsyncKernelClient, asked: str) -> bool:
    """Tell whether the kernel says within a short while that it has dealt with the question."""
    with suppress(Empty):
        while message := await client.get_iopub_msg(timeout=0.3):
            idle = message["content"].get("execution_state") == "idle"
            if idle and message["parent_header"].get("msg_id") == asked:
                return True
    return False


def _end(manager: AsyncKernelManager) -> None:
    """Kill a kernel and its children, wait until it is gone, and give back what it held."""
    process = manager.provisioner.process
    with suppress(ProcessLookupError):  # it and all its children have ended by themselves
        os.killpg(manager.provisioner.pgid, signal.SIGKILL)
    if process:
        process.wait()
    run_sync(manager.cleanup_resources)()
