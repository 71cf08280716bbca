"""The example DAG that reverts a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.end_to_end.test_dags import example, refund


def without_retries(name: str) -> Any:
    """Return an example DAG whose tasks fail at once, instead of waiting for a retry."""
    dag = example(name)
    for task in dag.tasks:
        task.retries = 0
    return dag


def test_refund_revert(firstpromoter: Sandbox, new_database: Callable[..., Any], run_dag: Callable[..., Any]) -> None:
    """Preview, one refund, a refused number, the run, and a sync that sends nothing of it again."""
    warehouse = new_database("sqlite", "warehouse")
    rows = [refund(number, status="succeeded", refunded_at="2025-11-01") for number in range(10)]
    warehouse.fill(rows, status="VARCHAR(20)", refunded_at="VARCHAR(20)")
    firstpromoter.change_settings(batch_polls=1)
    run_dag(without_retries("refund_sync"))
    ((run_id,),) = warehouse.run("SELECT DISTINCT run_id FROM firstpromoter_refunds")

    preview = run_dag(without_retries("refund_revert"), run_id=run_id)

    assert preview.states == {"revert": "success"}
    report = preview.xcom("revert")
    assert (report["preview"], report["to_revert"], report["to_deny"]) == (True, 10, {"cash": -2000})
    assert {one.reward_status for one in firstpromoter.recorded()} == {"approved"}

    one = run_dag(without_retries("refund_revert"), event_ids=["re_3"], preview=False, max_reverted=1)

    assert one.xcom("revert")["reverted"] == 1
    assert [one.event_id for one in firstpromoter.recorded() if one.reward_status == "denied"] == ["re_3"]

    refused = run_dag(without_retries("refund_revert"), run_id=run_id, preview=False, max_reverted=8)

    assert refused.states == {"revert": "failed"}
    assert refused.xcom("revert", "summary")["to_revert"] == 9

    reverted = run_dag(without_retries("refund_revert"), run_id=run_id, preview=False, max_reverted=9)

    assert reverted.xcom("revert")["reverted"] == 9
    assert sum(balance.amount for balance in firstpromoter.balances()) == 0
    requests = len(firstpromoter.refund_requests())
    again = run_dag(without_retries("refund_sync"))
    assert again.states == {"sync_refunds": "success"}
    assert len(firstpromoter.refund_requests()) == requests
