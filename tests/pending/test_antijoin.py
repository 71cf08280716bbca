"""The author's SQL in the join with the ledger, and what happens where a database cannot join."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND, Outcome
from airflow_provider_firstpromoter.exceptions import InputError, SourceError
from airflow_provider_firstpromoter.ledger import Ledger
from airflow_provider_firstpromoter.pending import merge_join
from airflow_provider_firstpromoter.pending.antijoin import unsettled_rows
from tests.pending.joining import Row, Side, digests, unsettled
from tests.support import ALL_REFUNDS, EVERY_DATABASE, per_database, refund_with_id

MONTH = timedelta(days=30)


def came(beside: Side, sql: str = ALL_REFUNDS, name: str | None = None, **options: Any) -> list[str]:
    rows = unsettled_rows(beside.query(sql, name=name), beside.ledger, **options)
    return sorted(Row(row)["event_id"] for row in rows)


# --- the author's text ------------------------------------------------------------------------------------

PERCENT = ("postgresql", "mariadb")


@pytest.mark.parametrize(
    ("database", "sql", "parameters"),
    per_database(
        (EVERY_DATABASE, ALL_REFUNDS + ";", None),
        (EVERY_DATABASE, ALL_REFUNDS + " -- it's all of them; 100% :really \"? %s", None),
        (EVERY_DATABASE, ALL_REFUNDS + "; -- that is it\n/* %s :name ? */\n", None),
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
def test_authors_sql_keeps_its_meaning_in_the_join(
    sql: str, parameters: Any, beside: Side, crossing: Callable[..., list[Any]]
) -> None:
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))

    assert crossing(sql, parameters, recheck=MONTH) == ["re_2"]


def test_in_list_of_any_length_is_joined(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))
    many = ", ".join(f"'re_{number}'" for number in range(12_000))

    assert crossing(f"{ALL_REFUNDS} WHERE event_id IN ({many});") == ["re_2"]


def test_authors_parameters_are_not_modified(new_database: Callable[..., Any]) -> None:
    beside = Side(new_database("sqlite"))
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"))
    named, listed = {"name": "re_1"}, ["re_1"]

    assert not unsettled("database", beside.query(ALL_REFUNDS + " WHERE event_id = :name", named), beside.ledger, MONTH)
    assert not unsettled("database", beside.query(ALL_REFUNDS + " WHERE event_id = ?", listed), beside.ledger, MONTH)

    assert (named, listed) == ({"name": "re_1"}, ["re_1"])


# --- columns that occur twice -----------------------------------------------------------------------------

JOIN = "FROM refunds r JOIN sales s ON s.sale_id = r.sale_event_id"


@pytest.mark.parametrize("has_ledger", [False, True], ids=["first-run", "with-a-ledger"])
@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ("r.*, s.*", "amount"),
        ("s.*, r.*", "amount"),
        ("r.*, s.amount", "amount"),
        ("r.event_id, r.uid, r.amount, s.amount AS Amount", "amount"),
        ("r.*, s.sale_id AS event_id", "event_id"),
        ("r.event_id, r.amount, r.uid, s.sale_id AS email, s.sale_id AS email", "email"),
    ],
)
def test_column_of_the_call_that_occurs_twice_is_refused(
    columns: str, named: str, has_ledger: bool, beside: Side
) -> None:
    beside.fill(refund_with_id("re_1", 500, sale_event_id="s_1"))
    beside.database.run("CREATE TABLE sales (sale_id VARCHAR(20), amount BIGINT)")
    beside.database.run("INSERT INTO sales VALUES ('s_1', 9900)")
    if has_ledger:
        beside.settle("other")

    with pytest.raises(InputError, match=f"has the column {named} more than once"):
        came(beside, f"SELECT {columns} {JOIN}")
    with pytest.raises(InputError, match=f"has the column {named} more than once"):
        came(beside, f"SELECT {columns} {JOIN}", name="another_connection")


@pytest.mark.parametrize("name", ["warehouse", "another_connection"])
def test_other_column_that_occurs_twice_is_allowed(name: str, beside: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_join, "FEW_ROWS", 0)
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))

    assert came(beside, "SELECT *, 1 AS note, 2 AS note FROM refunds", name=name) == ["re_2"]


# --- where the database cannot do it ----------------------------------------------------------------------


@pytest.mark.parametrize("charset", ["utf8mb4", "latin1"])
def test_collations_of_server_and_connection_have_no_effect(
    charset: str,
    new_database: Callable[..., Any],
    fallback_logged: Callable[[], bool],
) -> None:
    database = new_database("mariadb")
    database.run("ALTER DATABASE COLLATE utf8mb4_unicode_520_ci")
    database.url = database.url.replace("charset=utf8mb4", f"charset={charset}")
    database.dispose()
    beside = Side(database)
    general = "VARCHAR(400) COLLATE utf8mb4_general_ci"
    beside.fill(*map(refund_with_id, ["re_1", "re_2", "re_3"]), event_id=general, amount=general)
    beside.ledger.ensure()
    (digest,) = set(digests("database", beside.query(), beside.ledger))
    beside.settle("re_1", outcome=Outcome.NOT_REFERRED, row_digest=digest)
    beside.settle("re_2")

    assert came(beside) == ["re_3"]
    assert not fallback_logged()


def test_ledger_in_the_same_database_leaves_out_settled_rows(beside: Side, fallback_logged: Callable[[], bool]) -> None:
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))

    assert came(beside) == ["re_2"]
    assert not fallback_logged()


def test_query_of_a_table_that_does_not_exist_is_an_error_without_a_warning_before(
    beside: Side, fallback_logged: Callable[[], bool]
) -> None:
    beside.settle("re_1")

    with pytest.raises(SourceError, match="no_such_table"):
        next(unsettled_rows(beside.query("SELECT * FROM no_such_table"), beside.ledger))

    assert not fallback_logged()


class _Refusing:
    """A DB-API connection to a database that refuses statements with a certain text."""

    def __init__(self, connection: Any, text: str) -> None:
        self._connection = connection
        self._text = text

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        cursor, text = self._connection.cursor(*args, **kwargs), self._text

        class Cursor:
            def execute(self, sql: str, *parameters: Any) -> Any:
                if text in sql:
                    raise RuntimeError("Incorrect syntax near the keyword 'WITH'")
                return cursor.execute(sql, *parameters)

            def __getattr__(self, name: str) -> Any:
                return getattr(cursor, name)

        return Cursor()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.mark.parametrize("refused", ["(\nWITH", "ORDER BY", "CROSS JOIN"])
def test_database_that_refuses_the_join_is_joined_on_the_worker(
    refused: str, beside: Side, fallback_logged: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQL Server takes no ``WITH`` in a subquery; none of the databases here is of that kind."""
    monkeypatch.setattr(merge_join, "FEW_ROWS", 0)
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))
    query = beside.query("WITH r AS (SELECT * FROM refunds) SELECT * FROM r")
    source = query.source
    query = replace(query, source=replace(source, open=lambda: _Refusing(source.open(), refused)))

    assert [Row(row)["event_id"] for row in unsettled_rows(query, beside.ledger)] == ["re_2"]
    assert fallback_logged() == (refused != "ORDER BY")


def test_missing_ledger_is_not_created(beside: Side) -> None:
    beside.fill(refund_with_id("re_1"))

    assert came(beside) == ["re_1"]
    assert not Ledger(beside.engine, "acc", call=REFUND).exists()


@pytest.mark.parametrize("name", ["warehouse", "another_connection"])
def test_authors_sql_error_is_reported_for_the_authors_sql(name: str, beside: Side) -> None:
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"))

    with pytest.raises(SourceError, match=r"(?i)refundz"):
        came(beside, "SELECT * FROM refundz", name)
    with pytest.raises(InputError, match=r"(?i)lacks the column amount; it has event_id, uid"):
        came(beside, "SELECT event_id, uid FROM refunds", name)
    with pytest.raises(InputError, match="lacks the column email"):
        came(beside, "SELECT event_id, amount, uid FROM refunds", name, identify_by=("email",))


def test_error_after_the_first_rows_does_not_restart_the_query(new_database: Callable[..., Any]) -> None:
    beside = Side(new_database("postgresql"))
    beside.settle("re_1")
    sql = "SELECT 're_' || i AS event_id, 5 / (5000 - i) AS amount, 'c' AS uid FROM generate_series(1, 9999) i"
    rows = unsettled_rows(beside.query(sql), beside.ledger)
    seen: list[str] = []

    with pytest.raises(SourceError, match="division by zero"):
        seen.extend(row["event_id"] for row in rows)

    assert len(seen) == len(set(seen)) < 9999
