"""MismatchTable on every database on which the ledger is tested."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from airflow_provider_firstpromoter.calls import REFUND
from airflow_provider_firstpromoter.ledger import Ledger
from airflow_provider_firstpromoter.reconcile import Mismatch, MismatchKind, MismatchTable

THEN = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
OPEN = "resolved_at IS NULL AND accepted_at IS NULL"


@pytest.fixture
def table(database: Any) -> MismatchTable:
    table = MismatchTable(Ledger(database.engine(), "acc", name="warehouse", call=REFUND))
    table.ensure()
    return table


KINDS = frozenset(MismatchKind)


def mismatch(event_id: str, kind: MismatchKind = MismatchKind.AMOUNT_DIFFERS, **values: Any) -> Mismatch:
    return Mismatch(kind, event_id, **{"commission_id": 7, "happened_at": THEN, "ledger_amount": -1, **values})


def event_ids(database: Any, where: str) -> set[str]:
    return {row[0] for row in database.run(f"SELECT event_id FROM firstpromoter_refunds_mismatches WHERE {where}")}


def test_mismatches_are_written_changed_resolved_and_reopened(table: MismatchTable, database: Any) -> None:
    assert table.write([mismatch("re_1"), mismatch("re_2", commission_id=2**60)]) == set()
    table.write([mismatch("re_1", firstpromoter_amount=-(2**62)), mismatch("re_2", commission_id=2**60)])
    assert event_ids(database, f"{OPEN} AND firstpromoter_amount = {-(2**62)}") == {"re_1"}

    assert sorted(table.open_mismatches(KINDS, None, None)) == [
        ("amount_differs", "re_1", 7),
        ("amount_differs", "re_2", 2**60),
    ]
    table.resolve([("amount_differs", "re_2", 2**60)])
    assert event_ids(database, OPEN) == {"re_1"}
    assert list(table.open_mismatches(KINDS, THEN + timedelta(seconds=1), None)) == []
    assert list(table.open_mismatches(KINDS, THEN, THEN)) == []
    assert list(table.open_mismatches(KINDS, THEN, THEN + timedelta(seconds=1))) == [("amount_differs", "re_1", 7)]

    table.write([mismatch("re_2", commission_id=2**60)])
    assert event_ids(database, OPEN) == {"re_1", "re_2"}


def test_accept_returns_what_it_accepted_and_write_which_stay_accepted(table: MismatchTable, database: Any) -> None:
    found = [mismatch("re_1"), mismatch("RE_1"), mismatch("re_2"), mismatch("", commission_id=9)]
    table.write(found)

    assert [one.key for one in table.accept(["re_1", "re_3", ""])] == [("amount_differs", "re_1", 7)]
    assert event_ids(database, OPEN) == {"RE_1", "re_2", ""}
    assert table.accept(["re_1"]) == []
    assert table.accept([], [9, 0])[0].commission_id == 9

    assert table.write(found) == {("amount_differs", "re_1", 7), ("amount_differs", "", 9)}
    assert table.write([mismatch("re_1", firstpromoter_reward_status="paid")]) == {("amount_differs", "re_1", 7)}
    assert table.write([mismatch("re_1", ledger_amount=-2)]) == set()
    assert event_ids(database, OPEN) == {"re_1", "RE_1", "re_2"}


def test_statements_do_not_grow_with_the_mismatches(table: MismatchTable) -> None:
    statements: list[str] = []
    event.listen(table.engine, "before_cursor_execute", lambda *values: statements.append(values[2]))

    def count(found: list[Mismatch]) -> int:
        statements.clear()
        table.write(found)
        table.resolve([one.key for one in found])
        return len(statements)

    assert count([mismatch(f"re_{n}") for n in range(3)]) == count([mismatch(f"x_{n}") for n in range(180)])
    assert count([mismatch(f"x_{n}", ledger_amount=-2) for n in range(500)]) < 12
