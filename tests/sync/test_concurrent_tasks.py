"""Two task runs that send the same refund at once, and what the ledger has of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_firstpromoter.refunds import Outcome, numbered
from airflow_provider_firstpromoter.sync import RefundSync
from tests.support import refund
from tests.sync.runs import Refunds, on_both


def run_with_meanwhile(sync: RefundSync, *rows: Any, meanwhile: Callable[[], None]) -> None:
    """Run to the end, and call something between FirstPromoter's first response and the ledger's commit of it."""
    waiting = [meanwhile]

    def call_once(*_: Any) -> None:
        if waiting:
            waiting.pop()()

    sync.run(numbered(rows), on_result=call_once)


@on_both
def test_lost_response_of_one_task_survives_the_404_of_another(track: Refunds) -> None:
    """One hears 404, then the sale comes, and the other's refund is recorded and its response lost."""
    first, second = track.make(), track.make()

    def record_and_lose_the_response() -> None:
        track.sandbox.add_lead(uid="cus_77")
        track.sandbox.fault("reset_after")
        second.run(numbered([refund(77)]))

    run_with_meanwhile(first, refund(77), meanwhile=record_and_lose_the_response)
    assert second.summary.outcomes[Outcome.FAILED] == 1
    assert len(track.sandbox.recorded()) == 1

    retry = track(refund(77))

    assert retry.outcomes == {"already_recorded": 1}
    assert track.stored() == {"re_77": "already_recorded"}
