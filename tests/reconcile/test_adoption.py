"""The ledger takes over what FirstPromoter has: refunds, rewards and their status."""

from __future__ import annotations

from tests.reconcile.world import World, differing, refund


def test_emptied_ledger_is_rebuilt_with_adopt(world: World) -> None:
    world.database.fill([refund(n) for n in range(250)] + [refund(n, uid=f"nobody_{n}") for n in range(250, 260)])
    world.sync()
    rewards = "reward_id, reward_amount, reward_unit, reward_status, recorded_amount, promoter_id, lead_id"
    before = world.ledger(rewards)
    world.database.run("DELETE FROM firstpromoter_refunds")
    requests = len(world.sandbox.refund_requests())

    told = world.reconcile(adopt=True, max_mismatches=0)

    assert (told["adopted"], told["requests"]) == (250, 3)
    assert set(world.ledger().values()) == {"already_recorded"}
    assert world.ledger(rewards) == {event_id: row for event_id, row in before.items() if row[0] is not None}
    summary = world.sync()
    # Those that nobody referred stand in no books: only they are asked about once more.
    assert len(world.sandbox.refund_requests()) - requests == 10
    assert (summary["sent"], summary["outcomes"]["recorded"], summary["outcomes"]["changed"]) == (10, 0, 0)
    assert world.reconcile(adopt=True)["adopted"] == 0


def test_adopted_refunds_are_never_sent(world: World) -> None:
    world.database.fill([refund(n) for n in range(20)])
    for n in range(20):
        world.commission(f"re_{n:04}", f"cus_{n}", 999)  # by the old tool, and before taxes

    world.reconcile(adopt=True)
    summary = world.sync()

    assert (summary["sent"], summary["outcomes"]["changed"]) == (0, 0)
    assert world.sandbox.refund_requests() == []


def test_adopt_takes_refunds_only_and_their_rewards(world: World) -> None:
    world.commission("old_1", "cus_1", 1000, 400)
    world.commission("old_1", "cus_1", 1000, 400, promoter="ref2", tier=2, amount=-50)
    world.sandbox.add_commission(uid="cus_2", event_id="old_2", sale_amount=5000)

    told = world.reconcile(adopt=True)

    assert (told["adopted"], told["mismatches"]) == (1, 0)
    assert world.ledger("outcome, reward_amount, first_sent_at") == {"old_1": ("already_recorded", -250, None)}
    (result,) = world.track(refund(1, event_id="old_1"))
    assert (result["sent"], result["outcome"], result["reward"]["amount"]) == (False, "already_recorded", -250)


def test_not_referred_refund_with_a_commission_is_adopted(world: World) -> None:
    world.track(refund(5000))
    assert world.ledger() == {"re_5000": "not_referred"}
    world.commission("re_5000", "cus_5", 6000)

    assert differing(world.reconcile()) == {"missing_in_ledger": 1}
    assert world.mismatches("event_id, ledger_outcome") == [("re_5000", "not_referred")]
    assert world.reconcile(adopt=True)["adopted"] == 1
    assert world.ledger() == {"re_5000": "already_recorded"}
    assert world.mismatches() == []


def test_reversed_twice_commission_is_adopted_and_still_reported(world: World) -> None:
    world.track(refund(1))
    world.commission("stripe_1", "cus_1", 1001)

    for _ in range(2):
        assert differing(world.reconcile(adopt=True)) == {"reversed_twice": 1}
    assert world.ledger() == {"re_0001": "recorded", "stripe_1": "already_recorded"}


def test_missing_reward_is_filled_in_and_returned_from_then_on(world: World) -> None:
    world.sandbox.fault("reset_after", event_id="re_0001")
    world.sandbox.fault("status", times=None, path="/company/commissions")
    (result,) = world.track(refund(1))
    assert (result["outcome"], result["reward"]) == ("already_recorded", None)
    world.sandbox.clear_faults()

    told = world.reconcile()

    assert (told["matched"], told["rewards_filled"], told["rewards_updated"]) == (1, 1, 0)
    (row,) = world.sandbox.recorded()
    assert world.ledger("reward_id, reward_amount") == {"re_0001": (row.reward_id, row.reward_amount)}
    (again,) = world.track(refund(1))
    assert again["reward"]["amount"] == row.reward_amount
    assert world.reconcile()["rewards_filled"] == 0


def test_reward_status_follows_the_commission_and_the_result_stays_the_same(world: World) -> None:
    before = world.track(refund(1), refund(2), refund(3))
    ids = {recorded.event_id: recorded.reward_id for recorded in world.sandbox.recorded()}
    world.sandbox.change_commission(ids["re_0001"], status="pending")
    world.sandbox.change_commission(ids["re_0002"], status="approved", is_paid=True)

    told = world.reconcile()

    assert (told["rewards_updated"], told["reward_changed"], told["matched"]) == (2, 1, 2)
    assert world.ledger("reward_status") == {"re_0001": "pending", "re_0002": "paid", "re_0003": "approved"}
    unpaid = "SELECT sum(reward_amount) FROM firstpromoter_refunds WHERE reward_status IN ('pending', 'approved')"
    assert int(world.database.run(unpaid)[0][0]) == sum(
        recorded.reward_amount for recorded in world.sandbox.recorded() if recorded.event_id != "re_0002"
    )
    after = world.track(refund(1), refund(2), refund(3))
    assert [one["reward"] for one in after] == [one["reward"] for one in before]


def test_missing_tier_is_added_without_a_mismatch(world: World) -> None:
    (result,) = world.track(refund(1))
    world.commission("re_0001", "cus_1", 1001, promoter="ref2", tier=2, amount=-30)

    told = world.reconcile()

    assert (differing(told), told["rewards_updated"], told["matched"]) == ({}, 1, 1)
    assert world.ledger("reward_amount") == {"re_0001": result["reward"]["amount"] - 30}
    assert world.reconcile()["rewards_updated"] == 0


def test_lost_responses_leave_no_reward_unknown(world: World, impatient: None) -> None:
    """One in ten of 2,000 answers is lost after the refund was recorded."""
    world.sandbox.add_leads({"uid": f"cus_{number}"} for number in range(1000, 2000))
    world.database.fill([refund(n) for n in range(2000)])
    for n in range(0, 2000, 10):
        world.sandbox.fault("reset_after", event_id=f"re_{n:04}")

    summary = world.sync(recover_rewards=False)  # a lost answer is looked up whatever it says

    books = sum(recorded.reward_amount for recorded in world.sandbox.recorded())
    assert summary["outcomes"]["recorded"] == 1800
    assert summary["outcomes"]["already_recorded"] == 200
    assert summary["rewards_unknown"] == 0
    assert summary["reversed"] == {"cash": books}
    assert sum(world.ledger("reward_amount").values()) == books
    results = world.track(*(refund(n) for n in range(2000)))
    assert sum(result["reward"]["amount"] for result in results) == books
    told = world.reconcile(max_mismatches=0)
    assert (told["matched"], told["rewards_filled"], told["rewards_updated"]) == (2000, 0, 0)
