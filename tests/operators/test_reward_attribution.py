"""One commission, one report: the task run that reversed it passes its reward downstream, and no other does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.support import BOTH_SHAPES, Task, refund, refunds

pytestmark = [pytest.mark.usefixtures("firstpromoter"), BOTH_SHAPES]


def track(*rows: dict[str, Any], run_id: str = "one", try_number: int = 1, **parameters: Any) -> list[dict[str, Any]]:
    task = Task(
        TrackRefundOperator(task_id="track", refunds=list(rows), **parameters), run_id=run_id, try_number=try_number
    )
    results: list[dict[str, Any]] = task.run()
    return results


def rewards(results: list[dict[str, Any]]) -> list[int | None]:
    return [result["rewards"].get("cash") for result in results]


def test_result_names_the_task_run_that_reversed_the_commission() -> None:
    (recorded, unreferred) = track(refund(0), refund(99))

    assert recorded["reported_by"] == {"dag_id": "dag", "run_id": "one", "task_id": "track", "map_index": -1}
    assert unreferred["reported_by"] is None


def test_another_task_run_gets_the_result_without_its_reward() -> None:
    first = track(refund(0))

    second = track(refund(0), refund(1), run_id="two")

    assert rewards(first) == [-200]
    assert rewards(second) == [None, -200]
    assert [result["outcome"] for result in second] == ["recorded", "recorded"]
    assert [result["reported_by"]["run_id"] for result in second] == ["one", "two"]
    assert second[0]["firstpromoter_id"] == first[0]["firstpromoter_id"], "its ids are there"


def test_cleared_task_run_gets_the_same_rewards_whatever_ran_in_between() -> None:
    first = track(refund(0), refund(1))
    track(refund(0), refund(1), refund(2), run_id="two")

    again = track(refund(0), refund(1), try_number=2)

    assert again == [{**result, "sent": False} for result in first]
    assert rewards(again) == [-200, -200]


@pytest.mark.parametrize("number", range(3))
def test_two_racing_task_runs_report_each_reward_once_and_the_same_when_cleared(
    number: int, sandbox: Sandbox, at_once: Callable[..., list[Any]]
) -> None:
    sandbox.fault("latency", seconds=0.005, max_seconds=0.03, times=None)
    given = refunds(10)

    raced = at_once(lambda: track(*given, run_id="one"), lambda: track(*given[::-1], run_id="two"))

    one, two = raced[0], raced[1][::-1]
    for position, pair in enumerate(zip(one, two, strict=True)):
        assert sum(bool(result["commissions"]) for result in pair) == 1, position
        owners = {result["reported_by"]["run_id"] for result in pair}
        assert len(owners) == 1
        assert [bool(result["commissions"]) for result in pair] == [owners == {"one"}, owners == {"two"}]
    for run_id, rows, results in (("one", given, raced[0]), ("two", given[::-1], raced[1])):
        cleared = track(*rows, run_id=run_id, try_number=2)
        assert rewards(cleared) == rewards(results)
        assert [result["reported_by"] for result in cleared] == [result["reported_by"] for result in results]


def test_mapped_tasks_are_task_runs_of_their_own(sandbox: Sandbox) -> None:
    track(refund(0))
    task = Task(TrackRefundOperator(task_id="track", refunds=refund(0)), run_id="one")
    task.ti.map_index = 3

    result = task.run()

    assert (result["commissions"], result["reported_by"]["map_index"]) == ([], -1)


def test_reward_of_a_killed_run_is_reported_by_its_retry(sandbox: Sandbox) -> None:
    """The 200 came, and the worker was gone before it was written."""
    from airflow_provider_firstpromoter.hooks import FirstPromoterHook

    FirstPromoterHook().track_refund(refund(0))

    (result,) = track(refund(0), try_number=2)

    assert result["outcome"] == "already_recorded"
    assert result["rewards"]["cash"] == -200
    assert result["reported_by"]["run_id"] == "one"
