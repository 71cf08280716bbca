"""Refunds of the ledger without a commission in the period are looked up, whatever else cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import AccessRefusedError, ReadError
from airflow_provider_firstpromoter.reconcile import run
from tests.reconcile.account import TODAY, AccountWithLedger, nonzero_kinds, refund

Served = Callable[[Callable[[dict[str, str]], Any]], AccountWithLedger]
LONG_AGO = "UPDATE commissions SET created_at = '2020-01-01T00:00:00.000Z'"


def commission(number: int, **values: Any) -> dict[str, Any]:
    return {
        "id": 900 + number,
        "event_id": f"re_{number:04}",
        "sale_amount": -1000 - number,
        "amount": -200,
        "unit": "cash",
        "status": "approved",
        "commission_type": "sale",
        "created_at": TODAY.isoformat(),
        "referral": {"id": 70 + number},
        **values,
    }


def test_every_refund_without_a_commission_in_the_period_is_looked_up(
    account: AccountWithLedger, logged: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: not only the first thousand."""
    monkeypatch.setattr(run, "PROGRESS_EVERY_SECONDS", 0.0)
    count = 1010 if account.database.kind == "sqlite" else 30
    account.track(*(refund(n, uid=f"cus_{n % 1000}") for n in range(count)))
    account.sandbox.store.execute(LONG_AGO)
    missing = [f"re_{count - n:04}" for n in (1, 2)]
    account.sandbox.store.execute("DELETE FROM commissions WHERE event_id IN (?, ?)", missing)

    report = account.reconcile(created_from=TODAY.date())

    assert (report["matched"], report["looked_up"], report["not_looked_up"]) == (count - 2, count, 0)
    assert nonzero_kinds(report) == {"missing_in_firstpromoter": 2}
    assert report["requests"] == 1 + 2 * count, "a lookup ends with an empty page, or takes two filters to find nothing"
    assert report["warnings"] == []
    log = logged()
    assert f"{count} refunds of the ledger have no commission in this period" in log
    assert f"of {count} refunds looked up" in log


def test_commission_without_a_sale_amount_is_found_by_the_lookup(served_account: Served, account: Any) -> None:
    """The listing leaves it out, because it is filtered by the sale_amount."""
    account.track(refund(1), refund(2))
    held = [commission(1), commission(2, sale_amount=None)]

    def answer(query: dict[str, str]) -> Any:
        chosen = [one for one in held if one["event_id"].startswith(query.get("q", ""))]
        by_sale = "filters[sale_amount][to]" in query
        return [one for one in chosen if one["sale_amount"] is not None or not by_sale]

    report = served_account(answer).reconcile()

    assert (report["matched"], report["looked_up"], nonzero_kinds(report)) == (2, 1, {})


def test_malformed_commissions_are_skipped_and_counted(
    served_account: Served, account: AccountWithLedger, logged: Callable[[], str]
) -> None:
    """A refund whose own commission is malformed is neither matched nor missing."""
    account.track(*(refund(n) for n in range(4)))
    malformed = [None, "text", {}, commission(1, id=None), commission(9, id="jane@example.com")]
    held = [*malformed, commission(0), commission(2)]

    def answer(query: dict[str, str]) -> Any:
        return [
            one for one in held if not isinstance(one, dict) or one.get("event_id", "").startswith(query.get("q", ""))
        ]

    report = served_account(answer).reconcile(max_mismatches=1)

    assert (report["matched"], report["commissions"], report["not_looked_up"]) == (2, 2, 1)
    assert [case["event_id"] for case in report["cases"]["missing_in_firstpromoter"]] == ["re_0003"]
    assert [warning.split(" ", 6)[:6] for warning in report["warnings"]] == [
        ["5", "commissions", "on", "page", "1", "could"],
        ["1", "refunds", "could", "not", "be", "looked"],
    ]
    log = logged()
    assert "FirstPromoter has a commission of refund 're_0001'" in log
    assert "jane@example.com" not in log


def test_open_mismatch_whose_commission_cannot_be_read_is_not_resolved(
    served_account: Served, account: AccountWithLedger
) -> None:
    account.track(refund(1))
    held = [commission(1, sale_amount=-900), commission(2), commission(3, event_id=None)]
    served = served_account(lambda query: held)
    assert nonzero_kinds(served.reconcile()) == {"amount_differs": 1, "missing_in_ledger": 2}
    open_before = account.mismatches()
    held[:] = [commission(1, id=None), commission(2, id=None), commission(3, id=None, event_id=None)]

    report = served.reconcile()

    assert (nonzero_kinds(report), account.mismatches()) == ({}, open_before)
    held[:] = [commission(1, sale_amount=-1001)]
    assert (served.reconcile()["matched"], account.mismatches()) == (1, [])


def test_failed_lookups_are_counted_and_the_others_compared(
    served_account: Served, account: AccountWithLedger, logged: Callable[[], str]
) -> None:
    account.track(*(refund(n) for n in range(6)))
    failing = {"re_0001", "re_0002", "re_0004"}

    def answer(query: dict[str, str]) -> Any:
        return "no page" if query.get("q") in failing else []

    report = served_account(answer).reconcile()

    assert (report["not_looked_up"], report["looked_up"], nonzero_kinds(report)) == (
        3,
        3,
        {"missing_in_firstpromoter": 3},
    )
    assert report["warnings"] == [
        "3 refunds could not be looked up and were not compared; the log has the reason of each"
    ]
    assert "'re_0004' could not be looked up: FirstPromoter's commissions could not be read" in logged()


def test_lookups_that_fail_in_a_row_end_the_task_after_writing_what_is_known(
    served_account: Served, account: AccountWithLedger
) -> None:
    account.track(*(refund(n) for n in range(9)))

    def answer(query: dict[str, str]) -> Any:
        return "no page" if query.get("q", "") >= "re_0004" else []

    with pytest.raises(ReadError):
        served_account(answer).reconcile()

    assert account.mismatches("event_id") == [(f"re_{n:04}",) for n in range(4)]


def test_refused_access_to_commissions_ends_the_task_with_a_clear_error(account: AccountWithLedger) -> None:
    account.track(refund(1))
    account.reconcile()
    before = account.everything()
    account.sandbox.fault("status", status=403, times=None, path="/company/commissions")

    with pytest.raises(AccessRefusedError, match="An API key that may send events may lack the permission to read"):
        account.reconcile()

    assert account.everything() == before


def test_refused_access_during_lookups_ends_the_task(account: AccountWithLedger) -> None:
    account.track(refund(1), refund(2))
    account.sandbox.store.execute(LONG_AGO)
    account.sandbox.fault("latency", path="/company/commissions")
    account.sandbox.fault("status", status=403, times=None, path="/company/commissions")

    with pytest.raises(AccessRefusedError):
        account.reconcile(created_from=TODAY.date())

    assert account.mismatches() == []


@pytest.mark.parametrize(
    "values",
    [
        {"created_at": "0001-01-01T00:00:00+14:00"},
        {"created_at": "9999-12-31T23:59:59-14:00"},
        {"created_at": "soon"},
        {"created_at": None},
        {"event_id": "a\x00b"},
        {"event_id": "\ud800"},
        {"event_id": "x" * 300},
        {"amount": -(2**63), "sale_amount": -(2**63)},
        {"amount": 2**70, "original_sale_amount": 2**70},
        {"original_sale_currency": "x" * 60, "original_sale_amount": -5, "unit": "u" * 64, "status": "s" * 64},
        {"referral": None, "promoter_campaign": None, "is_paid": "yes", "tier": []},
        {"referral": {"id": 2**63 - 1}},
    ],
)
def test_commission_with_odd_values_is_reported_on_every_database(
    served_account: Served, account: AccountWithLedger, values: dict[str, Any]
) -> None:
    account.track(refund(1))
    served = served_account(lambda query: [commission(1), commission(2, **values)])

    report = served.reconcile(adopt=False)

    assert (report["matched"], nonzero_kinds(report)) == (1, {"missing_in_ledger": 1})
    assert served.reconcile(adopt=True)["mismatches"] in (0, 1)
