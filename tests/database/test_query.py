"""The warehouse's query goes to the database as its author wrote it, and comes back as a stream, on four databases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException
from sqlalchemy.exc import NoSuchModuleError

from airflow_provider_firstpromoter.database import CallQuery, Source
from airflow_provider_firstpromoter.database.dialects import kind_of_connection
from airflow_provider_firstpromoter.exceptions import InputError, SourceError
from tests.support import EVERY_DATABASE, per_database, refund_with_id

ALL = "SELECT * FROM refunds ORDER BY event_id"


def query(database: Any, sql: str, parameters: Any = None, **options: Any) -> CallQuery:
    return CallQuery(Source.from_engine(database.engine(), "warehouse"), sql, parameters, **options)


def rows(database: Any, sql: str, parameters: Any = None, **options: Any) -> list[Mapping[str, Any]]:
    return list(query(database, sql, parameters, **options).rows())


def ids(database: Any, sql: str, parameters: Any = None) -> list[str]:
    return sorted(row["event_id"] for row in rows(database, sql, parameters))


# --- the author's text ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["12:30:00", ":name", "100%", "%s", "%(name)s", "%%", "?", "$1", "{{ x }}", "a;b"])
def test_literals_and_comments_of_a_query_are_kept(text: str, database: Any) -> None:
    (row,) = rows(database, f"SELECT '{text}' AS event_id, 5 AS amount, 'cus_1' AS uid")

    assert row == {"event_id": text, "amount": 5, "uid": "cus_1"}


@pytest.mark.parametrize(
    ("database", "sql"),
    per_database(
        (EVERY_DATABASE, "SELECT * FROM refunds WHERE event_id LIKE '%x' OR event_id LIKE 're%'"),
        (EVERY_DATABASE, "-- 100% of it's :them \"? %s\n" + ALL),
        (EVERY_DATABASE, "/* it's :all %(of)s $1 */ " + ALL + " -- ; 'done'"),
        (EVERY_DATABASE, "WITH r AS (SELECT * FROM refunds) SELECT * FROM r WHERE '12:30:00' <> ':name'"),
        (("sqlite", "postgresql", "mariadb"), ALL + ";"),
        (("postgresql", "duckdb"), "SELECT event_id::varchar AS event_id, amount::bigint AS amount, uid FROM refunds"),
        (("sqlite",), """SELECT *, json_extract('{"a": [1]}', '$.a[0]') AS one FROM refunds"""),
        (("postgresql",), """SELECT *, '{"a": [1]}'::jsonb #>> '{a,0}', '{"a": 1}'::jsonb ? 'a' AS b FROM refunds"""),
        (("mariadb",), """SELECT *, JSON_VALUE('{"a": [1]}', '$.a[0]') AS one FROM refunds"""),
        (("duckdb",), """SELECT *, '{"a": [1]}'::json ->> '$.a[0]' AS one FROM refunds"""),
    ),
    indirect=["database"],
)
def test_database_specific_sql_is_passed_through(sql: str, database: Any) -> None:
    database.fill([refund_with_id("re_1"), refund_with_id("re_2")])

    assert ids(database, sql) == ["re_1", "re_2"]


@pytest.mark.parametrize(
    ("database", "where", "parameters"),
    per_database(
        (("sqlite",), "event_id = :name OR event_id LIKE '%_2'", {"name": "re_1"}),
        (("sqlite",), "event_id IN (?, ?)", ["re_1", "re_2"]),
        (("postgresql", "mariadb"), "event_id = %(name)s OR event_id LIKE '%%_2'", {"name": "re_1"}),
        (("postgresql", "mariadb"), "event_id IN (%s, %s)", ("re_1", "re_2")),
        (("postgresql", "mariadb"), "event_id IN %s", [("re_1", "re_2")]),
        (("postgresql",), "event_id = ANY(%s) AND amount > %s", [["re_1", "re_2"], 5]),
        (("postgresql",), "event_id = ANY(%(names)s)", {"names": ["re_1", "re_2"]}),
        (("duckdb",), "event_id IN (?, ?)", ["re_1", "re_2"]),
        (("duckdb",), "event_id IN ($1, $2)", ["re_1", "re_2"]),
        (("duckdb",), "event_id = $name OR event_id LIKE '%_2'", {"name": "re_1"}),
    ),
    indirect=["database"],
)
def test_parameters_are_bound_in_the_drivers_style(where: str, parameters: Any, database: Any) -> None:
    database.fill([refund_with_id("re_1"), refund_with_id("re_2"), refund_with_id("re_3")])

    assert ids(database, f"SELECT * FROM refunds WHERE {where}", parameters) == ["re_1", "re_2"]


@pytest.mark.parametrize("nothing", [None, [], (), {}], ids=repr)
def test_empty_parameters_count_as_none(nothing: Any, database: Any) -> None:
    database.fill([refund_with_id("re_1"), refund_with_id("100% re")])

    assert ids(database, "SELECT * FROM refunds WHERE event_id LIKE '%%%re%'", nothing) == ["100% re", "re_1"]


def test_parameter_is_a_value_and_never_sql(database: Any) -> None:
    database.fill([refund_with_id("re_1")])
    place = "?" if database.kind in ("sqlite", "duckdb") else "%s"

    assert ids(database, f"SELECT * FROM refunds WHERE event_id = {place}", ["x' OR '1' = '1"]) == []


# --- what the query must give -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("event_id, uid", "lacks the column amount; it has event_id, uid"),
        ("amount, email", "lacks the column event_id; it has amount, email"),
        ("event_id, amount", "lacks the column uid or email; it has event_id, amount"),
    ],
)
def test_missing_column_is_named_even_without_rows(columns: str, message: str, database: Any) -> None:
    database.fill([])

    with pytest.raises(InputError, match=f"The query on connection 'warehouse' {message}"):
        rows(database, f"SELECT {columns} FROM refunds")


def test_id_outside_identify_by_does_not_replace_the_required_one(database: Any) -> None:
    database.fill([])

    with pytest.raises(InputError, match="lacks the column email"):
        list(query(database, "SELECT event_id, amount, uid FROM refunds").rows(("email",)))


def test_column_names_may_be_in_upper_case(database: Any) -> None:
    quote = "`" if database.kind == "mariadb" else '"'
    columns = ", ".join(
        f"{value} AS {quote}{name}{quote}" for name, value in [("EVENT_ID", "'re_1'"), ("AMOUNT", 5), ("UID", "'c'")]
    )

    assert rows(database, f"SELECT {columns}") == [{"EVENT_ID": "re_1", "AMOUNT": 5, "UID": "c"}]


# --- a stream ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("database", "sql"),
    per_database(
        (
            ("sqlite",),
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
            " SELECT 're_' || i AS event_id, abs(CASE i WHEN 5000 THEN -9223372036854775808 ELSE i END) AS amount,"
            " 'c' AS uid FROM n",
        ),
        (
            ("postgresql",),
            "SELECT 're_' || i AS event_id, 5 / (5000 - i) AS amount, 'c' AS uid FROM generate_series(1, 9999) i",
        ),
        (
            ("mariadb",),
            "SELECT concat('re_', seq) AS event_id, exp(CASE seq WHEN 5000 THEN 9999 ELSE 1 END) AS amount,"
            " 'c' AS uid FROM seq_1_to_9999",
        ),
    ),
    indirect=["database"],
)
def test_rows_are_streamed_and_a_late_error_is_raised(sql: str, database: Any) -> None:
    stream = query(database, sql).rows()
    came: list[str] = []

    with pytest.raises(
        SourceError, match=r"The query on connection 'warehouse' failed after \d+ rows: .*(range|zero|overflow)"
    ):
        came.extend(row["event_id"] for row in stream)

    assert 0 < len(came) < 5000, "those before it had come"


@pytest.mark.parametrize("end", ["close", "exhaust"])
def test_connection_is_closed_once_the_rows_are_read(end: str, database: Any) -> None:
    database.fill([refund_with_id(f"re_{number}") for number in range(2500)])
    stream = query(database, ALL).rows()
    next(stream)

    if end == "close":
        stream.close()
    else:
        assert len(list(stream)) == 2499

    if database.kind in ("postgresql", "mariadb"):
        wait = "SET lock_timeout = '2s'" if database.kind == "postgresql" else "SET SESSION lock_wait_timeout = 2"
        database.run(wait)
    database.run("DROP TABLE refunds")


@pytest.mark.parametrize(
    ("database", "sleep"),
    [("postgresql", "pg_sleep(30)"), ("mariadb", "sleep(30)")],
    indirect=["database"],
)
def test_statement_timeout_ends_a_slow_query(sleep: str, database: Any) -> None:
    sql = f"SELECT 're_1' AS event_id, 5 AS amount, 'c' AS uid, {sleep} AS nap"

    with pytest.raises(SourceError, match=r"timeout|max_statement_time"):
        rows(database, sql, statement_timeout=0.3)

    assert len(rows(database, sql.replace("30", "0"), statement_timeout=30)) == 1


# --- errors and connections -------------------------------------------------------------------------------


def test_database_error_is_reported_in_one_line_without_values(database: Any) -> None:
    place = "?" if database.kind in ("sqlite", "duckdb") else "%s"

    with pytest.raises(SourceError) as raised:
        rows(database, f"SELECT *\nFROM refundz\nWHERE email = {place}", ["jane@example.com"])

    assert "refundz" in str(raised.value)
    assert str(raised.value).startswith("The query on connection 'warehouse' failed: ")
    assert "\n" not in str(raised.value)
    assert "jane" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_email_in_a_database_error_is_masked(new_database: Callable[..., Any]) -> None:
    with pytest.raises(SourceError, match="invalid input syntax for type integer") as raised:
        rows(new_database("postgresql"), "SELECT 'jane@example.com'::int AS event_id, 1 AS amount, 'c' AS uid")

    assert "jane" not in str(raised.value)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "duckdb"])
def test_airflow_connection_opens_the_database(kind: str, new_database: Callable[..., Any]) -> None:
    database = new_database(kind, "warehouse")
    database.fill([refund_with_id("re_1")])
    database.dispose()

    found = CallQuery.from_connection("warehouse", ALL)

    assert [row["event_id"] for row in found.rows()] == ["re_1"]
    found.close()


def test_extras_of_the_airflow_connection_are_applied(new_database: Callable[..., Any], set_connection: Any) -> None:
    database = new_database("postgresql")
    database.run("CREATE SCHEMA refunding")
    database.fill([refund_with_id("re_1")], table="refunding.refunds")
    set_connection("warehouse", **database.connection, extra={"options": "-c search_path=refunding"})

    found = CallQuery.from_connection("warehouse", ALL)

    assert [row["event_id"] for row in found.rows()] == ["re_1"]
    found.close()


@pytest.mark.parametrize("cursor", [None, "dictcursor", "namedtuplecursor"])
def test_rows_of_the_airflow_hook_are_streamed_whatever_its_cursor_is(
    cursor: str | None, new_database: Callable[..., Any], set_connection: Any
) -> None:
    """Airflow's hook opens psycopg 2 under SQLAlchemy 1.4 and psycopg 3 under SQLAlchemy 2."""
    database = new_database("postgresql")
    set_connection("warehouse", **database.connection, extra={"cursor": cursor} if cursor else {})
    columns = "'re_' || i AS event_id, 5 / (5000 - i) AS amount, 'c' AS uid, i AS n, i AS n"
    late = f"SELECT {columns} FROM generate_series(1, 9999) i"
    stream = CallQuery.from_connection("warehouse", late).rows()
    came: list[str] = []

    with pytest.raises(SourceError, match="division by zero"):
        came.extend(row["event_id"] for row in stream)

    assert 0 < len(came) < 5000


@pytest.mark.parametrize("place", ["open", "cursor", "execute", "fetchmany"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("jane@example.com"), "KeyError: '***'"),
        (
            AttributeError("'NoneType' object has no attribute 'x'"),
            "AttributeError: 'NoneType' object has no attribute 'x'",
        ),
        (NoSuchModuleError("Can't load plugin: sqlalchemy.dialects:odd"), "Can't load plugin: sqlalchemy.dialects:odd"),
        (ValueError("bad literal: 'secret'\nsecond line"), "ValueError: bad literal: ***"),
        (RuntimeError(), "RuntimeError"),
        (OSError("https://user:hush@host/path is down"), "https:*** is down"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_error_of_any_kind_is_reported_in_one_line_without_values(place: str, error: Exception, message: str) -> None:
    source = Source("warehouse", kind_of_connection("odd"), _Broken(place, error).open)

    with pytest.raises(SourceError) as raised:
        list(CallQuery(source, "SELECT 1").rows())

    assert str(raised.value) == f"The query on connection 'warehouse' failed: {message}"
    assert raised.value.__cause__ is None


class _Broken:
    """A DB-API connection and its cursor, of which one method raises."""

    description = (("event_id",), ("amount",), ("uid",))

    def __init__(self, place: str, error: Exception) -> None:
        self._place = place
        self._error = error

    def _reach(self, place: str) -> Any:
        if place == self._place:
            raise self._error
        return self

    def open(self) -> Any:
        return self._reach("open")

    def cursor(self) -> Any:
        return self._reach("cursor")

    def execute(self, sql: str) -> None:
        self._reach("execute")

    def fetchmany(self, size: int) -> Any:
        return self._reach("fetchmany") and []

    def close(self) -> None:
        pass


def test_connection_that_is_no_database_is_refused_by_name(connect: Callable[..., str]) -> None:
    connect(conn_id="warehouse")

    with pytest.raises(AirflowException, match="Connection 'warehouse' is not a SQL database"):
        CallQuery.from_connection("warehouse", ALL)
