"""SqlToFirstPromoterOperator: each reward is reported by one task run, and by the same one when it is cleared."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.support import ALL_REFUNDS, BOTH_SHAPES, Task, nonzero_outcomes
from tests.transfers.syncing import refund, refunds, sync_task

pytestmark = BOTH_SHAPES

MONTH = timedelta(days=30)
SAME = ("outcomes", "rewards", "amounts", "rewards_unknown", "without_sale_event_id")


def a_day_earlier(warehouse: Any, event_id: str) -> None:
    """Make a refund's times in the ledger older."""
    for column in ("first_sent_at", "last_sent_at"):
        ((at,),) = warehouse.run(f"SELECT {column} FROM firstpromoter_refunds WHERE event_id = '{event_id}'")
        before = (datetime.fromisoformat(str(at)) - timedelta(days=1)).isoformat(sep=" ", timespec="microseconds")
        warehouse.run(f"UPDATE firstpromoter_refunds SET {column} = '{before}' WHERE event_id = '{event_id}'")


def rewards(task: Task) -> dict[str, int]:
    return {result["event_id"]: result["rewards"]["cash"] for result in task.ti.pushed["rewards"]}


def test_cleared_run_has_its_own_rewards_after_another_run_recorded_one_of_its_refunds(
    warehouse: Any, sandbox: Sandbox
) -> None:
    warehouse.fill([*refunds(3), refund(77)])
    first = sync_task(recheck_unreferred=MONTH)
    first.run()
    assert nonzero_outcomes(first.summary) == {"recorded": 3, "not_referred": 1}
    a_day_earlier(warehouse, "re_00077")
    sandbox.add_lead(uid="cus_77")
    second = sync_task(recheck_unreferred=MONTH, run_id="manual__2")
    second.run()
    assert rewards(second).keys() == {"re_00077"}
    before = len(sandbox.refund_requests())

    for task, run_id, outcomes in ((first, "manual__1", {"recorded": 3}), (second, "manual__2", {"recorded": 1})):
        cleared = sync_task(recheck_unreferred=MONTH, run_id=run_id)
        cleared.run()
        assert nonzero_outcomes(cleared.summary) == outcomes, "a refund counts in the run that decided it last"
        assert {name: cleared.summary[name] for name in SAME[1:]} == {name: task.summary[name] for name in SAME[1:]}
        assert cleared.ti.pushed["rewards"] == task.ti.pushed["rewards"]
    assert len(sandbox.refund_requests()) == before


def test_run_that_rechecks_its_own_refund_counts_it_once(warehouse: Any, sandbox: Sandbox) -> None:
    """The same task run is cleared a day later, and the sale is there."""
    warehouse.fill([refund(0), refund(77)])
    sync_task(recheck_unreferred=MONTH).run()
    a_day_earlier(warehouse, "re_00077")
    sandbox.add_lead(uid="cus_77")

    cleared = sync_task(recheck_unreferred=MONTH)
    summary = cleared.run()

    assert nonzero_outcomes(summary) == {"recorded": 2}
    assert rewards(cleared).keys() == {"re_00000", "re_00077"}
    assert summary["rewards"] == {"cash": sum(rewards(cleared).values())}


def test_retry_looks_up_the_rewards_of_what_the_killed_try_recorded(warehouse: Any, sandbox: Sandbox) -> None:
    """The worker was gone (SIGKILL) after the 200 of two refunds, and before they were written."""
    warehouse.fill([refund(0)])
    sync_task().run()  # the first try got as far as this
    warehouse.fill(refunds(4, start=1))
    for number in (1, 3):
        FirstPromoterHook().track_refund(refund(number))

    retry = sync_task()
    summary = retry.run()

    assert nonzero_outcomes(summary) == {"recorded": 3, "already_recorded": 2}
    assert summary["rewards_unknown"] == 0
    assert rewards(retry) == {recorded.event_id: recorded.reward_amount for recorded in sandbox.recorded()}
    assert summary["rewards"] == {"cash": sum(rewards(retry).values())}


def test_first_try_looks_no_reward_up(warehouse: Any, sandbox: Sandbox) -> None:
    """A ledger that was lost would cost a request for each refund."""
    warehouse.fill(refunds(3))
    for number in range(3):
        FirstPromoterHook().track_refund(refund(number))

    summary = sync_task().run()

    assert nonzero_outcomes(summary) == {"already_recorded": 3}
    assert summary["rewards_unknown"] == 3
    assert "GET /api/v2/company/commissions" not in sandbox.request_counts()


@pytest.mark.parametrize("recover", [True, False])
def test_recover_rewards_says_whether_rewards_are_looked_up(recover: bool, sqlite: Any) -> None:
    sqlite.fill(refunds(1))
    FirstPromoterHook().track_refund(refund(0))
    task = sync_task(recover_rewards=recover)
    task.run()
    assert (task.ti.pushed["rewards"] != []) is recover


def test_two_racing_runs_report_each_reward_once(
    warehouse: Any, sandbox: Sandbox, at_once: Callable[..., list[Any]]
) -> None:
    sandbox.fault("latency", seconds=0.005, max_seconds=0.03, times=None)
    warehouse.fill(refunds(10))
    tasks = [
        sync_task(f"{ALL_REFUNDS} ORDER BY event_id {order}", run_id=f"manual__{order}", recover_rewards=True)
        for order in ("ASC", "DESC")
    ]

    at_once(*(task.run for task in tasks))

    one, other = (rewards(task) for task in tasks)
    assert not one.keys() & other.keys()
    assert one.keys() | other.keys() == {recorded.event_id for recorded in sandbox.recorded()}
    assert len(sandbox.recorded()) == 10
    for task, own in zip(tasks, (one, other), strict=True):
        assert task.summary["rewards"].get("cash", 0) == sum(own.values())
        cleared = sync_task(run_id=task.ti.run_id, recover_rewards=True)
        cleared.run()
        assert rewards(cleared) == own
        assert cleared.summary["rewards"] == task.summary["rewards"]
