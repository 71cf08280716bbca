"""The ledger takes over what FirstPromoter has: refunds, rewards and their status."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from airflow_provider_firstpromoter.exceptions import EventsRejectedError
from tests.reconcile.account import TODAY, AccountWithLedger, nonzero_kinds, refund
from tests.support import BOTH_SHAPES, REFUNDS_WITH_REWARDS


@BOTH_SHAPES
def test_emptied_ledger_is_rebuilt_with_adopt(account: AccountWithLedger) -> None:
    account.database.fill([refund(n) for n in range(250)] + [refund(n, uid=f"nobody_{n}") for n in range(250, 260)])
    account.sync()
    rewards = "reward_id, reward_amount, reward_unit, reward_status, recorded_amount, promoter_id, lead_id"
    before = account.ledger(rewards)
    account.database.run("DELETE FROM firstpromoter_refunds")
    requests = len(account.sandbox.refund_requests())

    report = account.reconcile(adopt=True, max_mismatches=0)

    assert (report["adopted"], report["requests"]) == (250, 4)
    assert set(account.ledger().values()) == {"already_recorded"}
    assert account.ledger(rewards) == {event_id: row for event_id, row in before.items() if row[0] is not None}
    summary = account.sync()
    # Refunds that were not referred have no commission: only they are sent again.
    assert len(account.sandbox.refund_requests()) - requests == 10
    assert (summary["sent"], summary["outcomes"]["changed"]) == (10, 0)
    assert account.reconcile(adopt=True)["adopted"] == 0


def test_adopted_refunds_are_never_sent(account: AccountWithLedger) -> None:
    account.database.fill([refund(n) for n in range(20)])
    for n in range(20):
        account.commission(f"re_{n:04}", f"cus_{n}", 1000 + n)  # recorded by another tool

    account.reconcile(adopt=True)
    summary = account.sync()

    assert (summary["sent"], summary["outcomes"]["changed"]) == (0, 0)
    assert account.sandbox.refund_requests() == []


def test_adopted_amount_is_compared_with_the_warehouse_when_its_row_is_first_seen(account: AccountWithLedger) -> None:
    for number, amount in ((1, 1001), (2, 999)):  # recorded by another tool, the second one with another amount
        account.commission(f"re_{number:04}", f"cus_{number}", amount)
    account.reconcile(adopt=True)
    account.database.fill([refund(1), refund(2)])

    with pytest.raises(EventsRejectedError, match="1 changed: 're_0002'"):
        account.sync()

    assert account.sandbox.refund_requests() == []
    assert account.ledger("row_amount, changed_amount") == {"re_0001": ("1001", None), "re_0002": (None, "1002")}


@pytest.mark.parametrize("currency", [None, "USD"])
def test_adopted_amount_that_firstpromoter_converted_is_not_taken_for_changed(
    account: AccountWithLedger, connect: Callable[..., str], currency: str | None
) -> None:
    """The warehouse has euros, and the commission dollars."""
    connect(ledger_conn_id="warehouse", currency=currency)
    account.commission("re_0001", "cus_1", 1234)
    account.reconcile(adopt=True)
    account.database.fill([refund(1, currency="EUR")])

    summary = account.sync()

    assert (summary["sent"], summary["outcomes"]["changed"]) == (0, 0)
    account.database.run("UPDATE refunds SET amount = 5")
    with pytest.raises(EventsRejectedError, match="1 changed: 're_0001'"):
        account.sync()


def test_adopt_takes_refunds_only_and_their_rewards(account: AccountWithLedger) -> None:
    account.commission("old_1", "cus_1", 1001, 400)
    account.commission("old_1", "cus_1", 1001, 400, promoter="ref2", tier=2, amount=-50)
    account.sandbox.add_commission(uid="cus_2", event_id="old_2", sale_amount=5000)

    report = account.reconcile(adopt=True)

    assert (report["adopted"], report["mismatches"]) == (1, 0)
    assert account.ledger("outcome, reward_amount, first_sent_at") == {"old_1": ("already_recorded", -250, None)}
    (result,) = account.track(refund(1, event_id="old_1"))
    assert (result["sent"], result["outcome"]) == (False, "already_recorded")


LAST_WEEK = TODAY.date() - timedelta(days=7)


def age(account: AccountWithLedger, event_id: str, days: int) -> None:
    """Make a refund one that was sent and recorded so many days ago."""
    then = TODAY - timedelta(days=days)
    account.database.run(
        f"UPDATE firstpromoter_refunds SET first_sent_at = '{then:%Y-%m-%d %H:%M:%S}.000000', "
        f"last_sent_at = '{then:%Y-%m-%d %H:%M:%S}.000000' WHERE event_id = '{event_id}'"
    )
    account.sandbox.store.execute(
        "UPDATE commissions SET created_at = ? WHERE event_id = ?", (f"{then:%Y-%m-%dT%H:%M:%S}.000Z", event_id)
    )


def test_duplicate_in_the_period_is_reported_and_not_adopted(account: AccountWithLedger) -> None:
    account.track(refund(1))
    account.commission("stripe_1", "cus_1", 1001)

    for _ in range(2):
        report = account.reconcile(adopt=True)
        assert (nonzero_kinds(report), report["adopted"]) == ({"recorded_twice": 1}, 0)
    assert account.ledger() == {"re_0001": "recorded"}


@pytest.mark.parametrize("currency", [None, "EUR"])
@pytest.mark.parametrize(("sent", "duplicated", "first"), [(30, 1, 7), (1, 30, 40)])
def test_duplicate_of_a_refund_outside_the_period_is_not_adopted(
    account: AccountWithLedger, currency: str | None, sent: int, duplicated: int, first: int
) -> None:
    """The refund was sent long before the period or, in a backfill, long after what the billing system recorded."""
    account.track(refund(1, **({"currency": currency} if currency else {})), refund(2))
    age(account, "re_0001", sent)
    account.commission("stripe_1", "cus_1", 1001, duplicated)
    if currency:
        account.sandbox.store.execute(
            "UPDATE commissions SET original_sale_currency = ?, sale_amount = -1234 WHERE event_id = 'stripe_1'",
            (currency,),
        )
    account.commission("old_2", "cus_2", 999, duplicated)
    account.commission("old_3", "cus_3", 1001, duplicated)
    days = {
        "created_from": TODAY.date() - timedelta(days=first),
        "created_to": TODAY.date() - timedelta(days=first - 10) if first > 10 else None,
    }

    report = account.reconcile(adopt=True, **days)

    assert (report["adopted"], nonzero_kinds(report)) == (2, {"recorded_twice": 1})
    assert account.mismatches("event_id, other_event_id") == [("stripe_1", "re_0001")]
    assert "stripe_1" not in account.ledger()
    assert nonzero_kinds(account.reconcile(**days)) == {"recorded_twice": 1}


def test_duplicate_of_a_refund_whose_lead_is_not_in_the_ledger_is_not_adopted(account: AccountWithLedger) -> None:
    """It was recorded by a run that was killed, and its reward was not looked up."""
    account.track(refund(1), refund(2))
    for table in ("firstpromoter_refunds", "firstpromoter_refunds_commissions"):
        account.database.run(f"DELETE FROM {table}")
    account.track(refund(1), refund(2), recover_rewards=False)
    assert set(account.ledger("lead_id").values()) == {None}
    age(account, "re_0001", 30)
    account.commission("stripe_1", "cus_1", 1001)

    report = account.reconcile(adopt=True, created_from=LAST_WEEK)

    assert (report["adopted"], nonzero_kinds(report)) == (0, {"recorded_twice": 1})
    assert account.mismatches("event_id, other_event_id") == [("stripe_1", "re_0001")]
    assert report["rewards_filled"] == 2, "what was looked up is known from now on"
    assert account.reconcile(adopt=True, created_from=LAST_WEEK)["looked_up"] == 0


def test_duplicate_that_was_denied_is_no_mismatch(account: AccountWithLedger) -> None:
    """Denying it is how an operator corrects it."""
    account.track(refund(1))
    duplicate = account.commission("stripe_1", "cus_1", 1001)
    assert nonzero_kinds(account.reconcile()) == {"recorded_twice": 1}
    account.sandbox.change_commission(duplicate, status="denied")

    assert nonzero_kinds(account.reconcile()) == {}
    assert account.mismatches() == []


def test_duplicate_of_a_refund_that_was_reverted_is_no_duplicate(account: AccountWithLedger) -> None:
    account.track(refund(1))
    (sent,) = account.sandbox.recorded()
    account.sandbox.change_commission(sent.reward_id, status="denied")
    account.database.run("UPDATE firstpromoter_refunds SET outcome = 'reverted'")
    account.commission("stripe_1", "cus_1", 1001)

    assert nonzero_kinds(account.reconcile()) == {"missing_in_ledger": 1}
    report = account.reconcile(adopt=True)
    assert (report["adopted"], nonzero_kinds(report)) == (1, {})
    assert account.ledger() == {"re_0001": "reverted", "stripe_1": "already_recorded"}


def test_reverted_refund_whose_commission_stands_is_reported_and_not_adopted(account: AccountWithLedger) -> None:
    account.track(refund(1))
    account.database.run("UPDATE firstpromoter_refunds SET outcome = 'reverted'")

    report = account.reconcile(adopt=True)

    assert (report["adopted"], report["recovered"], nonzero_kinds(report)) == (0, 0, {"reverted_not_denied": 1})
    assert account.ledger() == {"re_0001": "reverted"}


def test_refund_of_the_same_price_is_adopted_if_the_other_one_has_its_duplicate(account: AccountWithLedger) -> None:
    account.track(refund(1))
    age(account, "re_0001", 30)
    account.commission("stripe_1", "cus_1", 1001, 3)
    account.commission("old_1", "cus_1", 1001, 1)

    report = account.reconcile(adopt=True, created_from=LAST_WEEK)

    assert (report["adopted"], nonzero_kinds(report)) == (1, {"recorded_twice": 1})
    assert account.ledger() == {"re_0001": "recorded", "old_1": "already_recorded"}


def test_missing_reward_is_filled_in_and_returned_from_then_on(account: AccountWithLedger) -> None:
    account.sandbox.fault("reset_after", event_id="re_0001")
    account.sandbox.fault("status", times=None, path="/company/commissions")
    (result,) = account.track(refund(1))
    assert (result["outcome"], result["rewards"]) == ("already_recorded", {})
    account.sandbox.clear_faults()

    report = account.reconcile()

    assert (report["matched"], report["rewards_filled"], report["rewards_updated"]) == (1, 1, 0)
    (row,) = account.sandbox.recorded()
    assert account.ledger("reward_id, reward_amount") == {"re_0001": (row.reward_id, row.reward_amount)}
    (again,) = account.track(refund(1))
    assert again["rewards"]["cash"] == row.reward_amount
    assert account.reconcile()["rewards_filled"] == 0


@BOTH_SHAPES
def test_reward_status_follows_the_commission_and_the_rewards_stay_the_same(account: AccountWithLedger) -> None:
    before = account.track(refund(1), refund(2), refund(3))
    ids = {recorded.event_id: recorded.reward_id for recorded in account.sandbox.recorded()}
    account.sandbox.change_commission(ids["re_0001"], status="pending")
    account.sandbox.change_commission(ids["re_0002"], status="approved", is_paid=True)

    report = account.reconcile()

    assert (report["rewards_updated"], report["reward_changed"], report["matched"]) == (2, 1, 2)
    assert account.ledger("reward_status") == {"re_0001": "pending", "re_0002": "paid", "re_0003": "approved"}
    unpaid = f"SELECT sum(reward_amount) FROM {REFUNDS_WITH_REWARDS} WHERE reward_status IN ('pending', 'approved')"
    assert int(account.database.run(unpaid)[0][0]) == sum(
        recorded.reward_amount for recorded in account.sandbox.recorded() if recorded.event_id != "re_0002"
    )
    after = account.track(refund(1), refund(2), refund(3))
    assert [one["rewards"] for one in after] == [one["rewards"] for one in before]
    assert [one["commissions"][0]["status"] for one in after] == ["pending", "approved", "approved"]


@BOTH_SHAPES
def test_missing_tier_is_added_without_a_mismatch(account: AccountWithLedger) -> None:
    (result,) = account.track(refund(1))
    account.commission("re_0001", "cus_1", 1001, promoter="ref2", tier=2, amount=-30)

    report = account.reconcile()

    assert (nonzero_kinds(report), report["rewards_updated"], report["matched"]) == ({}, 1, 1)
    assert account.ledger("reward_amount") == {"re_0001": result["rewards"]["cash"] - 30}
    assert account.reconcile()["rewards_updated"] == 0


@BOTH_SHAPES
def test_lost_responses_leave_no_reward_unknown(account: AccountWithLedger, impatient: None) -> None:
    """One in ten responses is lost after the refund was recorded."""
    account.database.fill([refund(n) for n in range(600)])
    for n in range(0, 600, 10):
        account.sandbox.fault("reset_after", event_id=f"re_{n:04}")

    summary = account.sync(recover_rewards=False)  # a reward whose response was lost is looked up all the same

    reversed_in_total = sum(recorded.reward_amount for recorded in account.sandbox.recorded())
    assert summary["outcomes"]["recorded"] == 540
    assert summary["outcomes"]["already_recorded"] == 60
    assert summary["rewards_unknown"] == 0
    assert summary["rewards"] == {"cash": reversed_in_total}
    assert sum(account.ledger("reward_amount").values()) == reversed_in_total
    report = account.reconcile(max_mismatches=0)
    assert (report["matched"], report["rewards_filled"], report["rewards_updated"]) == (600, 0, 0)
