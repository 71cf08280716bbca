"""Reconciliation by commission: tiers and splits, a listing that leaves one out, and a 200 that named none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_firstpromoter.hooks import tracking_call
from tests.reconcile.account import AccountWithLedger, nonzero_kinds, refund
from tests.reconcile.test_lookups import commission

Served = Callable[..., AccountWithLedger]


def test_known_commission_that_the_listing_leaves_out_is_looked_up(
    served_account: Served, account: AccountWithLedger
) -> None:
    account.track(refund(1))
    known = commission(1)
    second = commission(1, id=950, tier=2, amount=-50)

    def answer(query: dict[str, str]) -> Any:
        return [known, second] if "q" in query else [second]

    report = served_account(answer).reconcile()

    assert (report["looked_up"], report["matched"], nonzero_kinds(report)) == (1, 1, {})


def test_known_commission_that_a_lookup_does_not_find_is_missing_although_another_is_there(
    served_account: Served, account: AccountWithLedger
) -> None:
    account.track(refund(1))
    second = commission(1, id=950, tier=2, amount=-50)
    served = served_account(lambda query: [second])

    report = served.reconcile()

    assert nonzero_kinds(report) == {"missing_in_firstpromoter": 1}
    assert account.mismatches("event_id, commission_id") == [("re_0001", 901)]


def test_lookup_that_fails_for_a_known_commission_concludes_nothing(
    served_account: Served, account: AccountWithLedger
) -> None:
    account.track(refund(1))
    second = commission(1, id=950, tier=2, amount=-50)

    def answer(query: dict[str, str]) -> Any:
        if "q" in query:
            return "no page"
        return [second]

    report = served_account(answer).reconcile()

    assert (report["not_looked_up"], report["matched"], nonzero_kinds(report)) == (1, 0, {})
    assert account.mismatches() == []


def test_refund_whose_200_named_no_commission_and_that_has_none_is_no_mismatch(
    account: AccountWithLedger, monkeypatch: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tracking_call, "find_commissions", lambda *_: [])
        account.sandbox.change_settings(shape="newer")
        account.track(refund(1, amount=1))
    account.database.run("DELETE FROM firstpromoter_refunds_commissions")
    account.sandbox.store.execute("DELETE FROM commissions")
    assert account.ledger() == {"re_0001": "recorded"}

    for _ in range(2):
        report = account.reconcile(max_mismatches=0)
        assert (report["mismatches"], report["looked_up"]) == (0, 1)
