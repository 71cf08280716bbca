"""Ledger and commissions are compared: each difference is found, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import ReconciliationMismatchError
from tests.reconcile.world import TABLE, World, differing, refund


def test_reconciliation_without_differences_reports_none(world: World) -> None:
    world.track(*(refund(n) for n in range(5)))

    told = world.reconcile(max_mismatches=0)

    assert (told["matched"], told["mismatches"], differing(told)) == (5, 0, {})
    assert world.mismatches() == []
    assert told["commissions"] == 5
    assert told["requests"] == 1, "the books come a hundred at a time, and nothing has to be looked up"


def test_reconciliation_finds_each_kind_of_difference_and_nothing_else(world: World) -> None:
    sandbox = world.sandbox
    world.track(*(refund(n) for n in range(10)), refund(10, currency="JPY", amount=5000))
    ids = {recorded.event_id: recorded.reward_id for recorded in sandbox.recorded()}
    # Two refunds that were both sent are none too many, though customer and amount are the same.
    world.track(refund(20), refund(20, event_id="re_0020_again"))
    sandbox.store.execute("DELETE FROM commissions WHERE id = ?", (ids["re_0001"],))
    sandbox.store.execute(
        "UPDATE commissions SET sale_amount = -900, original_sale_amount = -900 WHERE id = ?", (ids["re_0002"],)
    )
    sandbox.change_commission(ids["re_0003"], status="denied")
    sandbox.change_commission(ids["re_0004"], is_paid=True)
    sandbox.change_commission(ids["re_0005"], status="pending")  # in the course of things
    duplicate_of = world.commission("stripe_6", "cus_6", 1006)
    by_hand = world.commission("by_hand", "cus_7", 4711)
    nameless = world.commission(None, "cus_8", 4712)
    # None of these is a refund's.
    sandbox.add_commission(uid="cus_9", event_id="a_sale", sale_amount=1009)
    sandbox.add_commission(uid="cus_9", event_id="an_adjustment", sale_amount=-5, commission_type="custom")

    told = world.reconcile()

    assert differing(told) == {
        "missing_in_firstpromoter": 1,
        "amount_differs": 1,
        "reversed_twice": 1,
        "reward_changed": 2,
        "missing_in_ledger": 2,
    }
    assert told["mismatches"] == 5, "a reward that was paid or denied is none"
    assert told["matched"] == 13 - 4
    assert {kind: [case["event_id"] for case in cases] for kind, cases in told["cases"].items()} == {
        "missing_in_firstpromoter": ["re_0001"],
        "amount_differs": ["re_0002"],
        "reversed_twice": ["stripe_6"],
        "reward_changed": ["re_0003", "re_0004"],
        "missing_in_ledger": ["", "by_hand"],
    }
    assert told["table"] == TABLE
    assert world.mismatches("kind, event_id, commission_id, other_event_id, ledger_amount, firstpromoter_amount") == [
        ("amount_differs", "re_0002", ids["re_0002"], None, -1002, -900),
        ("missing_in_firstpromoter", "re_0001", 0, None, -1001, None),
        ("missing_in_ledger", "", nameless, None, None, -4712),
        ("missing_in_ledger", "by_hand", by_hand, None, None, -4711),
        ("reversed_twice", "stripe_6", duplicate_of, "re_0006", None, -1006),
    ]
    changed = world.mismatches("event_id, ledger_reward_status, firstpromoter_reward_status", "kind = 'reward_changed'")
    assert changed == [("re_0003", "approved", "denied"), ("re_0004", "approved", "paid")]

    before = world.everything()
    again = world.reconcile()
    assert world.everything() == before, "an unchanged world changes nothing"
    assert differing(again) == {kind: n for kind, n in differing(told).items() if kind != "reward_changed"}
    assert again["matched"] == told["matched"] + 2


def test_more_than_max_mismatches_fails_the_task_after_writing_them(world: World) -> None:
    world.track(refund(1))
    for n in range(7):
        world.commission(f"other_{n}", f"cus_{n}", 5000 + n)
    assert world.reconcile(max_mismatches=7)["mismatches"] == 7

    with pytest.raises(ReconciliationMismatchError) as error:
        world.reconcile(max_mismatches=6)

    assert str(error.value) == (
        "7 missing_in_ledger (max_mismatches=6): missing_in_ledger: 'other_0'; missing_in_ledger: 'other_1'; "
        "missing_in_ledger: 'other_2'; "
        "missing_in_ledger: 'other_3'; missing_in_ledger: 'other_4' …. "
        f"All of them are in {TABLE}, where resolved_at is empty"
    )
    assert world.pushed["return_value"]["missing_in_ledger"] == 7
    assert len(world.mismatches()) == 7


def test_mismatch_is_resolved_when_gone_and_reopened_when_back(world: World) -> None:
    world.track(refund(1), refund(2))
    ids = {recorded.event_id: recorded.reward_id for recorded in world.sandbox.recorded()}
    amount = "UPDATE commissions SET sale_amount = ?, original_sale_amount = ? WHERE id = ?"
    world.sandbox.store.execute(amount, (-1, -1, ids["re_0001"]))
    world.reconcile()
    assert world.mismatches() == [("amount_differs", "re_0001")]

    world.sandbox.store.execute(amount, (-1001, -1001, ids["re_0001"]))
    assert world.reconcile()["mismatches"] == 0
    assert world.mismatches() == []
    assert world.mismatches(where="resolved_at IS NOT NULL") == [("amount_differs", "re_0001")]

    world.sandbox.store.execute(amount, (-2, -2, ids["re_0001"]))
    assert world.reconcile()["mismatches"] == 1
    assert world.mismatches("event_id, firstpromoter_amount") == [("re_0001", -2)]


def test_reversed_twice_is_reported_once_per_sent_refund(world: World) -> None:
    world.track(refund(1))
    for number in range(3):
        world.commission(f"stripe_{number}", "cus_1", 1001)

    assert differing(world.reconcile()) == {"reversed_twice": 1, "missing_in_ledger": 2}


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
    world: World, sent: dict[str, Any], there: dict[str, Any], same: bool
) -> None:
    world.track(refund(1, **sent))
    original, currency = there.get("original", (there["sale_amount"], "USD"))
    world.sandbox.store.execute(
        "UPDATE commissions SET sale_amount = ?, original_sale_amount = ?, original_sale_currency = ?",
        (there["sale_amount"], original, currency),
    )

    assert differing(world.reconcile()) == ({} if same else {"amount_differs": 1})
    if not same and sent:
        assert world.mismatches("ledger_amount, firstpromoter_amount, currency") == [(-1001, -1002, "EUR")]
