"""Helpers for tests of more than one package."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

#: The query of most tests.
ALL_REFUNDS = "SELECT * FROM refunds"
#: Runs a test, or a module as its ``pytestmark``, with either shape of FirstPromoter's 200 to a refund.
BOTH_SHAPES = pytest.mark.parametrize("sandbox", ["older", "newer"], indirect=True)
#: Runs a test with refunds and with sales: its own argument ``call``, or that of its fixtures.
BOTH_CALLS = pytest.mark.parametrize("call", ["refund", "sale"], indirect=True)
#: Another API key of the account of the fixture ``sandbox``.
SECOND_KEY = "second-sandbox-api-key"
#: The kinds of databases on which the ledger is tested.
EVERY_DATABASE = ("sqlite", "postgresql", "mariadb", "duckdb")


#: The ledger with the sums of its commissions, as the view of statuses has them.
REFUNDS_WITH_REWARDS = """(
    SELECT l.*, r.reward_id, r.reward_amount, r.reward_unit, r.reward_status, r.promoter_id
    FROM firstpromoter_refunds l LEFT JOIN (
        SELECT event_id AS of_event, min(commission_id) AS reward_id, sum(amount) AS reward_amount,
            min(unit) AS reward_unit, min(CASE WHEN is_paid THEN 'paid' ELSE status END) AS reward_status,
            min(promoter_id) AS promoter_id
        FROM firstpromoter_refunds_commissions GROUP BY event_id
    ) r ON r.of_event = l.event_id
) refunds"""


def refund(number: int, *, digits: int = 1, **values: Any) -> dict[str, Any]:
    """
    Return the row of a refund for customer ``cus_<number>``.

    :param digits: the least number of digits in the event_id, so that event_ids can sort like numbers
    :param values: columns to add or to replace
    """
    return {"event_id": f"re_{number:0{digits}}", "amount": 1000 + number, "uid": f"cus_{number}", **values}


def refunds(count: int, start: int = 0, **values: Any) -> list[dict[str, Any]]:
    """Return consecutive refunds, each as :func:`refund` makes it."""
    return [refund(number, **values) for number in range(start, start + count)]


def refund_with_id(event_id: Any, amount: Any = 1000, **values: Any) -> dict[str, Any]:
    """Return the row of a refund for customer ``cus_1`` with this event_id, of any type."""
    return {"event_id": event_id, "amount": amount, "uid": "cus_1", **values}


def per_database(*kinds_and_cases: tuple[Any, ...]) -> list[Any]:
    """Return the parameters of a test with cases that differ by database: ``((kinds), sql, ...)`` each."""
    return [pytest.param(kind, *case, id=f"{kind}-{case[0]}") for kinds, *case in kinds_and_cases for kind in kinds]


def needs_locks(kind: str) -> None:
    """Skip a test of concurrent writers on Snowflake, whose emulator runs a MERGE as several statements."""
    if kind == "snowflake":
        pytest.skip("its emulator does not lock the table that a MERGE writes to, as Snowflake does")


def event_ids(rows: Any) -> list[Any]:
    return [row["event_id"] for row in rows]


def nonzero_outcomes(summary: dict[str, Any]) -> dict[str, int]:
    return {outcome: count for outcome, count in summary["outcomes"].items() if count}


def ledger_outcomes(database: Any) -> dict[str, str]:
    """Return each event_id's outcome in the ledger table, which must have one row for each."""
    rows = database.run("SELECT event_id, outcome FROM firstpromoter_refunds")
    assert len({event_id for event_id, _ in rows}) == len(rows)
    return dict(rows)


def shorten_retry_waits(set_attribute: Callable[[Any, str, float], None] = setattr) -> None:
    """
    Let the client try again almost at once, unless the server says when.

    :param set_attribute: sets a module's constant; for a test ``monkeypatch.setattr``
    """
    from airflow_provider_firstpromoter.api import client

    for name, seconds in {"BACKOFF": 0.01, "RATE_LIMIT_BACKOFF": 0.05}.items():
        set_attribute(client, f"FIRST_{name}", seconds)
        set_attribute(client, f"LONGEST_{name}", seconds)
    set_attribute(client, "SHORTEST_RETRY_AFTER", 0.05)
    set_attribute(client, "LONGEST_JITTER", 0.0)


def tracker(hook: Any, call: Any) -> Any:
    """Return the hook's method for a call."""
    return getattr(hook, f"track_{call.name}")


class TaskInstance:
    """The part of Airflow's ``TaskInstance`` that operators use; XComs must be plain JSON."""

    dag_id = "dag"
    map_index = -1
    max_tries = 0

    def __init__(self, task_id: str = "task", *, run_id: str = "manual__1", try_number: int = 1) -> None:
        self.task_id = task_id
        self.run_id = run_id
        self.try_number = try_number
        #: The XComs by key.
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))

    def get_first_reschedule_date(self, _: Any) -> None:
        return None


def _allow_execute_in_this_thread() -> None:
    """Airflow 2 guards against nested operators with a variable that it sets in the main thread alone."""
    guard = getattr(sys.modules.get("airflow.models.baseoperator"), "ExecutorSafeguard", None)
    if guard is not None:
        vars(guard)["_sentinel"].__dict__.setdefault("callers", {})


class Task:
    """An operator that runs as a task, with the XComs that it pushed even if it failed."""

    def __init__(self, operator: Any, **task_instance: Any) -> None:
        self.operator = operator
        self.ti = TaskInstance(operator.task_id, **task_instance)

    def run(self, **context: Any) -> Any:
        _allow_execute_in_this_thread()
        return self.operator.execute({"ti": self.ti, **context})

    @property
    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = self.ti.pushed["summary"]
        return summary


class DagRun:
    """A DAG run that is over: its states, and what its tasks pushed to XCom."""

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
    _store(dag)
    return DagRun(dag.test(run_conf=params))


def _store(dag: Any) -> None:
    """Write a DAG into Airflow's database, as its DAG processor does."""
    try:
        from airflow.dag_processing.bundles.manager import DagBundlesManager
    except ImportError:  # Airflow 2
        dag.sync_to_db()
        return
    DagBundlesManager().sync_bundles_to_db()
    try:
        module: Any = importlib.import_module("airflow.dag_processing.dagbag")
    except ImportError:  # Airflow 3.0 and 3.1
        module = importlib.import_module("airflow.models.dagbag")
    bag = module.DagBag("/dev/null")
    bag.bag_dag(dag)
    if hasattr(module, "sync_bag_to_db"):
        module.sync_bag_to_db(bag, "dags-folder", None)
    else:  # Airflow 3.0
        dag.relative_fileloc = "dag.py"
        bag.sync_to_db("dags-folder", None)
