"""Reconciliations of some days only."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
import pytest

from airflow_provider_firstpromoter.reconcile import run as reconcile
from tests.reconcile.world import TODAY, World, refund


def test_period_limits_the_commissions_that_are_compared(world: World) -> None:
    world.track(refund(1))
    for days_ago in (0, 5, 10, 20):
        world.commission(f"old_{days_ago}", "cus_1", 7000 + days_ago, days_ago)

    def found(**days: Any) -> list[str]:
        return [case["event_id"] for case in world.reconcile(**days)["cases"].get("missing_in_ledger", [])]

    ten, five = TODAY.date() - timedelta(days=10), TODAY.date() - timedelta(days=5)
    assert sorted(found()) == ["old_0", "old_10", "old_20", "old_5"]
    assert sorted(found(created_from=str(ten), created_to=str(five))) == ["old_10", "old_5"]
    assert found(created_from=pendulum.instance(TODAY)) == ["old_0"]
    assert sorted(found(created_from=timedelta(days=5))) == ["old_0", "old_5"]
    assert found(created_to=ten - timedelta(days=1)) == ["old_20"]
    assert len(world.mismatches()) == 4, "what is of other days is not resolved"


def test_commission_outside_the_period_is_looked_up(world: World) -> None:
    world.track(refund(1), refund(2))
    world.sandbox.store.execute(
        "UPDATE commissions SET created_at = '2020-01-01T00:00:00.000Z' WHERE event_id = 're_0001'"
    )

    told = world.reconcile(created_from=TODAY.date())

    assert (told["matched"], told["mismatches"]) == (2, 0)
    assert told["requests"] == 2


def test_lookups_are_limited_and_the_report_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "MOST_LOOKUPS", 3)
    world.track(*(refund(n) for n in range(8)))
    world.sandbox.store.execute("UPDATE commissions SET created_at = '2020-01-01T00:00:00.000Z'")

    told = world.reconcile(created_from=TODAY.date())

    assert (told["matched"], told["missing_in_firstpromoter"]) == (3, 5)
    assert "Only the first 3 refunds" in told["warnings"][0]


@pytest.mark.parametrize(
    ("days", "message"),
    [
        ({"created_from": "yesterday"}, "'yesterday' is no date such as 2026-01-31"),
        ({"created_from": 5}, "5 is no date"),
        ({"created_from": "2026-02-01", "created_to": "2026-01-31"}, "created_to .2026-01-31. is before created_from"),
    ],
)
def test_invalid_dates_are_refused(world: World, days: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        world.reconcile(**days)
    assert world.sandbox.request_counts() == {}
