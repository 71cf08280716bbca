"""A comparison of ledger and commissions finds each kind of difference and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import EventsRejectedError, ReconciliationMismatchError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from tests.reconcile.account import TABLE, AccountWithLedger, nonzero_kinds, refund
from tests.support import BOTH_SHAPES


@BOTH_SHAPES
def test_reconciliation_without_differences_reports_none(account: AccountWithLedger) -> None:
    account.track(*(refund(n) for n in range(5)))

    report = account.reconcile(max_mismatches=0)

    assert (report["matched"], report["mismatches"], nonzero_kinds(report)) == (5, 0, {})
    assert account.mismatches() == []
    assert report["commissions"] == 5
    assert report["requests"] == 2, (
        "a hundred commissions, and the empty page after them; no refund has to be looked up"
    )


@BOTH_SHAPES
def test_reconciliation_finds_each_kind_of_difference_and_nothing_else(account: AccountWithLedger) -> None:
    sandbox = account.sandbox
    account.track(*(refund(n) for n in range(10)), refund(10, currency="JPY", amount=5000))
    ids = {recorded.event_id: recorded.reward_id for recorded in sandbox.recorded()}
    # Two refunds that were both sent are not reversed twice, although customer and amount are the same.
    account.track(refund(20), refund(20, event_id="re_0020_again"))
    sandbox.store.execute("DELETE FROM commissions WHERE id = ?", (ids["re_0001"],))
    sandbox.store.execute(
        "UPDATE commissions SET sale_amount = -900, original_sale_amount = -900 WHERE id = ?", (ids["re_0002"],)
    )
    sandbox.change_commission(ids["re_0003"], status="denied")
    sandbox.change_commission(ids["re_0004"], is_paid=True)
    sandbox.change_commission(ids["re_0005"], status="pending")  # as commissions usually are at first
    duplicate_of = account.commission("stripe_6", "cus_6", 1006)
    by_hand = account.commission("by_hand", "cus_7", 4711)
    nameless = account.commission(None, "cus_8", 4712)
    # Neither is a commission of a refund.
    sandbox.add_commission(uid="cus_9", event_id="a_sale", sale_amount=1009)
    sandbox.add_commission(uid="cus_9", event_id="an_adjustment", sale_amount=-5, commission_type="custom")

    report = account.reconcile()

    assert nonzero_kinds(report) == {
        "missing_in_firstpromoter": 1,
        "amount_differs": 1,
        "recorded_twice": 1,
        "reward_changed": 2,
        "missing_in_ledger": 2,
    }
    assert report["mismatches"] == 5, "a reward that was paid or denied does not count"
    assert report["matched"] == 13 - 4
    assert {kind: [case["event_id"] for case in cases] for kind, cases in report["cases"].items()} == {
        "missing_in_firstpromoter": ["re_0001"],
        "amount_differs": ["re_0002"],
        "recorded_twice": ["stripe_6"],
        "reward_changed": ["re_0003", "re_0004"],
        "missing_in_ledger": ["", "by_hand"],
    }
    assert report["table"] == TABLE
    assert account.mismatches("kind, event_id, commission_id, other_event_id, ledger_amount, firstpromoter_amount") == [
        ("amount_differs", "re_0002", ids["re_0002"], None, -1002, -900),
        ("missing_in_firstpromoter", "re_0001", 0, None, -1001, None),
        ("missing_in_ledger", "", nameless, None, None, -4712),
        ("missing_in_ledger", "by_hand", by_hand, None, None, -4711),
        ("recorded_twice", "stripe_6", duplicate_of, "re_0006", None, -1006),
    ]
    changed = account.mismatches(
        "event_id, ledger_reward_status, firstpromoter_reward_status", "kind = 'reward_changed'"
    )
    assert changed == [("re_0003", "approved", "denied"), ("re_0004", "approved", "paid")]

    before = account.everything()
    again = account.reconcile()
    assert account.everything() == before, "reconciling an unchanged account again changes nothing"
    assert nonzero_kinds(again) == {kind: n for kind, n in nonzero_kinds(report).items() if kind != "reward_changed"}
    assert again["matched"] == report["matched"] + 2


def test_more_than_max_mismatches_fails_the_task_after_writing_them(account: AccountWithLedger) -> None:
    account.track(refund(1))
    for n in range(7):
        account.commission(f"other_{n}", f"cus_{n}", 5000 + n)
    assert account.reconcile(max_mismatches=7)["mismatches"] == 7

    with pytest.raises(ReconciliationMismatchError) as error:
        account.reconcile(max_mismatches=6)

    assert str(error.value) == (
        "7 missing_in_ledger (max_mismatches=6): missing_in_ledger: 'other_0'; missing_in_ledger: 'other_1'; "
        "missing_in_ledger: 'other_2'; "
        "missing_in_ledger: 'other_3'; missing_in_ledger: 'other_4' …. "
        f"All of them are in {TABLE}, where resolved_at and accepted_at are empty. To accept the first one as it is: "
        f"{FirstPromoterHook().account.command_line('accept', 'other_0')}"
    )
    assert account.pushed["return_value"]["missing_in_ledger"] == 7
    assert len(account.mismatches()) == 7


def test_mismatch_is_resolved_when_gone_and_reopened_when_back(account: AccountWithLedger) -> None:
    account.track(refund(1), refund(2))
    ids = {recorded.event_id: recorded.reward_id for recorded in account.sandbox.recorded()}
    amount = "UPDATE commissions SET sale_amount = ?, original_sale_amount = ? WHERE id = ?"
    account.sandbox.store.execute(amount, (-1, -1, ids["re_0001"]))
    account.reconcile()
    assert account.mismatches() == [("amount_differs", "re_0001")]

    account.sandbox.store.execute(amount, (-1001, -1001, ids["re_0001"]))
    assert account.reconcile()["mismatches"] == 0
    assert account.mismatches() == []
    assert account.mismatches(where="resolved_at IS NOT NULL") == [("amount_differs", "re_0001")]

    account.sandbox.store.execute(amount, (-2, -2, ids["re_0001"]))
    assert account.reconcile()["mismatches"] == 1
    assert account.mismatches("event_id, firstpromoter_amount") == [("re_0001", -2)]


def test_recorded_twice_is_reported_once_per_sent_refund(account: AccountWithLedger) -> None:
    account.track(refund(1))
    for number in range(3):
        account.commission(f"stripe_{number}", "cus_1", 1001)

    assert nonzero_kinds(account.reconcile()) == {"recorded_twice": 1, "missing_in_ledger": 2}


@pytest.mark.parametrize(
    ("sent", "there", "same"),
    [
        ({}, {"sale_amount": -1001}, True),
        ({}, {"sale_amount": -1000}, False),
        ({"currency": "EUR"}, {"sale_amount": -1100, "original": (-1001, "EUR")}, True),
        ({"currency": "EUR"}, {"sale_amount": -1100, "original": (-1002, "EUR")}, False),
        ({"currency": "JPY"}, {"sale_amount": -650, "original": (-1001, "JPY")}, True),
    ],
)
def test_amounts_are_compared_in_the_customers_currency(
    account: AccountWithLedger, sent: dict[str, Any], there: dict[str, Any], same: bool
) -> None:
    account.track(refund(1, **sent))
    original, currency = there.get("original", (there["sale_amount"], "USD"))
    account.sandbox.store.execute(
        "UPDATE commissions SET sale_amount = ?, original_sale_amount = ?, original_sale_currency = ?",
        (there["sale_amount"], original, currency),
    )

    assert nonzero_kinds(account.reconcile()) == ({} if same else {"amount_differs": 1})
    if not same and sent:
        assert account.mismatches("ledger_amount, firstpromoter_amount, currency") == [(-1001, -1002, "EUR")]


def test_amount_that_only_a_409_shows_is_filled_by_a_reconciliation_and_compared_by_the_next_run(
    account: AccountWithLedger,
) -> None:
    """A run that was killed may have sent another amount than the row has now: what is not known is not written."""
    account.commission("re_0001", "cus_1", 900)
    (result,) = account.track(refund(1), recover_rewards=False)
    assert (result["outcome"], result["recorded_amount"]) == ("already_recorded", None)

    columns = "row_amount, sent_amount, recorded_amount, changed_amount"
    account.track(refund(1))
    assert account.ledger(columns) == {"re_0001": (None, None, None, None)}, "no run settles it silently"

    assert nonzero_kinds(account.reconcile()) == {}
    assert account.ledger(columns) == {"re_0001": (None, None, -900, None)}

    with pytest.raises(EventsRejectedError, match="1 changed: 're_0001': is recorded with amount 900"):
        account.track(refund(1))
    assert account.ledger(columns) == {"re_0001": (None, None, -900, "1001")}
