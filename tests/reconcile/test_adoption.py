"""The ledger takes over what FirstPromoter has: refunds, rewards and their status."""

from __future__ import annotations

from tests.reconcile.account import AccountWithLedger, nonzero_kinds, refund


def test_emptied_ledger_is_rebuilt_with_adopt(account: AccountWithLedger) -> None:
    account.database.fill([refund(n) for n in range(250)] + [refund(n, uid=f"nobody_{n}") for n in range(250, 260)])
    account.sync()
    rewards = "reward_id, reward_amount, reward_unit, reward_status, recorded_amount, promoter_id, lead_id"
    before = account.ledger(rewards)
    account.database.run("DELETE FROM firstpromoter_refunds")
    requests = len(account.sandbox.refund_requests())

    report = account.reconcile(adopt=True, max_mismatches=0)

    assert (report["adopted"], report["requests"]) == (250, 3)
    assert set(account.ledger().values()) == {"already_recorded"}
    assert account.ledger(rewards) == {event_id: row for event_id, row in before.items() if row[0] is not None}
    summary = account.sync()
    # Refunds that were not referred have no commission: only they are sent again.
    assert len(account.sandbox.refund_requests()) - requests == 10
    assert (summary["sent"], summary["outcomes"]["recorded"], summary["outcomes"]["changed"]) == (10, 0, 0)
    assert account.reconcile(adopt=True)["adopted"] == 0


def test_adopted_refunds_are_never_sent(account: AccountWithLedger) -> None:
    account.database.fill([refund(n) for n in range(20)])
    for n in range(20):
        account.commission(f"re_{n:04}", f"cus_{n}", 999)  # recorded by another tool, and before taxes

    account.reconcile(adopt=True)
    summary = account.sync()

    assert (summary["sent"], summary["outcomes"]["changed"]) == (0, 0)
    assert account.sandbox.refund_requests() == []


def test_adopt_takes_refunds_only_and_their_rewards(account: AccountWithLedger) -> None:
    account.commission("old_1", "cus_1", 1000, 400)
    account.commission("old_1", "cus_1", 1000, 400, promoter="ref2", tier=2, amount=-50)
    account.sandbox.add_commission(uid="cus_2", event_id="old_2", sale_amount=5000)

    report = account.reconcile(adopt=True)

    assert (report["adopted"], report["mismatches"]) == (1, 0)
    assert account.ledger("outcome, reward_amount, first_sent_at") == {"old_1": ("already_recorded", -250, None)}
    (result,) = account.track(refund(1, event_id="old_1"))
    assert (result["sent"], result["outcome"], result["reward"]["amount"]) == (False, "already_recorded", -250)


def test_not_referred_refund_with_a_commission_is_adopted(account: AccountWithLedger) -> None:
    account.track(refund(5000))
    assert account.ledger() == {"re_5000": "not_referred"}
    account.commission("re_5000", "cus_5", 6000)

    assert nonzero_kinds(account.reconcile()) == {"missing_in_ledger": 1}
    assert account.mismatches("event_id, ledger_outcome") == [("re_5000", "not_referred")]
    assert account.reconcile(adopt=True)["adopted"] == 1
    assert account.ledger() == {"re_5000": "already_recorded"}
    assert account.mismatches() == []


def test_reversed_twice_commission_is_adopted_and_still_reported(account: AccountWithLedger) -> None:
    account.track(refund(1))
    account.commission("stripe_1", "cus_1", 1001)

    for _ in range(2):
        assert nonzero_kinds(account.reconcile(adopt=True)) == {"reversed_twice": 1}
    assert account.ledger() == {"re_0001": "recorded", "stripe_1": "already_recorded"}


def test_missing_reward_is_filled_in_and_returned_from_then_on(account: AccountWithLedger) -> None:
    account.sandbox.fault("reset_after", event_id="re_0001")
    account.sandbox.fault("status", times=None, path="/company/commissions")
    (result,) = account.track(refund(1))
    assert (result["outcome"], result["reward"]) == ("already_recorded", None)
    account.sandbox.clear_faults()

    report = account.reconcile()

    assert (report["matched"], report["rewards_filled"], report["rewards_updated"]) == (1, 1, 0)
    (row,) = account.sandbox.recorded()
    assert account.ledger("reward_id, reward_amount") == {"re_0001": (row.reward_id, row.reward_amount)}
    (again,) = account.track(refund(1))
    assert again["reward"]["amount"] == row.reward_amount
    assert account.reconcile()["rewards_filled"] == 0


def test_reward_status_follows_the_commission_and_the_result_stays_the_same(account: AccountWithLedger) -> None:
    before = account.track(refund(1), refund(2), refund(3))
    ids = {recorded.event_id: recorded.reward_id for recorded in account.sandbox.recorded()}
    account.sandbox.change_commission(ids["re_0001"], status="pending")
    account.sandbox.change_commission(ids["re_0002"], status="approved", is_paid=True)

    report = account.reconcile()

    assert (report["rewards_updated"], report["reward_changed"], report["matched"]) == (2, 1, 2)
    assert account.ledger("reward_status") == {"re_0001": "pending", "re_0002": "paid", "re_0003": "approved"}
    unpaid = "SELECT sum(reward_amount) FROM firstpromoter_refunds WHERE reward_status IN ('pending', 'approved')"
    assert int(account.database.run(unpaid)[0][0]) == sum(
        recorded.reward_amount for recorded in account.sandbox.recorded() if recorded.event_id != "re_0002"
    )
    after = account.track(refund(1), refund(2), refund(3))
    assert [one["reward"] for one in after] == [one["reward"] for one in before]


def test_missing_tier_is_added_without_a_mismatch(account: AccountWithLedger) -> None:
    (result,) = account.track(refund(1))
    account.commission("re_0001", "cus_1", 1001, promoter="ref2", tier=2, amount=-30)

    report = account.reconcile()

    assert (nonzero_kinds(report), report["rewards_updated"], report["matched"]) == ({}, 1, 1)
    assert account.ledger("reward_amount") == {"re_0001": result["reward"]["amount"] - 30}
    assert account.reconcile()["rewards_updated"] == 0


def test_lost_responses_leave_no_reward_unknown(account: AccountWithLedger, impatient: None) -> None:
    """One in ten of 2,000 responses is lost after the refund was recorded."""
    account.sandbox.add_leads({"uid": f"cus_{number}"} for number in range(1000, 2000))
    account.database.fill([refund(n) for n in range(2000)])
    for n in range(0, 2000, 10):
        account.sandbox.fault("reset_after", event_id=f"re_{n:04}")

    summary = account.sync(recover_rewards=False)  # a reward whose response was lost is looked up all the same

    reversed_in_total = sum(recorded.reward_amount for recorded in account.sandbox.recorded())
    assert summary["outcomes"]["recorded"] == 1800
    assert summary["outcomes"]["already_recorded"] == 200
    assert summary["rewards_unknown"] == 0
    assert summary["reversed"] == {"cash": reversed_in_total}
    assert sum(account.ledger("reward_amount").values()) == reversed_in_total
    results = account.track(*(refund(n) for n in range(2000)))
    assert sum(result["reward"]["amount"] for result in results) == reversed_in_total
    report = account.reconcile(max_mismatches=0)
    assert (report["matched"], report["rewards_filled"], report["rewards_updated"]) == (2000, 0, 0)
