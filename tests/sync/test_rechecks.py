"""Refunds that came before their sale, and are sent again with ``recheck_unreferred``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sync import log_text
from tests.support import refund, refunds
from tests.sync.runs import A_MONTH, Refunds, Run, on_both


def would(run: Run) -> dict[str, Any]:
    """What would be sent, as it comes out of XCom."""
    told: dict[str, Any] = json.loads(json.dumps(run.summary.to_json()))["would_be_sent"]
    return told


@on_both
def test_refund_before_its_sale_is_sent_again_the_next_day(track: Refunds) -> None:
    late = refund(77)
    assert track(late, recheck_unreferred=A_MONTH).outcomes == {"not_referred": 1}
    track.sandbox.add_lead(uid="cus_77")
    track.let_days_pass(1)
    track.sent()

    run = track(late, recheck_unreferred=A_MONTH)

    assert track.sent() == ["re_77"]
    assert (run.outcomes, run.summary.rechecked) == ({"recorded": 1}, 1)
    assert run.results[0].commissions
    assert track.stored() == {"re_77": "recorded"}


def test_not_referred_refund_is_settled_without_recheck_unreferred(track: Refunds) -> None:
    track(refund(77))
    track.let_days_pass(10)
    track.sent()

    assert track(refund(77)).summary.skipped == 1
    assert track.sent() == []


@on_both
def test_refund_is_rechecked_once_a_day(track: Refunds) -> None:
    sent = []
    for _ in range(3):  # days
        for _ in range(3):  # runs
            track(refund(77), recheck_unreferred=A_MONTH)
            sent.append(len(track.sent()))
        track.let_days_pass(1)

    assert sent == [1, 0, 0] * 3


def test_refund_is_rechecked_only_within_the_period(track: Refunds) -> None:
    track(refund(77), recheck_unreferred=A_MONTH)
    sent = []
    for _ in range(4):
        track.let_days_pass(10)
        track.sent()
        track(refund(77), recheck_unreferred=A_MONTH)
        sent.append(len(track.sent()))

    assert sent == [1, 1, 0, 0], "the month counts from the first time that it was sent"


@on_both
def test_backfilled_refund_is_not_rechecked_and_its_time_is_no_content(track: Refunds) -> None:
    def run(at: datetime) -> list[str]:
        old, new = (refund(number, refunded_at=at - timedelta(days=days)) for number, days in ((77, 40), (78, 1)))
        track(old, new, as_query=True, recheck_unreferred=A_MONTH, max_in_flight=1)
        return track.sent()

    now = datetime.now(UTC)
    assert run(now) == ["re_77", "re_78"]
    track.let_days_pass(1)
    assert run(now - timedelta(seconds=1)) == ["re_78"]


def test_preview_says_how_many_requests_a_day_rechecks_cost_at_most(track: Refunds) -> None:
    old, recent = (datetime.now(UTC) - timedelta(days=days) for days in (40, 1))
    given = [refund(77, refunded_at=old), refund(78, refunded_at=recent), refund(79)]
    assert would(track(*given, preview=True, recheck_unreferred=A_MONTH))["rechecks_a_day"] == 2
    assert would(track(*given, preview=True))["rechecks_a_day"] is None

    track(*given, recheck_unreferred=A_MONTH)
    again = track(*given, refund(80), refund(81, refunded_at=old), preview=True, recheck_unreferred=A_MONTH)

    assert would(again)["rechecks_a_day"] == 3, "two of the ledger, and one that is new"
    assert re.search(r"rechecks a day, at most +3\n", log_text.table(again.summary))


def test_rechecks_come_after_the_new_refunds(track: Refunds) -> None:
    old = refunds(3, start=70)
    track(*old, max_in_flight=1)
    track.let_days_pass(2)
    track.sent()

    track(*old, *refunds(3), recheck_unreferred=A_MONTH, max_in_flight=1)
    assert track.sent() == ["re_0", "re_1", "re_2", "re_70", "re_71", "re_72"]


def test_limit_counts_new_refunds_first(track: Refunds) -> None:
    old = refunds(3, start=70)
    track(*old, max_in_flight=1)
    track.let_days_pass(2)
    track.sent()

    run = track(*old, *refunds(3), recheck_unreferred=A_MONTH, limit=4, max_in_flight=1)

    assert track.sent() == ["re_0", "re_1", "re_2", "re_70"]
    assert (run.summary.rechecked, run.summary.left_pending) == (1, 2)


def test_409_on_a_recheck_does_not_prove_a_reversed_commission(
    new_sandbox: Callable[..., Sandbox], connect: Callable[..., str], new_database: Callable[..., Any]
) -> None:
    """Where a 204 uses up the event_id, the recheck only hears the echo of the first try."""
    sandbox = new_sandbox(requests_per_minute=0, consume_event_id_on_204=True)
    connect(sandbox)
    track = Refunds(sandbox, connect, new_database("sqlite", "ledger").conn_id)
    sandbox.add_lead(uid="cus_77", bought=False)
    track(refund(77))
    track.let_days_pass(1)

    run = track(refund(77), recheck_unreferred=A_MONTH)

    assert [request.status for request in sandbox.refund_requests()] == [204, 409]
    assert run.outcomes == {"not_referred": 1}
    assert (run.results[0].message or "").startswith(
        "409 after this refund's own 204 or 404, and FirstPromoter lists no commission of it: "
    )
    assert track.stored() == {"re_77": "not_referred"}


def test_409_on_a_recheck_after_a_lost_response_is_looked_up_in_the_commissions(
    track: Refunds, impatient: None
) -> None:
    track(refund(77))
    track.sandbox.add_lead(uid="cus_77")
    track.let_days_pass(1)
    track.connect(max_attempts=2)
    track.sandbox.fault("reset_after", event_id="re_77")

    run = track(refund(77), recheck_unreferred=A_MONTH)

    assert [request.status for request in track.sandbox.refund_requests()] == [404, None, 409]
    assert run.outcomes == {"already_recorded": 1}
    assert run.results[0].commissions
    assert run.results[0].rewards == {"cash": track.sandbox.recorded()[0].reward_amount}
    assert track.stored() == {"re_77": "already_recorded"}


def test_recheck_sends_refunds_by_an_id_that_identify_by_had_left_out(track: Refunds) -> None:
    track.sandbox.add_lead(uid="acc_1", email="one@example.com")
    row = refund(77, uid="wrong_1", email="one@example.com")
    assert track(row, identify_by=("uid",)).outcomes == {"not_referred": 1}
    track.let_days_pass(1)
    assert track(row).outcomes == {"not_referred": 1}

    # Its uid is not the lead's: that is reported.
    assert track(row, recheck_unreferred=A_MONTH).outcomes == {"recorded": 1, "changed": 1}
