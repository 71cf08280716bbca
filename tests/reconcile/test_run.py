"""ReconcileRefundsOperator: ledger and books are compared, what differs is found, and a lost ledger comes back."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum
import pytest

from airflow_provider_firstpromoter.exceptions import BooksDifferError, ConnectionSettingsError, ReadError
from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from airflow_provider_firstpromoter.operators.refund import TrackRefundOperator
from airflow_provider_firstpromoter.reconcile import run as reconcile
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

TODAY = datetime.now(UTC)
TABLE = "firstpromoter_refunds_mismatches"


class TaskInstance:
    def __init__(self, task_id: str) -> None:
        self.dag_id, self.run_id, self.task_id, self.map_index, self.try_number = "dag", "run", task_id, -1, 1
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))


class World:
    """An account with a ledger: refunds are sent by operators, and the books changed behind their backs."""

    def __init__(self, sandbox: Sandbox, database: Any) -> None:
        self.sandbox = sandbox
        self.database = database
        self.pushed: dict[str, Any] = {}

    def _run(self, operator: Any) -> Any:
        ti = TaskInstance(operator.task_id)
        try:
            return operator.execute({"ti": ti})
        finally:
            self.pushed = ti.pushed

    def track(self, *refunds: dict[str, Any], **parameters: Any) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = self._run(
            TrackRefundOperator(task_id="track", refunds=list(refunds), **parameters)
        )
        return results

    def sync(self, **parameters: Any) -> dict[str, Any]:
        sql = "SELECT * FROM refunds"
        summary: dict[str, Any] = self._run(
            SqlToFirstPromoterOperator(task_id="sync", sql=sql, sql_conn_id="warehouse", **parameters)
        )
        return summary

    def reconcile(self, **parameters: Any) -> dict[str, Any]:
        told: dict[str, Any] = self._run(
            ReconcileRefundsOperator(task_id="reconcile", **{"max_mismatches": None, **parameters})
        )
        return told

    def commission(self, event_id: str | None, uid: str, refunded: int, days_ago: float = 0, **more: Any) -> int:
        """A refund that stands in the books, whoever sent it."""
        created_at = TODAY - timedelta(days=days_ago)
        return self.sandbox.add_commission(
            event_id=event_id, uid=uid, sale_amount=-refunded, created_at=created_at, **more
        )

    def ledger(self, columns: str = "outcome") -> dict[str, Any]:
        rows = self.database.run(f"SELECT event_id, {columns} FROM firstpromoter_refunds")
        return {event_id: tuple(more) if len(more) > 1 else more[0] for event_id, *more in rows}

    def mismatches(self, columns: str = "kind, event_id", where: str = "resolved_at IS NULL") -> list[Any]:
        return sorted(self.database.run(f"SELECT {columns} FROM {TABLE} WHERE {where}"), key=str)

    def everything(self) -> list[Any]:
        """All that a reconciliation could change."""
        return [
            sorted(self.database.run(f"SELECT * FROM {table}"), key=str) for table in ("firstpromoter_refunds", TABLE)
        ]


@pytest.fixture
def world(sandbox: Sandbox, connect: Callable[..., str], warehouse: Any) -> World:
    connect(ledger_conn_id="warehouse", max_attempts=3)
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(1000))
    return World(sandbox, warehouse)


def refund(number: int, **values: Any) -> dict[str, Any]:
    return {"event_id": f"re_{number:04}", "amount": 1000 + number, "uid": f"cus_{number}", **values}


def differing(told: dict[str, Any]) -> dict[str, int]:
    return {kind: told[kind] for kind in reconcile.Kind if told[kind]}


# --- what differs ---


def test_two_sides_that_agree(world: World) -> None:
    world.track(*(refund(n) for n in range(5)))

    told = world.reconcile(max_mismatches=0)

    assert (told["matched"], told["mismatches"], differing(told)) == (5, 0, {})
    assert world.mismatches() == []
    assert told["commissions"] == 5
    assert told["requests"] == 1, "the books come a hundred at a time, and nothing has to be looked up"


def test_planted_differences_of_every_kind_are_found_and_nothing_else(world: World) -> None:
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
    twin = world.commission("stripe_6", "cus_6", 1006)
    by_hand = world.commission("by_hand", "cus_7", 4711)
    nameless = world.commission(None, "cus_8", 4712)
    # None of these is a refund's.
    sandbox.add_commission(uid="cus_9", event_id="a_sale", sale_amount=1009)
    sandbox.add_commission(uid="cus_9", event_id="an_adjustment", sale_amount=-5, commission_type="custom")

    told = world.reconcile()

    assert differing(told) == {
        "absent_there": 1,
        "amount_differs": 1,
        "reversed_twice": 1,
        "reward_changed": 2,
        "unknown_here": 2,
    }
    assert told["mismatches"] == 5, "a reward that was paid or denied is none"
    assert told["matched"] == 13 - 4
    assert {kind: [case["event_id"] for case in cases] for kind, cases in told["cases"].items()} == {
        "absent_there": ["re_0001"],
        "amount_differs": ["re_0002"],
        "reversed_twice": ["stripe_6"],
        "reward_changed": ["re_0003", "re_0004"],
        "unknown_here": ["", "by_hand"],
    }
    assert told["table"] == TABLE
    assert world.mismatches("kind, event_id, commission_id, other_event_id, ledger_amount, firstpromoter_amount") == [
        ("absent_there", "re_0001", 0, None, -1001, None),
        ("amount_differs", "re_0002", ids["re_0002"], None, -1002, -900),
        ("reversed_twice", "stripe_6", twin, "re_0006", None, -1006),
        ("unknown_here", "", nameless, None, None, -4712),
        ("unknown_here", "by_hand", by_hand, None, None, -4711),
    ]
    changed = world.mismatches("event_id, ledger_reward_status, firstpromoter_reward_status", "kind = 'reward_changed'")
    assert changed == [("re_0003", "approved", "denied"), ("re_0004", "approved", "paid")]

    before = world.everything()
    again = world.reconcile()
    assert world.everything() == before, "an unchanged world changes nothing"
    assert differing(again) == {kind: n for kind, n in differing(told).items() if kind != "reward_changed"}
    assert again["matched"] == told["matched"] + 2


def test_beyond_max_mismatches_the_task_fails_when_all_is_written(world: World) -> None:
    world.track(refund(1))
    for n in range(7):
        world.commission(f"other_{n}", f"cus_{n}", 5000 + n)
    assert world.reconcile(max_mismatches=7)["mismatches"] == 7

    with pytest.raises(BooksDifferError) as error:
        world.reconcile(max_mismatches=6)

    assert str(error.value) == (
        "7 unknown_here (max_mismatches=6): unknown_here: 'other_0'; unknown_here: 'other_1'; unknown_here: 'other_2'; "
        f"unknown_here: 'other_3'; unknown_here: 'other_4' …. All of them are in {TABLE}, where resolved_at is empty"
    )
    assert world.pushed["return_value"]["unknown_here"] == 7
    assert len(world.mismatches()) == 7


def test_what_is_gone_later_is_resolved_and_what_comes_back_is_open_again(world: World) -> None:
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


def test_only_as_many_twins_as_refunds_that_were_sent(world: World) -> None:
    world.track(refund(1))
    for number in range(3):
        world.commission(f"stripe_{number}", "cus_1", 1001)

    assert differing(world.reconcile()) == {"reversed_twice": 1, "unknown_here": 2}


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
def test_amounts_are_compared_as_the_customer_paid_them(
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


# --- days ---


def test_only_the_days_asked_for_are_judged(world: World) -> None:
    world.track(refund(1))
    for days_ago in (0, 5, 10, 20):
        world.commission(f"old_{days_ago}", "cus_1", 7000 + days_ago, days_ago)

    def found(**days: Any) -> list[str]:
        return [case["event_id"] for case in world.reconcile(**days)["cases"].get("unknown_here", [])]

    ten, five = TODAY.date() - timedelta(days=10), TODAY.date() - timedelta(days=5)
    assert sorted(found()) == ["old_0", "old_10", "old_20", "old_5"]
    assert sorted(found(created_from=str(ten), created_to=str(five))) == ["old_10", "old_5"]
    assert found(created_from=pendulum.instance(TODAY)) == ["old_0"]
    assert sorted(found(created_from=timedelta(days=5))) == ["old_0", "old_5"]
    assert found(created_to=ten - timedelta(days=1)) == ["old_20"]
    assert len(world.mismatches()) == 4, "what is of other days is not resolved"


def test_a_refund_that_stands_under_another_day_is_looked_up(world: World) -> None:
    world.track(refund(1), refund(2))
    world.sandbox.store.execute(
        "UPDATE commissions SET created_at = '2020-01-01T00:00:00.000Z' WHERE event_id = 're_0001'"
    )

    told = world.reconcile(created_from=TODAY.date())

    assert (told["matched"], told["mismatches"]) == (2, 0)
    assert told["requests"] == 2


def test_lookups_have_an_end_and_the_report_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "MOST_LOOKUPS", 3)
    world.track(*(refund(n) for n in range(8)))
    world.sandbox.store.execute("UPDATE commissions SET created_at = '2020-01-01T00:00:00.000Z'")

    told = world.reconcile(created_from=TODAY.date())

    assert (told["matched"], told["absent_there"]) == (3, 5)
    assert "Only the first 3 refunds" in told["warnings"][0]


@pytest.mark.parametrize(
    ("days", "message"),
    [
        ({"created_from": "yesterday"}, "'yesterday' is no date such as 2026-01-31"),
        ({"created_from": 5}, "5 is no date"),
        ({"created_from": "2026-02-01", "created_to": "2026-01-31"}, "created_to .2026-01-31. is before created_from"),
    ],
)
def test_days_that_are_none_are_refused(world: World, days: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        world.reconcile(**days)
    assert world.sandbox.request_counts() == {}


# --- what the ledger takes over ---


def test_a_ledger_emptied_by_accident_is_rebuilt_by_adoption(world: World) -> None:
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


def test_adopted_refunds_never_leave_the_database_again(world: World) -> None:
    world.database.fill([refund(n) for n in range(20)])
    for n in range(20):
        world.commission(f"re_{n:04}", f"cus_{n}", 999)  # by the old tool, and before taxes

    world.reconcile(adopt=True)
    summary = world.sync()

    assert (summary["sent"], summary["outcomes"]["changed"]) == (0, 0)
    assert world.sandbox.refund_requests() == []


def test_adoption_takes_refunds_only_and_hands_out_their_rewards(world: World) -> None:
    world.commission("old_1", "cus_1", 1000, 400)
    world.commission("old_1", "cus_1", 1000, 400, promoter="ref2", tier=2, amount=-50)
    world.sandbox.add_commission(uid="cus_2", event_id="old_2", sale_amount=5000)

    told = world.reconcile(adopt=True)

    assert (told["adopted"], told["mismatches"]) == (1, 0)
    assert world.ledger("outcome, reward_amount, first_sent_at") == {"old_1": ("already_recorded", -250, None)}
    (result,) = world.track(refund(1, event_id="old_1"))
    assert (result["sent"], result["outcome"], result["reward"]["amount"]) == (False, "already_recorded", -250)


def test_what_was_not_referred_is_adopted_too_when_it_is_in_the_books(world: World) -> None:
    world.track(refund(5000))
    assert world.ledger() == {"re_5000": "not_referred"}
    world.commission("re_5000", "cus_5", 6000)

    assert differing(world.reconcile()) == {"unknown_here": 1}
    assert world.mismatches("event_id, ledger_outcome") == [("re_5000", "not_referred")]
    assert world.reconcile(adopt=True)["adopted"] == 1
    assert world.ledger() == {"re_5000": "already_recorded"}
    assert world.mismatches() == []


def test_a_twin_is_adopted_and_still_a_twin(world: World) -> None:
    world.track(refund(1))
    world.commission("stripe_1", "cus_1", 1001)

    for _ in range(2):
        assert differing(world.reconcile(adopt=True)) == {"reversed_twice": 1}
    assert world.ledger() == {"re_0001": "recorded", "stripe_1": "already_recorded"}


def test_a_missing_reward_is_filled_in_and_handed_on_from_then_on(world: World) -> None:
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


def test_the_status_of_a_reward_follows_the_books_but_the_result_stays_as_handed_on(world: World) -> None:
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


def test_a_tier_that_the_answer_left_out_is_added_without_an_alarm(world: World) -> None:
    (result,) = world.track(refund(1))
    world.commission("re_0001", "cus_1", 1001, promoter="ref2", tier=2, amount=-30)

    told = world.reconcile()

    assert (differing(told), told["rewards_updated"], told["matched"]) == ({}, 1, 1)
    assert world.ledger("reward_amount") == {"re_0001": result["reward"]["amount"] - 30}
    assert world.reconcile()["rewards_updated"] == 0


def test_lost_answers_leave_no_reward_unknown(world: World, impatient: None) -> None:
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


# --- trouble ---


def test_without_a_ledger_there_is_nothing_to_compare(world: World, connect: Callable[..., str]) -> None:
    connect()
    with pytest.raises(ConnectionSettingsError, match="No ledger is named"):
        world.reconcile()


def test_books_that_cannot_be_read_change_nothing(world: World, impatient: None) -> None:
    world.track(refund(1))
    world.reconcile()
    before = world.everything()
    world.sandbox.store.execute("DELETE FROM commissions")
    world.sandbox.fault("status", status=503, times=None, path="/company/commissions")

    with pytest.raises(ReadError, match="answered 503 in 3 tries"):
        world.reconcile()

    assert world.everything() == before


def test_many_pages_are_read_and_most_of_them_match(world: World) -> None:
    world.sandbox.add_commissions(
        {"event_id": f"x_{n:05}", "uid": f"cus_{n % 1000}", "sale_amount": -(100_000 + n)} for n in range(1730)
    )

    told = world.reconcile(adopt=True)

    assert (told["adopted"], told["requests"], told["commissions"]) == (1730, 18, 1730)
    assert world.reconcile()["matched"] == 1730


def test_memory_does_not_grow_with_the_books(
    sandbox: Sandbox, connect: Callable[..., str], new_database: Callable[..., Any]
) -> None:
    connect(ledger_conn_id="warehouse")
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(1000))
    world = World(sandbox, new_database("sqlite", "warehouse"))

    def peak(first: int, count: int) -> float:
        sandbox.add_commissions(
            {"event_id": f"x_{n:05}", "uid": f"cus_{n % 1000}", "sale_amount": -(100_000 + n)}
            for n in range(first, first + count)
        )
        tracemalloc.start()
        try:
            assert world.reconcile(adopt=True)["adopted"] == count
            return tracemalloc.get_traced_memory()[1] / 2**20
        finally:
            tracemalloc.stop()

    peak(0, 600)  # what is loaded once is no growth
    small, large = peak(600, 600), peak(1200, 3000)

    assert large - small < 2, f"{small:.1f} MiB for 1,200 commissions, {large:.1f} MiB for 4,200"


def test_neither_table_nor_result_holds_an_email_or_a_uid(world: World) -> None:
    world.sandbox.add_lead(uid="cus_secret", email="secret@example.com")
    world.track(refund(1, uid="cus_secret"))
    world.commission("stripe_1", "cus_secret", 1001)
    told = world.reconcile(adopt=True)

    text = json.dumps(told) + str(world.everything())
    assert "re_0001" in text
    assert "secret" not in text
