"""Refunds whose sale FirstPromoter does not have, and refunds that stay pending although their sale is not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from tests.reconcile.account import TODAY, AccountWithLedger, nonzero_kinds, refund


def sell(account: AccountWithLedger, number: int, **more: Any) -> int:
    return account.sandbox.add_commission(
        event_id=f"sale_{number:04}",
        uid=f"cus_{number}",
        sale_amount=9000,
        created_at=TODAY - timedelta(days=90),
        **more,
    )


def make_older(account: AccountWithLedger, days: float) -> None:
    """Let days pass for what was sent."""
    moment = TODAY - timedelta(days=days)
    account.database.run(
        f"UPDATE firstpromoter_refunds SET first_sent_at = '{moment:%Y-%m-%d %H:%M:%S}', "
        f"last_sent_at = '{moment:%Y-%m-%d %H:%M:%S}'"
    )
    account.sandbox.store.execute(
        "UPDATE commissions SET created_at = ? WHERE amount < 0", (moment.strftime("%Y-%m-%dT%H:%M:%S.000Z"),)
    )


def test_refund_of_a_sale_that_firstpromoter_does_not_have_is_a_mismatch(account: AccountWithLedger) -> None:
    sell(account, 1)
    sell(account, 20)
    account.track(
        refund(1, sale_event_id="sale_0001"),
        refund(2, sale_event_id="sale_0002"),
        refund(3),
        refund(4, sale_event_id="sale_00"),
    )

    report = account.reconcile()

    assert nonzero_kinds(report) == {"sale_not_found": 2}
    assert (report["sales_looked_up"], report["sales_left"]) == (3, 0)
    assert account.mismatches("kind, event_id, other_event_id") == [
        ("sale_not_found", "re_0002", "sale_0002"),
        ("sale_not_found", "re_0004", "sale_00"),
    ]
    sell(account, 2)
    account.reconcile(created_from=TODAY.date() + timedelta(days=1))
    assert account.mismatches("event_id") == [("re_0004",)], "an open one is looked up whatever the period is"


def test_reversal_under_the_event_id_of_a_sale_is_no_sale(account: AccountWithLedger) -> None:
    """FirstPromoter may keep event_ids apart by kind: a refund can bear the id of its own sale."""
    account.track(refund(1, sale_event_id="re_0001"))

    assert nonzero_kinds(account.reconcile()) == {"sale_not_found": 1}


@pytest.mark.parametrize(
    ("sale", "days", "found"),
    [
        ({"status": "approved"}, 46, True),
        ({"status": "approved", "is_paid": True}, 46, True),
        ({"status": "pending"}, 46, False),
        ({"status": "denied"}, 46, False),
        ({"status": "approved"}, 44, False),
    ],
    ids=str,
)
def test_pending_commission_is_a_mismatch_once_it_is_old_and_its_sale_is_not_pending(
    account: AccountWithLedger, sale: dict[str, Any], days: int, found: bool
) -> None:
    commission = sell(account, 1)
    account.sandbox.change_commission(commission, **sale)
    account.track(refund(1, sale_event_id="sale_0001"))
    (recorded,) = account.sandbox.recorded()
    account.sandbox.change_commission(recorded.reward_id, status="pending")
    account.reconcile()
    make_older(account, days)

    report = account.reconcile(created_from=timedelta(days=35))

    assert nonzero_kinds(report) == ({"still_pending": 1} if found else {}), "whatever the period is"
    if found:
        assert account.mismatches("event_id, commission_id, other_event_id, firstpromoter_reward_status") == [
            ("re_0001", recorded.reward_id, "sale_0001", "pending")
        ]
        account.sandbox.change_commission(recorded.reward_id, status="approved")
        assert account.reconcile(created_from=timedelta(days=35))["mismatches"] == 0
        assert account.mismatches() == []


def test_age_of_a_pending_commission_is_a_parameter(account: AccountWithLedger) -> None:
    sell(account, 1)
    account.track(refund(1, sale_event_id="sale_0001"))
    (recorded,) = account.sandbox.recorded()
    account.sandbox.change_commission(recorded.reward_id, status="pending")
    make_older(account, 5)
    assert account.reconcile()["still_pending"] == 0

    assert account.reconcile(pending_after=None)["still_pending"] == 0
    assert account.reconcile(pending_after=timedelta(days=3))["still_pending"] == 1
    with pytest.raises(ValueError, match="pending_after"):
        ReconcileRefundsOperator(task_id="reconcile", pending_after=timedelta(days=999_999))


def test_sales_beyond_the_limit_are_left_to_later_runs(account: AccountWithLedger) -> None:
    account.track(*(refund(n, sale_event_id=f"sale_{n:04}") for n in range(12)))
    before = account.reconcile(max_sale_lookups=0)
    assert (before["mismatches"], before["sales_looked_up"]) == (0, 0)

    report = account.reconcile(max_sale_lookups=5)

    assert (report["sales_looked_up"], report["sales_left"], report["sale_not_found"]) == (5, 7, 5)
    assert report["requests"] <= before["requests"] + 2 * 5
    for n in range(12):
        sell(account, n)
    report = account.reconcile(max_sale_lookups=5)
    assert (report["sale_not_found"], account.mismatches()) == (0, []), "those of open mismatches come first"
