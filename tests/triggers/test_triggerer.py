"""A real triggerer, in which ten sensors wait beside a trigger of Airflow's own."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator
from airflow.providers.common.compat.standard.triggers import TimeDeltaTrigger
from airflow.utils.session import create_session

from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.triggers.unrecorded import UnrecordedTrigger
from dev.processes import running, wait_for
from tests.sensors.waiting import WHERE, refund

SENSORS = 10
#: Seconds. Where threads read connections as Airflow 3.0 to 3.2.1 do not allow, the triggerer ended within ten.
WAIT = 12
#: Seconds that a trigger of Airflow's own may be late: the machine may be busy.
LATE = 30
#: Seconds that the triggerer may take to start, or to notice something.
PATIENCE = 120
OWN = "airflows_own"


@pytest.fixture
def store_connections(airflow_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Moves the connections of a test from the environment into Airflow's database: a trigger has to ask for them."""
    from airflow.models.connection import Connection

    conn_ids: list[str] = []

    def store(*names: str) -> None:
        conn_ids.extend(names)
        with create_session() as session:
            for conn_id in names:
                variable = f"AIRFLOW_CONN_{conn_id.upper()}"
                session.add(Connection.from_json(os.environ[variable], conn_id=conn_id))
                monkeypatch.delenv(variable)

    yield store
    with create_session() as session:
        session.query(Connection).filter(Connection.conn_id.in_(conn_ids)).delete()


class Nothing(BaseOperator):
    def execute(self, context: Any) -> None:
        pass


class WaitingTasks:
    """The tasks of a DAG run, which wait in the triggerer."""

    def __init__(self, run_dag: Callable[..., Any], task_ids: Iterable[str]) -> None:
        with DAG("waits", schedule=None, start_date=pendulum.datetime(2025, 1, 1, tz="UTC")) as dag:
            for task_id in task_ids:
                Nothing(task_id=task_id)
        run_dag(dag)

    @contextmanager
    def _task_instances(self) -> Iterator[Any]:
        from airflow.models.taskinstance import TaskInstance

        with create_session() as session:
            yield session.query(TaskInstance).filter(TaskInstance.dag_id == "waits")

    def defer(self, triggers: dict[str, Any]) -> None:
        """Let each task wait for its trigger, as a task does that defers itself."""
        from airflow.models.trigger import Trigger

        for task_id, trigger in triggers.items():
            row = Trigger.from_object(trigger)  # before the session: it closes Airflow 2's
            with self._task_instances() as tasks:
                tasks.session.add(row)
                tasks.session.flush()
                tasks.filter_by(task_id=task_id).update(
                    {
                        "state": "deferred",
                        "trigger_id": row.id,
                        "next_method": "execute_complete",
                        "next_kwargs": {},
                    },
                    synchronize_session=False,
                )

    def events(self) -> dict[str, Any]:
        """Return the event of each task whose trigger has fired; None for one that failed."""
        with self._task_instances() as tasks:
            return {task.task_id: (task.next_kwargs or {}).get("event") for task in tasks if task.state != "deferred"}


def all_started() -> bool:
    """Return whether the triggerer has taken on every trigger."""
    from airflow.models.trigger import Trigger

    with create_session() as session:
        return not session.query(Trigger).filter(Trigger.triggerer_id.is_(None)).count()


def has_triggerer() -> bool:
    """Return whether a triggerer has reported to Airflow's database."""
    from airflow.jobs.job import Job

    with create_session() as session:
        return bool(session.query(Job).filter(Job.job_type == "TriggererJob").count())


def test_triggerer_with_ten_sensors_wakes_each_and_keeps_airflows_own_trigger_on_time(
    firstpromoter: Sandbox,
    sqlite: Any,
    store_connections: Callable[..., None],
    run_dag: Callable[..., Any],
    tmp_path: Path,
) -> None:
    sqlite.fill([])
    store_connections("firstpromoter_default", "warehouse")
    sensors = [f"find_{number}" for number in range(SENSORS)]
    waiting = WaitingTasks(run_dag, [*sensors, OWN])
    command = [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"]
    with running(
        command, env=os.environ, log=tmp_path / "triggerer.log", name="The triggerer", stop_signal=signal.SIGKILL
    ) as triggerer:
        wait_for(has_triggerer, "The start", triggerer, timeout=PATIENCE)
        end = time.time() + 3600
        waiting.defer({name: UnrecordedTrigger(**WHERE, end_time=end, poke_interval=1) for name in sensors})
        wait_for(all_started, "The start of the triggers", triggerer, timeout=PATIENCE)
        moment = pendulum.now("UTC") + timedelta(seconds=WAIT)
        waiting.defer({OWN: TimeDeltaTrigger(timedelta(seconds=WAIT))})

        wait_for(waiting.events, "The wait", triggerer, timeout=WAIT + PATIENCE)
        assert pendulum.now("UTC") - moment < timedelta(seconds=LATE)
        assert waiting.events().keys() == {OWN}, waiting.events()
        sqlite.fill([refund(1)])

        wait_for(lambda: len(waiting.events()) == SENSORS + 1, "A sensor", triggerer, timeout=PATIENCE)
    events = waiting.events()
    assert [events[name] for name in sensors] == [{"status": "pending", "end_time": end}] * SENSORS
