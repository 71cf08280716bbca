"""Reconciliations that cover certain days only."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
import pytest

from tests.reconcile.account import TODAY, AccountWithLedger, refund


def test_period_limits_the_commissions_that_are_compared(account: AccountWithLedger) -> None:
    account.track(refund(1))
    for days_ago in (0, 5, 10, 20):
        account.commission(f"old_{days_ago}", "cus_1", 7000 + days_ago, days_ago)

    def found(**days: Any) -> list[str]:
        return [case["event_id"] for case in account.reconcile(**days)["cases"].get("missing_in_ledger", [])]

    ten, five = TODAY.date() - timedelta(days=10), TODAY.date() - timedelta(days=5)
    assert sorted(found()) == ["old_0", "old_10", "old_20", "old_5"]
    assert sorted(found(created_from=str(ten), created_to=str(five))) == ["old_10", "old_5"]
    assert found(created_from=pendulum.instance(TODAY)) == ["old_0"]
    assert sorted(found(created_from=timedelta(days=5))) == ["old_0", "old_5"]
    assert found(created_to=ten - timedelta(days=1)) == ["old_20"]
    assert len(account.mismatches()) == 4, "mismatches of other days are not resolved"


def test_commission_outside_the_period_is_looked_up(account: AccountWithLedger) -> None:
    account.track(refund(1), refund(2))
    account.sandbox.store.execute(
        "UPDATE commissions SET created_at = '2020-01-01T00:00:00.000Z' WHERE event_id = 're_0001'"
    )

    report = account.reconcile(created_from=TODAY.date())

    assert (report["matched"], report["mismatches"]) == (2, 0)
    assert report["requests"] == 2


@pytest.mark.parametrize(
    ("days", "message"),
    [
        ({"created_from": "yesterday"}, "'yesterday' is not a date such as 2026-01-31"),
        ({"created_from": 5}, "5 is not a date"),
        ({"created_from": "2026-02-01", "created_to": "2026-01-31"}, "created_to .2026-01-31. is before created_from"),
    ],
)
def test_invalid_dates_are_refused(account: AccountWithLedger, days: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        account.reconcile(**days)
    assert account.sandbox.request_counts() == {}
