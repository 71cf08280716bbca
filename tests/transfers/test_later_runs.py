"""SqlToFirstPromoterOperator after an earlier run: retries, cleared tasks, changed rows and late sales."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import (
    EventsFailedError,
    EventsRejectedError,
)
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.support import BOTH_SHAPES, ledger_outcomes, nonzero_outcomes
from tests.transfers.syncing import refund, refunds, sent, sync_task


def test_retry_after_a_failure_sends_the_rest_and_pushes_all_results(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill(refunds(30))
    for number in range(8, 30):
        sandbox.fault("status", status=503, event_id=f"re_{number:05}")
    task = sync_task(max_in_flight=1)

    with pytest.raises(EventsFailedError, match="10 refunds failed in a row"):
        task.run()

    outcomes = nonzero_outcomes(task.summary)
    recorded, failed = outcomes.get("recorded", 0), outcomes["failed"]
    assert sum(outcomes.values()) == 30
    assert failed >= 10, "the database decides in which order they come, and so how many fail before ten in a row"
    assert len(task.ti.pushed["rewards"]) == recorded
    assert sorted(ledger_outcomes(warehouse).values()) == ["failed"] * failed + ["recorded"] * recorded
    sandbox.clear_faults()
    before = len(sent(sandbox))

    retry = sync_task()
    summary = retry.run()

    assert len(sent(sandbox)) - before == 30 - recorded
    assert nonzero_outcomes(summary) == {"recorded": 10, "not_referred": 20}, "the first try's are among them"
    assert len(retry.ti.pushed["rewards"]) == 10
    assert len(sandbox.recorded()) == 10


@BOTH_SHAPES
def test_cleared_task_pushes_the_same_counts_and_rewards_without_a_request(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill([*refunds(15), refund(3, amount=1003), refund(20, amount=-1)])
    first = sync_task(max_rejected=None)
    first.run()
    before = len(sandbox.refund_requests())

    cleared = sync_task(max_rejected=None)
    cleared.run()

    assert len(sandbox.refund_requests()) == before
    assert cleared.ti.pushed["rewards"] == first.ti.pushed["rewards"]
    for name in ("outcomes", "rewards", "amounts", "rewards_unknown", "without_sale_event_id", "problems"):
        assert cleared.summary[name] == first.summary[name], name


def test_another_run_pushes_only_its_own_results(sqlite: Any) -> None:
    sqlite.fill(refunds(3))
    sync_task().run()
    sqlite.fill(refunds(2, start=3))
    task = sync_task(run_id="manual__2")

    summary = task.run()

    assert nonzero_outcomes(summary) == {"recorded": 2}
    assert [result["event_id"] for result in task.ti.pushed["rewards"]] == ["re_00003", "re_00004"]


def test_settled_refund_with_another_amount_is_read_and_reported(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill(refunds(5))
    sync_task().run()
    warehouse.run("UPDATE refunds SET amount = 7777 WHERE event_id = 're_00003'")
    task = sync_task(run_id="manual__2")

    with pytest.raises(EventsRejectedError, match=r"1 changed: 're_00003': is recorded with amount 1003, .* 7777"):
        task.run()

    assert nonzero_outcomes(task.summary) == {"changed": 1}
    assert len(sandbox.refund_requests()) == 5


@pytest.mark.parametrize("wrong", [{"currency": "ZZZ"}, {"amount": -1}], ids=["by-the-api", "by-ourselves"])
def test_rejected_row_sends_at_most_one_request_and_fails_until_corrected(
    wrong: dict[str, Any], warehouse: Any, sandbox: Sandbox
) -> None:
    warehouse.fill([refund(0), refund(1, **wrong), refund(2)])
    for number in range(3):
        task = sync_task(run_id=f"manual__{number}", fail_on="any")
        with pytest.raises(EventsRejectedError, match="1 rejected: 're_00001'"):
            task.run()
        assert task.summary["outcomes"]["rejected"] == 1
    assert sorted(sent(sandbox)) == ["re_00000", *(["re_00001"] if "currency" in wrong else []), "re_00002"]

    warehouse.run("UPDATE refunds SET currency = 'USD', amount = 5 WHERE event_id = 're_00001'")

    assert nonzero_outcomes(sync_task(run_id="manual__9").run()) == {"recorded": 1}


def test_late_sale_is_found_the_next_day(warehouse: Any, sandbox: Sandbox) -> None:
    """A refund, 404, its sale, the next day's run, a reward."""
    month = timedelta(days=30)
    warehouse.fill([refund(77)])
    assert nonzero_outcomes(sync_task(recheck_unreferred=month).run()) == {"not_referred": 1}
    sandbox.add_lead(uid="cus_77")
    assert sync_task(recheck_unreferred=month, run_id="manual__2").run()["requests"] == 0, "not on the same day"
    for column in ("first_sent_at", "last_sent_at"):
        ((at,),) = warehouse.run(f"SELECT {column} FROM firstpromoter_refunds")
        yesterday = (datetime.fromisoformat(str(at)) - timedelta(days=1)).isoformat(sep=" ", timespec="microseconds")
        warehouse.run(f"UPDATE firstpromoter_refunds SET {column} = '{yesterday}'")

    task = sync_task(recheck_unreferred=month, run_id="manual__3")
    summary = task.run()

    assert nonzero_outcomes(summary) == {"recorded": 1}
    assert summary["rechecked"] == 1
    assert [result["event_id"] for result in task.ti.pushed["rewards"]] == ["re_00077"]
