"""Reconciliations that cover certain days only."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pendulum
import pytest

from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
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
    assert report["requests"] == 4


@pytest.mark.parametrize(
    ("days", "message"),
    [
        ({"created_from": "yesterday"}, "created_from .'yesterday'. is not a date or time such as 2026-01-31"),
        ({"created_from": 5}, "created_from .5. is not a date or time"),
        ({"created_from": "2026-02-01", "created_to": "2026-01-31"}, "created_to .2026-01-31. is before created_from"),
        ({"created_to": "9999-12-31"}, "created_to .9999-12-31.* is not between the years"),
        ({"created_to": date.max}, "created_to .9999-12-31.* is not between the years"),
        ({"created_from": date.min}, "created_from .0001-01-01.* is not between the years"),
        ({"created_from": "0001-01-01T00:00:00+14:00"}, "created_from .* is not between the years"),
        ({"created_from": timedelta(days=999_999)}, "created_from .999999 days.* does not lead to a time"),
        ({"created_from": timedelta.max}, "created_from .* does not lead to a time"),
        ({"created_from": timedelta(days=-1)}, "created_from .* does not lead to a time"),
    ],
)
def test_invalid_dates_are_refused(account: AccountWithLedger, days: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        account.reconcile(**days)
    assert account.sandbox.request_counts() == {}


def test_operator_refuses_days_that_are_no_template_when_the_dag_is_parsed() -> None:
    with pytest.raises(ValueError, match="created_to"):
        ReconcileRefundsOperator(task_id="reconcile", created_to="9999-12-31")
    for given in ("{{ ds }}", "2026-01-31", None, "9998-12-31", date(1900, 1, 1)):
        ReconcileRefundsOperator(task_id="reconcile", created_from="{{ macros.ds_add(ds, -3) }}", created_to=given)


def test_period_of_the_first_and_the_last_year_is_compared(account: AccountWithLedger) -> None:
    account.track(refund(1))

    assert account.reconcile(created_from="1900-01-01", created_to="9998-12-31")["matched"] == 1
