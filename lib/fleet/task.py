"""A task: one command of `runbook` in the project's environment, and what its end means to Airflow.

Imports Airflow only when a task runs, so that this module can be read without it.
"""

import ctypes
import json
import os
import re
import signal
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
STAGES = ("00", "10", "11", "20", "30", "40", "41", "42", "50", "60")
# Exit codes that a second look may mend: a kernel that died, a cell that took too long, another run
# at work on the cluster, and the three signals. A failed stage (1) is told apart by its error.
PASSING = (3, 4, 8, 129, 130, 143, -signal.SIGKILL, -signal.SIGTERM)
FAILED = 1
CHANGES = 7  # of `runbook drift`
# Errors of a stage that a second look may mend, by the class that `lib.errors` gives them; 429 is
# CloudStack's API_LIMIT_EXCEED.
PASSING_ERRORS = re.compile(
    r"(Unreachable|JobTimeout|JobFailed|Incomplete|OutOfSight|DeadKernelError)\b"
    r"|Refused: .*\((429|503)\)"
)
PR_SET_PDEATHSIG = 1  # of prctl(2)


@dataclass(frozen=True)
class Fleet:
    """How the clusters of a DAG are run.

    `runs` is the folder of their records, on storage that all workers share where there is any.
    `connection` is an Airflow connection whose host is the endpoint of the cloud, and whose login
    and password are the API key and its secret; "" leaves it to the profile of the parameter files.
    `pool` bounds how many stages are at work at one cloud at once; a task is tried `retries` times
    more, `retry_delay` apart, where that may help.
    """

    project: str | Path = PROJECT
    runs: str | Path = PROJECT / "runs"
    stages: Sequence[str] = STAGES
    connection: str = ""
    pool: str = "default_pool"
    retries: int = 2
    retry_delay: timedelta = timedelta(seconds=30)

    @property
    def task_options(self) -> dict:
        """Return what all tasks that ask the cloud have in common."""
        return {"pool": self.pool, **self.retrying}

    @property
    def retrying(self) -> dict:
        """Return how often a task is tried: a worker may die in any of them."""
        return {"retries": self.retries, "retry_delay": self.retry_delay}


def run_name(file: str | Path, since: datetime) -> str:
    """Return the name of the record of a cluster in a run of a DAG, the same for all its tasks.

    A number stands behind a name that is changed for it, so that `a b` and `a-b` have two.
    """
    stem = Path(file).stem
    safe = re.sub(r"[^\w.-]+", "-", stem).strip(".-")[:70]
    number = "" if safe == stem else f"-{zlib.crc32(stem.encode()):08x}"
    return f"{since:%Y%m%d-%H%M%S}-{safe}{number}"


def run_stage(how: Fleet, file: str, number: str, since: datetime) -> None:
    """Run one stage of the cluster of a parameter file, its output in the task's log.

    Raises AirflowException where trying again may help, AirflowFailException where it does not.
    """
    name = run_name(file, since)
    words = ["run", file, "--stages", number, "--run", name, "--runs", str(how.runs)]
    code = runbook(how, words)
    folder = Path(how.runs) / name
    if (report := folder / "report.html").exists():
        print(f"Report: {report.absolute().as_uri()}")
    raise_for(code, f"stage {number} of {file}", last_error(folder))


def runbook(how: Fleet, words: Sequence[str]) -> int:
    """Run a command of `runbook`, print what it prints, and return its exit code.

    It is told to end (SIGTERM) when the task is killed, so that no two work on one cluster.
    """
    secrets = of_connection(how.connection) if how.connection else {}
    options = ["-p", "profile=env"] if secrets and words[0] in ("run", "drift") else []
    command = [str(Path(how.project) / ".venv/bin/runbook"), *words, *options]
    process = subprocess.Popen(
        command,
        cwd=how.project,
        env={**os.environ, **secrets, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=_end_with_parent,
    )
    with process:
        for line in process.stdout or ():
            print(line, end="")
    return process.returncode


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def of_connection(name: str) -> Mapping[str, str]:
    """Return the environment that gives the profile `env` the keys of an Airflow connection."""
    from airflow.sdk import Connection

    given = Connection.get(name)
    scheme = f"{given.conn_type}://" if given.conn_type in ("http", "https") else ""
    host = given.host or ""
    return {
        "CLOUDSTACK_ENDPOINT": host if "://" in host else f"{scheme or 'https://'}{host}",
        "CLOUDSTACK_KEY": given.login or "",
        "CLOUDSTACK_SECRET": given.password or "",
    }


def last_error(folder: Path) -> str:
    """Return the error of the last stage that ended in a run's folder, "" where there is none."""
    try:
        lines = (folder / "events.jsonl").read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    for line in reversed(lines):
        if '"stage-ended"' in line:
            return str(json.loads(line).get("error", ""))
    return ""


def is_passing(code: int, error: str) -> bool:
    """Return whether a second look may mend what an exit code and the error of a stage tell.

    >>> is_passing(1, "Unreachable: listZones: no answer"), is_passing(2, "")
    (True, False)
    """
    return code in PASSING or (code == FAILED and bool(PASSING_ERRORS.match(error)))


def raise_for(code: int, what: str, error: str = "") -> None:
    """Raise what Airflow retries, or what it does not, for an exit code that is not 0."""
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    if code == 0:
        return
    text = f"{what} ended with exit code {code}" + (f": {error}" if error else "")
    if is_passing(code, error):
        raise AirflowException(f"{text}. A second look may mend it.")
    raise AirflowFailException(f"{text}. Trying again does not help.")
