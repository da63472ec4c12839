"""The report of a fleet: a line for each parameter file of a folder, a column for each stage."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lib.record import ledger, whole
from lib.record.faults import BadInput
from lib.report import past
from lib.report.attempts import Attempt, when
from lib.report.words import clock
from lib.waiting import span

FILE = "fleet.html"
NO_RUN = "no run"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Cluster:
    """A cluster: its parameter file, its name, and its newest run, None where there is none."""

    file: Path
    name: str
    run: past.Past | None
    fault: str = ""  # why the file cannot be read

    @property
    def outcome(self) -> str:
        """Return how its newest run ended."""
        return UNREADABLE if self.fault else self.run.cause if self.run else NO_RUN

    @property
    def stages(self) -> dict[str, Attempt]:
        """Return the last attempt at each stage of the run, by the stage's number."""
        return {a.stage[:2]: a for a in self.run.stages} if self.run else {}

    @property
    def error(self) -> str:
        """Return what went wrong, in one line."""
        stopped = self.run.stopped if self.run else None
        text = self.fault or (stopped.error if stopped else "")
        return text.strip().partition("\n")[0]

    @property
    def took(self) -> str:
        """Return how long all attempts of the run took together."""
        return span(self.run.seconds) if self.run else ""

    @property
    def began(self) -> str:
        """Return when the run began."""
        return clock(self.run.started, seconds=False) if self.run else ""

    @property
    def link(self) -> str:
        """Return the report of the run, beside whose folder the page stands."""
        return f"{quote(self.run.folder.name)}/report.html" if self.run else ""


def clusters(folder: Path, runs: Path) -> list[Cluster]:
    """Return the clusters of the parameter files (*.yaml) of a folder, each with its newest run.

    Raises BadInput where there is no parameter file in it.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise BadInput([f"{folder}: expected parameter files (*.yaml), found none"])
    newest: dict[str, past.Past] = {}
    for found in past.folders(runs):
        try:
            run = past.read(found, files=("events",))
        except (OSError, BadInput):
            continue  # `runbook list` names it as damaged
        if run.origins.get("profile") == "rehearsal":
            continue  # of a copy of its cloud
        name = str(run.params.get("cluster_name", ""))
        if name not in newest or _begun(run) > _begun(newest[name]):
            newest[name] = run
    return [_cluster(file, newest) for file in files]


def _begun(run: past.Past) -> float:
    """Return when a run was begun or gone on with; its name may tell the time of another zone."""
    begun = [when(e) for e in run.events if e.get("event") in ledger.BEGINNINGS]
    return max((at.timestamp() for at in begun if at), default=0.0)


def _cluster(file: Path, newest: dict[str, past.Past]) -> Cluster:
    try:
        name = str(whole.from_yaml(whole.text(file))["cluster_name"])
    except (OSError, ValueError, LookupError, TypeError):
        fault = f"{file.name}: expected YAML with a line `cluster_name: …`, found none"
        return Cluster(file, file.stem, None, fault)
    return Cluster(file, name, newest.get(name))


def write(folder: Path, runs: Path) -> tuple[Path, list[Cluster]]:
    """Write the page beside the folders of the runs; return its path and the clusters."""
    from lib.report import page

    found = clusters(folder, runs)
    numbers = sorted({number for c in found for number in c.stages})
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = page.render("fleet.html.j2", fleet=folder.name, clusters=found, numbers=numbers)
    return whole.write(runs / FILE, text), found
