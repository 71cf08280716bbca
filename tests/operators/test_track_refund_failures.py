"""TrackRefundOperator: when the task fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_firstpromoter.exceptions import (
    AccessRefusedError,
    EventsFailedError,
    EventsRejectedError,
)
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.operators.tracking import outcomes, track_task
from tests.support import refund

pytestmark = pytest.mark.usefixtures("firstpromoter")


def test_task_succeeds_if_most_refunds_are_not_referred(sandbox: Sandbox) -> None:
    task = track_task(refunds=[refund(number) for number in range(100)])

    results = task.run()

    assert outcomes(results) == ["recorded"] * 10 + ["not_referred"] * 90
    assert task.summary["warnings"] == []


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [({"amount": 0}, "amount must be above zero"), ({"currency": "ZZZ"}, "Error. Currency blank or invalid.")],
    ids=["by-ourselves", "by-the-api"],
)
def test_rejected_row_fails_the_task_after_all_others_were_sent(
    wrong: dict[str, Any], reason: str, sandbox: Sandbox
) -> None:
    task = track_task(refunds=[refund(0), refund(1, **wrong), refund(2), refund(3)])

    with pytest.raises(EventsRejectedError) as failed:
        task.run()

    assert isinstance(failed.value, AirflowFailException), "no retry mends it"
    assert f"1 rejected: 're_1': {reason}" in str(failed.value)
    assert {recorded.event_id for recorded in sandbox.recorded()} == {"re_0", "re_2", "re_3"}
    assert outcomes(task.ti.pushed["return_value"]) == ["recorded", "rejected", "recorded", "recorded"]
    assert task.summary["outcomes"]["rejected"] == 1


@pytest.mark.parametrize(("max_rejected", "fails"), [(0, True), (1, True), (2, False), (None, False)])
def test_max_rejected_limits_the_rejected_rows(max_rejected: int | None, fails: bool) -> None:
    task = track_task(refunds=[refund(0), refund(1, amount=0), refund(2, amount=-1)], max_rejected=max_rejected)

    if fails:
        with pytest.raises(EventsRejectedError, match=rf"max_rejected={max_rejected}"):
            task.run()
    else:
        task.run()

    assert outcomes(task.ti.pushed["return_value"]) == ["recorded", "rejected", "rejected"]


def test_failed_refund_fails_the_task_and_airflow_retries(sandbox: Sandbox) -> None:
    sandbox.fault("status", status=502, event_id="re_1")
    given = [refund(0), refund(1), refund(2, amount=0)]
    task = track_task(refunds=given)

    with pytest.raises(EventsFailedError, match="1 failed: 're_1': answered 502") as failed:
        task.run()

    assert isinstance(failed.value, AirflowException)
    assert not isinstance(failed.value, AirflowFailException), "the retry takes it up, rejected rows or not"
    assert outcomes(task.ti.pushed["return_value"]) == ["recorded", "failed", "rejected"]

    retry = track_task(refunds=given, max_rejected=None)
    assert outcomes(retry.run()) == ["recorded", "recorded", "rejected"]
    assert [request.body["event_id"] for request in sandbox.refund_requests()[2:]] == ["re_1"]


def test_results_are_pushed_before_a_wrong_api_key_fails_the_task(connect: Callable[..., str]) -> None:
    connect(password="not-the-right-key", ledger_conn_id="ledger")
    task = track_task(refunds=[refund(0), refund(1)])

    with pytest.raises(AccessRefusedError):
        task.run()

    assert outcomes(task.ti.pushed["return_value"]) == ["pending", "pending"]
    assert task.summary["stopped_because"] == "FirstPromoter refused access"


def test_nothing_is_pushed_with_do_xcom_push_false() -> None:
    task = track_task(refunds=refund(0), do_xcom_push=False)

    assert task.run()["outcome"] == "recorded"
    assert task.ti.pushed == {}
