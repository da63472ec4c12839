"""The two processes of a run: a kernel, which runs stages, below a driver."""

import contextlib
import multiprocessing
import os
import pkgutil
import signal
import threading
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

from harness import client, play

from lib import cluster, config, install, survey, workstation
from lib.config import writing
from lib.localcloud.wire.server import Server

# What the stages import, so that it is loaded once and not by each kernel.
ROOMS = (cluster, config, install, survey, workstation)
LOADED = ["heavy.processes", "jinja2", "pandas", "lib.lab.kernel", "lib.localcloud.guests.boot"]
LOADED += [m.name for r in ROOMS for m in pkgutil.iter_modules(r.__path__, f"{r.__name__}.")]


def run(
    bench, server: Server, stages: list[str], trap: tuple | None = None, **params: object
) -> str:
    """Run stages in a kernel below a driver; return what went wrong, "" if nothing."""
    breaker, log = server.cloud.faults, bench.work / "kernel.log"
    log.write_text("")
    facts = server.connection | {"folder": str(server.folder), "trap": trap, "run": bench.record}
    params |= bench.params(stages)
    started = context().Process(target=drive, args=(facts, stages, params, str(log)))
    started.start()
    fresh = not breaker.struck.is_set()
    while started.is_alive():
        started.join(0.01 if fresh else 0.05)
        if fresh and breaker.kills():
            fresh = False
            kernel = int((bench.work / "kernel.pid").read_text())
            victims = {"kernel": [kernel], "driver": [started.pid]}
            for pid in victims.get(breaker.victim, [started.pid, kernel]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    return "" if started.exitcode == 0 else log.read_text()[-3000:] or f"{started.exitcode}"


def context():
    """Return the way to start processes: forks of a small one that has all loaded already."""
    chosen = multiprocessing.get_context("forkserver")
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    chosen.set_forkserver_preload(LOADED)
    return chosen


def drive(facts: dict, stages: list[str], params: dict, log: str) -> None:
    """Be the driver: start the kernel and wait for its end."""
    kernel = os.fork()
    if kernel == 0:
        os._exit(work(facts, stages, params, Path(log)))
    _, status = os.waitpid(kernel, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def work(facts: dict, stages: list[str], params: dict, log: Path) -> int:
    """Be the kernel: run the stages with fresh clients, and end when the driver is gone."""
    driver = os.getppid()
    threading.Thread(target=end_with, args=(driver,), daemon=True).start()
    log.with_name("kernel.pid").write_text(str(os.getpid()))
    with open(log, "a", buffering=1) as file, contextlib.redirect_stdout(file):
        try:
            spring(*facts["trap"] or ("", ""))
            for stage in stages:
                print("==", stage)
                server = SimpleNamespace(connection=facts, folder=Path(facts["folder"]))
                cloud = client(server, sleep=time.sleep)
                cloud.folder = cloud.folder.with_name(facts["run"])
                cloud.grace = 10  # times 0.02: the server here has done all it will
                play(cloud, stage, **params)
        except BaseException:
            traceback.print_exc(file=file)
            return 1
    return 0


def spring(name: str, moment: str) -> None:
    """Have this process killed before or after it calls a function of `lib.config.writing`."""
    if not name:
        return
    real = getattr(writing, name)

    def trapped(*args: object, **named: object) -> None:
        if moment == "after":
            real(*args, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(writing, name, trapped)


def end_with(driver: int) -> None:
    """End this process soon after its parent has gone."""
    while os.getppid() == driver:
        time.sleep(0.05)
    os._exit(3)
