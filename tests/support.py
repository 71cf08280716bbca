"""What tests of several rooms need."""

from __future__ import annotations

from typing import Any


class DagRun:
    """A DAG run that is over: its states, and what its tasks handed on."""

    def __init__(self, run: Any) -> None:
        self._instances = {(ti.task_id, ti.map_index): ti for ti in run.get_task_instances()}
        self.state = str(getattr(run.state, "value", run.state))
        #: By task_id; of a mapped task by ``task_id[map_index]``.
        self.states = {
            task_id if map_index < 0 else f"{task_id}[{map_index}]": str(getattr(ti.state, "value", ti.state))
            for (task_id, map_index), ti in self._instances.items()
        }

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """What a task pushed; None if nothing."""
        return self._instances[task_id, map_index].xcom_pull(task_ids=task_id, key=key, map_indexes=map_index)


def run(dag: Any, **params: Any) -> DagRun:
    """Run a DAG to its end, task after task, as ``airflow dags test`` does."""
    try:
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    except ImportError:
        dag.sync_to_db()
    else:
        DagBundlesManager().sync_bundles_to_db()
        bag = DagBag("/dev/null")
        bag.bag_dag(dag)
        sync_bag_to_db(bag, "dags-folder", None)
    return DagRun(dag.test(run_conf=params))
