"""Reconciliation by commission: tiers and splits, a listing that leaves one out, and a 200 that named none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.hooks import tracking_call
from airflow_provider_firstpromoter.ledger import Ledger
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
    assert commissions(account) == [(901, -200), (950, -50)], "it may merely be listed late"


def commissions(account: AccountWithLedger) -> list[Any]:
    """Return those that count in the sums."""
    in_effect = "firstpromoter_refunds_commissions WHERE status <> 'denied'"
    return sorted(account.database.run(f"SELECT commission_id, amount FROM {in_effect}"))


def let_two_days_pass(account: AccountWithLedger) -> None:
    account.database.run(
        f"UPDATE firstpromoter_refunds SET last_sent_at = '{datetime.now(UTC) - timedelta(days=2):%Y-%m-%d %H:%M:%S}'"
    )


@pytest.mark.parametrize(("amount", "kinds"), [(-200, {}), (-150, {"reward_changed": 1})])
def test_commission_that_another_one_replaced_is_taken_over_and_counted_once(
    served_account: Served, account: AccountWithLedger, amount: int, kinds: dict[str, int]
) -> None:
    account.track(refund(1))
    replacement = commission(1, id=950, amount=amount)
    served = served_account(lambda query: [replacement])
    assert nonzero_kinds(served.reconcile()) == {"missing_in_firstpromoter": 1}, "too early to say"
    account.database.run("DELETE FROM firstpromoter_refunds_commissions WHERE commission_id = 950")
    let_two_days_pass(account)

    assert nonzero_kinds(served.reconcile()) == kinds

    assert commissions(account) == [(950, amount)]
    assert account.mismatches() == []
    report = served.reconcile(max_mismatches=0)
    assert (report["matched"], nonzero_kinds(report)) == (1, {})


def test_commission_that_nothing_replaced_stays_missing_and_in_the_ledger(
    served_account: Served, account: AccountWithLedger
) -> None:
    account.track(refund(1))
    second = commission(1, id=950, tier=2, amount=-50)
    held = [commission(1), second]
    served = served_account(lambda query: held)
    assert nonzero_kinds(served.reconcile()) == {}
    let_two_days_pass(account)
    held.remove(second)

    for _ in range(2):
        assert nonzero_kinds(served.reconcile()) == {"missing_in_firstpromoter": 1}
        assert commissions(account) == [(901, -200), (950, -50)]


def test_commission_that_is_listed_days_late_is_counted_again_once_it_is_listed(
    served_account: Served, account: AccountWithLedger
) -> None:
    account.track(refund(1))
    second = commission(1, id=950, tier=2, amount=-50)
    held = [second]
    served = served_account(lambda query: held)
    let_two_days_pass(account)
    served.reconcile()
    assert commissions(account) == [(950, -50)]

    held.append(commission(1))
    report = served.reconcile()

    assert commissions(account) == [(901, -200), (950, -50)]
    assert (nonzero_kinds(report), account.mismatches()) == ({"reward_changed": 1}, [])


def test_kill_while_a_commission_is_replaced_leaves_the_old_one_for_the_next_run(
    served_account: Served, account: AccountWithLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.track(refund(1))
    served = served_account(lambda query: [commission(1, id=950)])
    let_two_days_pass(account)
    original = Ledger._write

    def killed(ledger: Ledger, *arguments: Any) -> None:
        original(ledger, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            served.reconcile()
    assert commissions(account) == [(901, -200)]

    served.reconcile()
    assert commissions(account) == [(950, -200)]


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
