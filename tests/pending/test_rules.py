"""What is to be done with a row, by what the ledger knows of it. The ledger is a real one, in SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from airflow_provider_firstpromoter.ledger import LedgerRecord, LedgerWrite, RefundLedger
from airflow_provider_firstpromoter.pending.lookup import find_pending
from airflow_provider_firstpromoter.pending.rules import Action, classify, classify_rows
from airflow_provider_firstpromoter.refunds import Outcome, Refund, Result
from airflow_provider_firstpromoter.refunds.rows import Row, numbered

KEY = b"a key"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def row(event_id: object = "re_1", amount: object = 1000, **columns: object) -> Row:
    return next(numbered([{"event_id": event_id, "amount": amount, "uid": "cus_1", **columns}]))


def known(outcome: Outcome, of: Row | None = None, first: datetime = NOW - 5 * DAY, **fields: Any) -> LedgerRecord:
    of = of or row()
    told = {
        "event_id": "re_1",
        "outcome": outcome,
        "http_status": 200,
        "row_amount": of.amount,
        "sent_amount": 1000,
        "sent_currency": None,
        "sale_event_id": None,
        "fingerprint": of.fingerprint(KEY),
        "first_sent_at": first,
        "last_sent_at": first,
    }
    return LedgerRecord(**{**told, **fields})


def action(of: Row, knows: LedgerRecord | None, **how: Any) -> Action:
    return classify(of, knows, key=KEY, now=NOW, **how)


def test_unknown_refund_is_sent() -> None:
    assert action(row(), None) is Action.SEND


@pytest.mark.parametrize("outcome", [Outcome.RECORDED, Outcome.ALREADY_RECORDED, Outcome.NOT_REFERRED])
@pytest.mark.parametrize("amount", [1000, "1000", "1000.00", 1000.0, "1e3"], ids=repr)
def test_settled_refund_with_the_same_amount_stays_settled(outcome: Outcome, amount: object) -> None:
    assert action(row(amount=amount), known(outcome), retry_rejected=True) is Action.SETTLED


@pytest.mark.parametrize("outcome", [Outcome.RECORDED, Outcome.ALREADY_RECORDED, Outcome.NOT_REFERRED])
@pytest.mark.parametrize("amount", [1500, 999, "1000.01", None, "x", -1000], ids=repr)
def test_settled_refund_with_another_amount_is_changed_and_not_sent(outcome: Outcome, amount: object) -> None:
    now_says = row(amount=amount)
    assert action(now_says, known(outcome), recheck_unreferred=90 * DAY, retry_rejected=True) is Action.CHANGED


def test_settled_refund_with_other_columns_changed_is_not_sent() -> None:
    assert action(row(uid="cus_2", currency="EUR"), known(Outcome.RECORDED)) is Action.SETTLED


def test_settled_refund_without_a_stored_amount_is_not_changed() -> None:
    assert action(row(), known(Outcome.RECORDED, row_amount=None)) is Action.SETTLED


def test_rejected_row_is_sent_only_after_its_content_changed() -> None:
    rejected = known(Outcome.REJECTED, row(amount=0))
    assert action(row(amount=0), rejected) is Action.STILL_REJECTED
    assert action(row(amount="0"), rejected) is Action.STILL_REJECTED  # out of XCom
    assert action(row(amount=5), rejected) is Action.SEND
    assert action(row(amount=0, uid="cus_2"), rejected) is Action.SEND
    assert classify(row(amount=0), rejected, key=b"another key", now=NOW) is Action.SEND


def test_rejected_row_is_sent_with_retry_rejected() -> None:
    assert action(row(), known(Outcome.REJECTED), retry_rejected=True) is Action.SEND


def test_not_referred_refund_is_rechecked_only_with_recheck_unreferred() -> None:
    assert action(row(), known(Outcome.NOT_REFERRED)) is Action.SETTLED
    assert action(row(), known(Outcome.NOT_REFERRED), recheck_unreferred=30 * DAY) is Action.RECHECK


@pytest.mark.parametrize("outcome", [Outcome.RECORDED, Outcome.ALREADY_RECORDED])
def test_recorded_refund_is_never_sent_again(outcome: Outcome) -> None:
    assert action(row(), known(outcome), recheck_unreferred=30 * DAY) is Action.SETTLED


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (5 * DAY, 5 * DAY, Action.RECHECK),
        (5 * DAY, DAY, Action.RECHECK),
        (5 * DAY, DAY - SECOND, Action.SETTLED),  # at most once a day
        (30 * DAY - SECOND, 2 * DAY, Action.RECHECK),
        (30 * DAY, 2 * DAY, Action.SETTLED),  # until that long after it was first sent
        (90 * DAY, 2 * DAY, Action.SETTLED),
        (None, 2 * DAY, Action.SETTLED),
        (5 * DAY, None, Action.SETTLED),
    ],
)
def test_not_referred_refund_is_rechecked_once_a_day_within_the_period(
    first: timedelta | None, last: timedelta | None, expected: Action
) -> None:
    knows = known(
        Outcome.NOT_REFERRED,
        first_sent_at=first and NOW - first,
        last_sent_at=last and NOW - last,
    )
    assert action(row(), knows, recheck_unreferred=30 * DAY) is expected


# --- against a ledger -----------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[RefundLedger]:
    engine = create_engine(f"sqlite:///{tmp_path / 'ledger.db'}", future=True)
    ledger = RefundLedger(engine, "acc-1")
    ledger.ensure()
    yield ledger
    engine.dispose()


def settle(ledger: RefundLedger, of: Row, outcome: Outcome, ago: timedelta = 5 * DAY) -> None:
    result = Result(event_id=of.event_id, outcome=outcome, sent=outcome is not Outcome.REJECTED, http_status=200)
    refund = None if outcome is Outcome.REJECTED else Refund.from_row(of.values)
    ledger.write([LedgerWrite(result, of.amount, of.fingerprint(KEY), refund, at=datetime.now(UTC) - ago)])


def pending(rows: list[dict[str, object]], ledger: RefundLedger, limit: int = 100, **how: Any) -> list[str | None]:
    found = find_pending(numbered({"uid": "cus_1", **row} for row in rows), ledger, key=KEY, limit=limit, **how)
    return [row.event_id for row in found]


def test_new_refunds_come_before_rechecks(ledger: RefundLedger) -> None:
    settle(ledger, row("again"), Outcome.NOT_REFERRED)
    rows: list[dict[str, object]] = [
        {"event_id": "again", "amount": 1000},
        {"event_id": "new 1", "amount": 1},
        {"event_id": "new 2", "amount": 2},
    ]
    assert pending(rows, ledger, recheck_unreferred=30 * DAY) == ["new 1", "new 2", "again"]
    assert pending(rows, ledger, recheck_unreferred=30 * DAY, limit=2) == ["new 1", "new 2"]
    assert pending(rows, ledger) == ["new 1", "new 2"]


def test_settled_and_rejected_rows_do_not_use_up_the_limit(ledger: RefundLedger) -> None:
    settle(ledger, row("settled"), Outcome.RECORDED)
    rows: list[dict[str, object]] = [{"event_id": "settled", "amount": 1000}]
    for number in range(5):
        settle(ledger, row(f"rejected {number}", 0), Outcome.REJECTED)
        rows.append({"event_id": f"rejected {number}", "amount": 0})
    assert pending(rows, ledger, limit=2) == []
    assert pending([*rows, {"event_id": "new", "amount": 1}], ledger, limit=2) == ["new"]


def test_rows_that_need_attention_are_pending_only_beside_others(ledger: RefundLedger) -> None:
    settle(ledger, row("changed"), Outcome.RECORDED)
    for_a_person: list[dict[str, object]] = [
        {"event_id": "changed", "amount": 1500},
        {"event_id": None, "amount": 1},
    ]
    assert pending(for_a_person, ledger) == []
    assert pending([*for_a_person, {"event_id": "new", "amount": 1}], ledger) == ["new", "changed", None]
    assert pending([*for_a_person, {"event_id": "new", "amount": 1}], ledger, limit=1) == ["new"]


def test_corrected_row_is_pending_again(ledger: RefundLedger) -> None:
    settle(ledger, row("rejected", 0), Outcome.REJECTED)
    assert pending([{"event_id": "rejected", "amount": 5}], ledger) == ["rejected"]


def test_reading_stops_at_the_limit(ledger: RefundLedger) -> None:
    taken = 0

    def rows() -> Iterator[dict[str, object]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"event_id": taken, "amount": 1, "uid": "cus_1"}

    assert len(find_pending(numbered(rows()), ledger, key=KEY, limit=10)) == 10
    assert taken <= 1000


def test_ledger_of_another_account_settles_nothing(ledger: RefundLedger) -> None:
    settle(RefundLedger(ledger.engine, "acc-1@staging.example.com"), row("re_1"), Outcome.RECORDED)
    assert pending([{"event_id": "re_1", "amount": 1000}], ledger) == ["re_1"]


def test_every_row_is_sent_without_a_ledger() -> None:
    (batch,) = classify_rows(numbered([{"event_id": "a", "amount": 1}, {"amount": 1}]), None, key=KEY)
    assert [(one.row.position, one.action, one.record) for one in batch] == [
        (0, Action.SEND, None),
        (1, Action.SEND, None),
    ]


def test_row_comes_with_its_ledger_record(ledger: RefundLedger) -> None:
    settle(ledger, row("settled"), Outcome.RECORDED)
    rows = [{"event_id": "new", "amount": 1}, {"event_id": "settled", "amount": 1000}]
    (batch,) = classify_rows(numbered(rows), ledger, key=KEY)
    assert [one.action for one in batch] == [Action.SEND, Action.SETTLED]
    assert batch[0].record is None
    assert batch[1].record is not None
    assert batch[1].record.result().to_json() == {
        **Result(event_id="settled", outcome=Outcome.RECORDED, http_status=200).to_json(),
        "sent": False,
    }


def test_batch_is_checked_against_the_ledger_when_it_is_read(ledger: RefundLedger) -> None:
    rows = [{"event_id": number, "amount": 1000, "uid": "cus_1"} for number in range(501)]
    batches = classify_rows(numbered(rows), ledger, key=KEY)
    assert {one.action for one in next(batches)} == {Action.SEND}
    settle(ledger, row(500), Outcome.RECORDED)  # by another task meanwhile
    assert [one.action for one in next(batches)] == [Action.SETTLED]
