"""Clusters on Apache Airflow: a folder of parameter files is a fleet, a task runs a stage.

A file for Airflow's DAG folder; without the two words of its comment Airflow passes it over:

    # An Airflow DAG.
    from lib.fleet import Fleet, cluster_dag, drift_dag, fleet_dag

    fleet_dag("fleet", "/srv/clusters", Fleet(runs="/srv/runs", connection="cloudstack"))

Airflow has an environment of its own (`requirements-airflow.txt`), in which this room needs nothing
of the project's but its path; a task is `runbook run --stages NN --run ID` in the project's.
"""

from lib.fleet.dags import cluster_dag, drift_dag, fleet_dag
from lib.fleet.task import Fleet

__all__ = ["Fleet", "cluster_dag", "dags", "drift_dag", "fleet_dag", "task"]
