"""Which rows a look finds pending, and in which order, with a ledger in SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from airflow_provider_firstpromoter.calls import (
    REFUND,
    Outcome,
    Refund,
    Result,
    Row,
    numbered,
)
from airflow_provider_firstpromoter.ledger import Ledger, LedgerWrite, RunKey
from airflow_provider_firstpromoter.pending.lookup import find_pending, is_any_pending
from airflow_provider_firstpromoter.pending.rules import (
    REASON_RECHECK,
    REASON_RETRY,
    Action,
    PendingRules,
    classify_rows,
)

KEY = b"a key"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
MONTH = 30 * DAY


def row(event_id: object = "re_1", amount: object = 1000, **columns: object) -> Row:
    return next(numbered([{"event_id": event_id, "amount": amount, "uid": "cus_1", **columns}], call=REFUND))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    engine = create_engine(f"sqlite:///{tmp_path / 'ledger.db'}", future=True)
    ledger = Ledger(engine, "acc-1", call=REFUND)
    ledger.ensure()
    yield ledger
    engine.dispose()


def settle(
    ledger: Ledger, of: Row, outcome: Outcome, ago: timedelta = 5 * DAY, *, sent: bool = True, alone: bool = True
) -> None:
    """
    Write what became of a row.

    :param sent: False for one that validation refused
    :param alone: False for one that was rejected together with others of its event_id
    """
    refund = Refund.from_row(of.values) if sent else None
    result = Result(event_id=of.event_id, outcome=outcome, sent=sent, http_status=200 if sent else None)
    at = datetime.now(UTC) - ago
    ledger.write(
        [
            LedgerWrite.of_row(
                of, result, refund, None, RunKey(), key=KEY, at=at, seen_at=at, contents=None if alone else ()
            )
        ],
        RunKey(),
    )


def found(rows: list[dict[str, object]], ledger: Ledger, limit: int = 100, **how: Any) -> list[Row]:
    given = numbered(({"uid": "cus_1", **row} for row in rows), call=REFUND)
    return find_pending(given, ledger, PendingRules(KEY, **how), limit=limit)


def pending(rows: list[dict[str, object]], ledger: Ledger, limit: int = 100, **how: Any) -> list[str | None]:
    return [row.event_id for row in found(rows, ledger, limit, **how)]


def test_pending_rows_are_in_the_order_of_a_run(ledger: Ledger) -> None:
    settle(ledger, row("again"), Outcome.NOT_REFERRED)
    settle(ledger, row("failed"), Outcome.FAILED)
    rows: list[dict[str, object]] = [
        {"event_id": "again", "amount": 1000},
        {"event_id": "failed", "amount": 1000},
        {"event_id": "new 1", "amount": 1},
        {"event_id": "new 2", "amount": 2},
    ]
    assert pending(rows, ledger, recheck_unreferred=MONTH) == ["new 1", "new 2", "failed", "again"]
    assert pending(rows, ledger, recheck_unreferred=MONTH, limit=2) == ["new 1", "new 2"]
    assert pending(rows, ledger) == ["new 1", "new 2", "failed"]


def test_pending_rows_say_why_the_ledgers_outcome_does_not_hold(ledger: Ledger) -> None:
    for event_id, outcome in (("a", Outcome.NOT_REFERRED), ("b", Outcome.REJECTED), ("c", Outcome.FAILED)):
        settle(ledger, row(event_id), outcome)
    settle(ledger, row("corrected", 0), Outcome.REJECTED, sent=False)
    settle(ledger, row("corrected id", uid="cus_9"), Outcome.NOT_REFERRED)
    rows: list[dict[str, object]] = [{"event_id": event_id, "amount": 1000} for event_id in ("a", "b", "c", "new")]
    rows += [{"event_id": event_id, "amount": 1000} for event_id in ("corrected", "corrected id")]
    reasons = {one.event_id: one.reason for one in found(rows, ledger, recheck_unreferred=MONTH, retry_rejected=True)}
    assert reasons == {
        "new": None,
        "b": REASON_RETRY,
        "c": None,
        "corrected": None,
        "corrected id": None,
        "a": REASON_RECHECK,
    }


def test_rejected_row_is_pending_again_after_twenty_hours_only(ledger: Ledger) -> None:
    """Otherwise it would end the sensor's wait again as soon as the task downstream has sent it."""
    rows: list[dict[str, object]] = []
    for event_id, ago in (("lately", 19 * HOUR), ("long ago", 20 * HOUR + SECOND)):
        settle(ledger, row(event_id), Outcome.REJECTED, ago)
        rows.append({"event_id": event_id, "amount": 1000})
    for event_id, ago in (("by validation, lately", 19 * HOUR), ("by validation, long ago", 20 * HOUR + SECOND)):
        settle(ledger, row(event_id, 0), Outcome.REJECTED, ago, sent=False)
        rows.append({"event_id": event_id, "amount": 0})

    assert sorted(map(str, pending(rows, ledger, retry_rejected=True))) == ["by validation, long ago", "long ago"]
    assert pending(rows, ledger) == []


@pytest.mark.parametrize(("ago", "found"), [(HOUR, 0), (DAY, 2)])
def test_rows_that_were_rejected_together_are_pending_again_after_twenty_hours_only(
    ledger: Ledger, ago: timedelta, found: int
) -> None:
    settle(ledger, row("re_1"), Outcome.REJECTED, ago, sent=False, alone=False)

    rows = list(numbered(({"event_id": "re_1", "amount": 1000, "uid": uid} for uid in ("cus_1", "cus_2")), call=REFUND))
    assert len(find_pending(rows, ledger, PendingRules(KEY), limit=10)) == found


def test_settled_and_rejected_rows_take_no_place_of_a_new_one(ledger: Ledger) -> None:
    settle(ledger, row("settled"), Outcome.RECORDED)
    rows: list[dict[str, object]] = [{"event_id": "settled", "amount": 1000}]
    for number in range(5):
        settle(ledger, row(f"rejected {number}", 0), Outcome.REJECTED, sent=False)
        rows.append({"event_id": f"rejected {number}", "amount": 0})
    assert pending(rows, ledger, limit=2) == []
    assert pending([*rows, {"event_id": "new", "amount": 1}], ledger, limit=2) == ["new", "rejected 0"]


def test_rows_that_need_attention_are_pending_only_beside_others(ledger: Ledger) -> None:
    settle(ledger, row("changed"), Outcome.RECORDED)
    for_a_person: list[dict[str, object]] = [
        {"event_id": "changed", "amount": 1500},
        {"event_id": None, "amount": 1},
    ]
    assert pending(for_a_person, ledger) == []
    assert pending([*for_a_person, {"event_id": "new", "amount": 1}], ledger) == ["new", None, "changed"]
    assert pending([*for_a_person, {"event_id": "new", "amount": 1}], ledger, limit=1) == ["new"]


def test_corrected_row_is_pending_again(ledger: Ledger) -> None:
    settle(ledger, row("rejected", 0), Outcome.REJECTED, sent=False)
    assert pending([{"event_id": "rejected", "amount": 5}], ledger) == ["rejected"]


def test_question_whether_any_is_pending_ends_with_the_first(ledger: Ledger) -> None:
    taken = 0

    def rows() -> Iterator[dict[str, object]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"event_id": taken, "amount": 1, "uid": "cus_1"}

    assert is_any_pending(numbered(rows(), call=REFUND), ledger, PendingRules(KEY))
    assert taken <= 1000


def test_rows_that_another_account_settled_are_pending(ledger: Ledger) -> None:
    settle(Ledger(ledger.engine, "acc-1@staging.example.com", call=REFUND), row("re_1"), Outcome.RECORDED)
    assert pending([{"event_id": "re_1", "amount": 1000}], ledger) == ["re_1"]


def test_every_row_is_sent_without_a_ledger() -> None:
    (batch,) = classify_rows(
        numbered([{"event_id": "a", "amount": 1}, {"amount": 1}], call=REFUND), None, PendingRules(KEY)
    )
    assert [(one.row.position, one.action, one.record) for one in batch] == [
        (0, Action.SEND, None),
        (1, Action.SEND, None),
    ]


def test_row_comes_with_its_ledger_record(ledger: Ledger) -> None:
    settle(ledger, row("settled"), Outcome.RECORDED)
    rows = [{"event_id": "new", "amount": 1}, {"event_id": "settled", "amount": 1000}]
    (batch,) = classify_rows(numbered(rows, call=REFUND), ledger, PendingRules(KEY))
    assert [one.action for one in batch] == [Action.SEND, Action.SETTLED]
    assert batch[0].record is None
    assert batch[1].record is not None
    assert batch[1].record.result().to_json() == {
        **Result(event_id="settled", outcome=Outcome.RECORDED, http_status=200).to_json(),
        "sent": False,
        "reported_by": batch[1].record.run._asdict(),
    }


def test_batch_is_checked_against_the_ledger_when_it_is_read(ledger: Ledger) -> None:
    rows = [{"event_id": number, "amount": 1000, "uid": "cus_1"} for number in range(501)]
    batches = classify_rows(numbered(rows, call=REFUND), ledger, PendingRules(KEY))
    assert {one.action for one in next(batches)} == {Action.SEND}
    settle(ledger, row(500), Outcome.RECORDED)  # by another task meanwhile
    assert [one.action for one in next(batches)] == [Action.SETTLED]
