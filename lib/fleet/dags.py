"""DAGs: a task group for each cluster, a task for each stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.fleet import task as tasks
from lib.fleet.task import Fleet

if TYPE_CHECKING:
    from airflow.sdk import DAG


def cluster_dag(dag_id: str, file: str | Path, how: Fleet | None = None, **options: Any) -> DAG:
    """Return a DAG that builds the cluster of one parameter file, a task for each stage.

    `options` are those of a DAG, as its schedule.
    """
    from airflow.sdk import DAG

    how = how or Fleet()
    with DAG(dag_id, **_defaults(how) | options) as dag:
        _stages(how, str(file))
    return dag


def fleet_dag(dag_id: str, folder: str | Path, how: Fleet | None = None, **options: Any) -> DAG:
    """Return a DAG that builds the clusters of all parameter files (*.yaml) of a folder.

    The files are looked for when it runs. One that cannot be run stops no other, and fails the run
    of the DAG; the last task writes the report of the fleet all the same.
    """
    from airflow.sdk import DAG, task, task_group

    how = how or Fleet()
    with DAG(dag_id, **_defaults(how) | options) as dag:

        @task(**how.retrying)
        def files() -> list[str]:
            return _files(folder)

        @task_group
        def cluster(file: str) -> None:
            _stages(how, file)

        @task(**how.retrying)
        def report() -> None:
            words = ["fleet", "report", str(folder), "--runs", str(how.runs)]
            tasks.raise_for(tasks.runbook(how, words), "the report of the fleet")

        # A teardown: it runs whatever the clusters came to, and does not decide on the run's state.
        cluster.expand(file=files()) >> report().as_teardown()
    return dag


def drift_dag(dag_id: str, folder: str | Path, how: Fleet | None = None, **options: Any) -> DAG:
    """Return a DAG that looks, for each parameter file of a folder, for what a run would change.

    It changes nothing. A task whose cluster differs from its file fails and says what differs.
    """
    from airflow.sdk import DAG, task

    how = how or Fleet()
    with DAG(dag_id, **_defaults(how) | options) as dag:

        @task(**how.retrying)
        def files() -> list[str]:
            return _files(folder)

        @task(map_index_template="{{ cluster }}", **how.task_options)
        def drift(file: str) -> None:
            _name_cluster(file)
            code = tasks.runbook(how, ["drift", file, "--runs", str(how.runs)])
            tasks.raise_for(code, f"{file} has drifted" if code == tasks.CHANGES else file)

        drift.expand(file=files())
    return dag


def _defaults(how: Fleet) -> dict[str, Any]:
    return {"schedule": None, "catchup": False, "tags": ["runbook"]}


def _files(folder: str | Path) -> list[str]:
    """Return the parameter files of a folder. Raises FileNotFoundError where it has none."""
    found = sorted(str(path) for path in Path(folder).glob("*.yaml"))
    if not found:
        raise FileNotFoundError(f"{folder}: expected parameter files (*.yaml), found none")
    return found


def _stages(how: Fleet, file: Any) -> None:
    """Add a task for each stage, one after the other."""
    from airflow.sdk import get_current_context, task

    @task(map_index_template="{{ cluster }}", **how.task_options)
    def stage(file: str, number: str) -> None:
        _name_cluster(file)
        since = get_current_context()["dag_run"].run_after
        tasks.run_stage(how, file, number, since)

    before = None
    for number in how.stages:
        ran = stage.override(task_id=f"stage_{number}")(file, number)
        if before is not None:
            before >> ran
        before = ran


def _name_cluster(file: str) -> None:
    """Name the mapped task by its parameter file."""
    from airflow.sdk import get_current_context

    get_current_context()["cluster"] = Path(file).stem
