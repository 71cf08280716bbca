"""Settled refunds stay in the database: the author's query joined with the ledger beside it, on four databases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from airflow_provider_firstpromoter.database.query import RefundQuery
from airflow_provider_firstpromoter.exceptions import RefundInputError, SourceError
from airflow_provider_firstpromoter.ledger import LedgerWrite, RefundLedger
from airflow_provider_firstpromoter.pending.antijoin import unsettled_rows, without_settled
from airflow_provider_firstpromoter.refunds import Outcome, Result
from tests.support import ALL_REFUNDS, EVERY_DATABASE, per_database, refund_with_id

MONTH = timedelta(days=30)
DAY = timedelta(days=1)


class Warehouse:
    """A database with refunds and the ledger of account ``acc`` beside them."""

    def __init__(self, database: Any) -> None:
        self.database = database
        self.kind = database.kind
        self.engine = database.engine()
        self.ledger = RefundLedger(self.engine, "acc", name="warehouse")

    def fill(self, *rows: dict[str, Any], **types: str) -> None:
        self.database.fill(rows, **types)

    def settle(
        self, event_id: str, amount: Any = 1000, outcome: Outcome = Outcome.RECORDED, account: str = "acc", **more: Any
    ) -> None:
        ledger = RefundLedger(self.engine, account, name="warehouse")
        ledger.ensure()
        result = Result(event_id=event_id, outcome=outcome, sent=True)
        row_amount = None if amount is None else str(amount)
        ledger.write([LedgerWrite(result, row_amount=row_amount, fingerprint="f" * 32, **more)])

    def query(self, sql: str = ALL_REFUNDS, parameters: Any = None, name: str = "warehouse") -> RefundQuery:
        return RefundQuery(self.engine, sql, parameters, name)

    def crossing(self, sql: str = ALL_REFUNDS, parameters: Any = None, recheck: timedelta | None = None) -> list[Any]:
        """The event_ids that cross the wire, through the join itself: there is no way back to all of them."""
        query = without_settled(self.query(sql, parameters), self.ledger, recheck)
        return sorted((row["event_id"] for row in query.rows()), key=str)


@pytest.fixture
def beside(database: Any) -> Warehouse:
    return Warehouse(database)


# --- who crosses the wire ---------------------------------------------------------------------------------


def test_settled_refunds_are_left_out_and_others_returned(beside: Warehouse) -> None:
    settled = [Outcome.RECORDED, Outcome.ALREADY_RECORDED, Outcome.NOT_REFERRED]
    for outcome in [*settled, Outcome.REJECTED]:
        beside.settle(outcome.value, outcome=outcome)
        beside.fill(refund_with_id(outcome.value))
    beside.fill(refund_with_id("new"))

    assert beside.crossing() == ["new", "rejected"]


def test_settled_refund_with_another_amount_is_returned(beside: Warehouse) -> None:
    for event_id in ("same", "more", "less", "null"):
        beside.settle(event_id, 1000)
    beside.fill(
        refund_with_id("same"), refund_with_id("more", 1001), refund_with_id("less", 100), refund_with_id("null", None)
    )

    assert beside.crossing() == ["less", "more", "null"]


def test_row_without_an_event_id_is_returned(beside: Warehouse) -> None:
    beside.settle("a")
    beside.fill(refund_with_id(None), refund_with_id("a"), refund_with_id(None))

    assert beside.crossing() == [None, None]


def test_numeric_event_ids_match_their_digits(beside: Warehouse) -> None:
    beside.settle("7")
    beside.settle("9007199254740993")
    beside.fill(refund_with_id(7), refund_with_id(70), refund_with_id(9007199254740993), event_id="BIGINT")

    assert beside.crossing() == [70]


def test_event_ids_are_compared_byte_for_byte(beside: Warehouse) -> None:
    beside.settle("re_A")
    beside.fill(refund_with_id("re_A"), refund_with_id("re_a"), refund_with_id("re_Ä"))

    assert beside.crossing() == ["re_a", "re_Ä"]


def test_ledger_of_another_account_settles_nothing(beside: Warehouse) -> None:
    beside.settle("a", account="other")
    beside.settle("b")
    beside.fill(refund_with_id("a"), refund_with_id("b"))

    assert beside.crossing() == ["a"]


def test_amounts_may_be_decimals(beside: Warehouse) -> None:
    beside.settle("same", "10.50")
    beside.settle("other", "10.50")
    beside.fill(refund_with_id("same", "10.50"), refund_with_id("other", "10.55"), amount="DECIMAL(10, 2)")

    # The same money written otherwise may come: it is compared as numbers once more.
    assert "other" in beside.crossing()
    if beside.kind != "sqlite":
        assert beside.crossing() == ["other"]


def test_row_is_returned_unchanged(beside: Warehouse) -> None:
    beside.settle("a")
    beside.fill(refund_with_id("a"), refund_with_id("b", 55, email="jane@example.com", currency="EUR", quantity=2))

    (row,) = without_settled(beside.query(), beside.ledger).rows()

    given = {"event_id": "b", "amount": 55, "uid": "cus_1", "email": "jane@example.com", "currency": "EUR"}
    assert dict(row) == {**given, "quantity": 2, "sale_event_id": None, "skip_email_notification": None}


@pytest.mark.parametrize(
    ("sent_first", "sent_last", "recheck", "comes"),
    [
        (5 * DAY, 2 * DAY, None, False),
        (5 * DAY, 2 * DAY, MONTH, True),
        (5 * DAY, DAY / 2, MONTH, False),
        (31 * DAY, 2 * DAY, MONTH, False),
    ],
    ids=["not-asked-for", "due", "asked-today", "given-up"],
)
def test_not_referred_refund_is_returned_when_its_recheck_is_due(
    sent_first: timedelta, sent_last: timedelta, recheck: timedelta | None, comes: bool, beside: Warehouse
) -> None:
    now = datetime.now(UTC)
    for ago in (sent_first, sent_last):
        beside.settle("late", outcome=Outcome.NOT_REFERRED, at=now - ago)
        beside.settle("done", at=now - ago)
    beside.fill(refund_with_id("late"), refund_with_id("done"))

    assert beside.crossing(recheck=recheck) == (["late"] if comes else [])


# --- the author's text ------------------------------------------------------------------------------------


PERCENT = ("postgresql", "mariadb")


@pytest.mark.parametrize(
    ("database", "sql", "parameters"),
    per_database(
        (EVERY_DATABASE, ALL_REFUNDS + ";", None),
        (EVERY_DATABASE, ALL_REFUNDS + " -- it's all of them; 100% :really \"? %s", None),
        (EVERY_DATABASE, ALL_REFUNDS + "; -- that is it\n/* %s :name ? */ ;\n", None),
        (EVERY_DATABASE, ALL_REFUNDS + " WHERE event_id LIKE '%x' OR event_id LIKE 're%'", None),
        (EVERY_DATABASE, ALL_REFUNDS + " WHERE '12:30:00' <> ':name' AND '?' <> '%s' AND ';' <> '--'", None),
        (EVERY_DATABASE, "WITH r AS (SELECT * FROM refunds) SELECT * FROM r", None),
        (
            EVERY_DATABASE,
            "SELECT event_id, amount, uid FROM refunds UNION ALL SELECT 're_1', 1000, 'cus_1'",
            None,
        ),
        (EVERY_DATABASE, ALL_REFUNDS + " ORDER BY event_id LIMIT 9", None),
        (
            ("postgresql", "duckdb"),
            "SELECT event_id::text AS event_id, amount::bigint AS amount, uid FROM refunds",
            None,
        ),
        (
            ("postgresql",),
            """SELECT *, '{"a": [1]}'::jsonb #>> '{a,0}', '{"a": 1}'::jsonb ? 'a' AS b FROM refunds""",
            None,
        ),
        (("sqlite",), """SELECT *, json_extract('{"a": [1]}', '$.a[0]') AS one FROM refunds""", None),
        (("mariadb",), """SELECT *, JSON_VALUE('{"a": [1]}', '$.a[0]') AS one FROM refunds""", None),
        (("sqlite",), ALL_REFUNDS + " WHERE event_id = :name OR event_id LIKE '%_2'", {"name": "re_1"}),
        (("sqlite",), ALL_REFUNDS + " WHERE event_id IN (?, ?) -- really?", ["re_1", "re_2"]),
        (PERCENT, ALL_REFUNDS + " WHERE event_id = %(name)s OR event_id LIKE '%%_2'", {"name": "re_1"}),
        (PERCENT, ALL_REFUNDS + " WHERE event_id IN (%s, %s) -- 100%%", ("re_1", "re_2")),
        (PERCENT, ALL_REFUNDS + " WHERE event_id IN %s AND '%%' <> ':x'", [("re_1", "re_2")]),
        (("postgresql",), ALL_REFUNDS + " WHERE event_id = ANY(%s)", [["re_1", "re_2"]]),
        (("duckdb",), ALL_REFUNDS + " WHERE event_id IN (?, ?)", ["re_1", "re_2"]),
        (("duckdb",), ALL_REFUNDS + " WHERE event_id IN ($1, $2)", ["re_1", "re_2"]),
        (("duckdb",), ALL_REFUNDS + " WHERE event_id = $name OR event_id LIKE '%_2'", {"name": "re_1"}),
    ),
    indirect=["database"],
)
def test_authors_sql_keeps_its_meaning_in_the_join(sql: str, parameters: Any, beside: Warehouse) -> None:
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))

    assert beside.crossing(sql, parameters) == ["re_2"]


def test_authors_parameters_are_not_modified(new_database: Callable[..., Any]) -> None:
    beside = Warehouse(new_database("sqlite"))
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"))
    named, listed = {"name": "re_1"}, ["re_1"]

    assert beside.crossing(ALL_REFUNDS + " WHERE event_id = :name", named, recheck=MONTH) == []
    assert beside.crossing(ALL_REFUNDS + " WHERE event_id = ?", listed, recheck=MONTH) == []

    assert (named, listed) == ({"name": "re_1"}, ["re_1"])


# --- where the database cannot do it ----------------------------------------------------------------------


@pytest.fixture
def fallback_said(caplog: pytest.LogCaptureFixture) -> Callable[[], bool]:
    caplog.set_level(logging.INFO)
    return lambda: "cannot be left out by the database" in caplog.text


def came(beside: Warehouse, sql: str = ALL_REFUNDS, name: str = "warehouse", **options: Any) -> list[str]:
    return sorted(row["event_id"] for row in unsettled_rows(beside.query(sql, name=name), beside.ledger, **options))


def test_ledger_in_the_same_database_leaves_out_settled_rows(
    beside: Warehouse, fallback_said: Callable[[], bool]
) -> None:
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))

    assert came(beside) == ["re_2"]
    assert not fallback_said()


@pytest.fixture
def cannot_nest_with(beside: Warehouse) -> Iterator[None]:
    """Refuse WITH in a subquery, as SQL Server does: none of the databases here is of that kind."""

    def refuse(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "(\nWITH" in statement:
            raise OperationalError(statement, None, Exception("Incorrect syntax near the keyword 'WITH'"))

    event.listen(beside.engine, "before_cursor_execute", refuse)
    yield
    event.remove(beside.engine, "before_cursor_execute", refuse)


def test_database_without_nested_with_returns_all_rows(
    beside: Warehouse, cannot_nest_with: None, fallback_said: Callable[[], bool]
) -> None:
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))

    assert came(beside, "WITH r AS (SELECT * FROM refunds) SELECT * FROM r") == ["re_1", "re_2"]
    assert fallback_said()


def test_query_that_cannot_be_nested_returns_all_rows(
    new_database: Callable[..., Any], fallback_said: Callable[[], bool]
) -> None:
    """Two columns of one name stand in the way of PostgreSQL."""
    beside = Warehouse(new_database("postgresql"))
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))

    assert came(beside, "SELECT *, amount FROM refunds") == ["re_1", "re_2"]
    assert fallback_said()


def test_ledger_in_another_database_returns_all_rows(beside: Warehouse) -> None:
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))

    assert came(beside, name="another_connection") == ["re_1", "re_2"]


def test_missing_ledger_is_not_created(beside: Warehouse) -> None:
    beside.fill(refund_with_id("re_1"))

    assert came(beside) == ["re_1"]
    assert not RefundLedger(beside.engine, "acc").exists()


def test_authors_sql_error_is_reported_for_the_authors_sql(beside: Warehouse) -> None:
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"))

    with pytest.raises(SourceError, match="refundz"):
        came(beside, "SELECT * FROM refundz")
    with pytest.raises(RefundInputError, match="lacks the column amount; it has event_id, uid"):
        came(beside, "SELECT event_id, uid FROM refunds")
    with pytest.raises(RefundInputError, match="lacks the column email"):
        came(beside, "SELECT event_id, amount, uid FROM refunds", identify_by=("email",))


def test_error_after_the_first_rows_does_not_restart_the_query(new_database: Callable[..., Any]) -> None:
    beside = Warehouse(new_database("postgresql"))
    beside.settle("re_1")
    sql = "SELECT 're_' || i AS event_id, 5 / (5000 - i) AS amount, 'c' AS uid FROM generate_series(1, 9999) i"
    rows = unsettled_rows(beside.query(sql), beside.ledger)
    seen: list[str] = []

    with pytest.raises(SourceError, match="division by zero"):
        seen.extend(row["event_id"] for row in rows)

    assert len(seen) == len(set(seen)) < 5000
