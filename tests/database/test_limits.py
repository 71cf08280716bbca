"""What a database cannot do is found out before the first request, and no statement outlasts a kill."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND
from airflow_provider_firstpromoter.database import CallQuery, Source, engine_for
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, LedgerError, SyncInterruptedError
from airflow_provider_firstpromoter.ledger import Ledger
from tests.ledger.rows import to_write, write
from tests.support import refund_with_id

# --- encodings ---


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_database_of_a_narrow_encoding_is_refused_by_name(
    encoding: str, postgresql_databases: Any, set_connection: Callable[..., str]
) -> None:
    server, name = postgresql_databases.server, f"narrow_{encoding.lower()}"
    server.execute("postgres", f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    set_connection("ledger", **server.connection(name))
    ledger = Ledger.from_connection("ledger", "acc", call=REFUND)

    with ledger, pytest.raises(ConnectionSettingsError, match=f"'ledger': the database has the encoding {encoding}"):
        ledger.ensure()


def test_connection_of_a_narrow_client_encoding_stores_every_text(
    new_database: Callable[..., Any], set_connection: Callable[..., str]
) -> None:
    database = new_database("postgresql")
    set_connection("ledger", **database.connection, extra={"options": "-c client_encoding=LATIN1"})
    with Ledger.from_connection("ledger", "acc", call=REFUND) as ledger:
        ledger.ensure()
        write(ledger, [to_write("łukasz “…” 日 \U0001f600")])
        assert list(ledger.find({"łukasz “…” 日 \U0001f600"})) == ["łukasz “…” 日 \U0001f600"]


def test_table_of_a_narrow_encoding_is_refused_with_the_statement_that_mends_it(
    new_database: Callable[..., Any],
) -> None:
    database = new_database("mariadb")
    ledger = Ledger(database.engine(), "acc", name="ledger", call=REFUND)
    ledger.ensure()
    database.run("ALTER TABLE firstpromoter_refunds MODIFY message VARCHAR(500) CHARACTER SET latin1")

    with pytest.raises(ConnectionSettingsError, match=r"message has the encoding latin1.*CONVERT TO .* utf8mb4"):
        Ledger(database.engine(), "acc", name="ledger", call=REFUND).ensure()


# --- names ---


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_ledger_whose_name_is_too_long_is_refused_before_it_is_made(
    kind: str, new_database: Callable[..., Any]
) -> None:
    database = new_database(kind)
    most = {"postgresql": 39, "mariadb": 40}[kind]

    Ledger(database.engine(), "acc", "l" * most, name="ledger", call=REFUND).ensure()
    too_long = Ledger(database.engine(), "acc", "l" * (most + 1), name="ledger", call=REFUND)
    for use in (too_long.exists, too_long.ensure):
        with pytest.raises(ConnectionSettingsError, match=rf"has a name of {most + 1} letters; .* takes {most}"):
            use()


# --- columns ---


@pytest.mark.parametrize("database", ["sqlite", "postgresql", "mariadb", "duckdb"], indirect=True)
@pytest.mark.parametrize("is_subquery", [True, False])
def test_only_the_calls_columns_are_read(database: Any, is_subquery: bool) -> None:
    database.fill([{**refund_with_id("re_1"), "payload": "x" * 1000, "refunded_at": "2026-01-02"}], payload="TEXT",
                  refunded_at="VARCHAR(30)")  # fmt: skip
    query = CallQuery(Source.from_engine(database.engine()), "SELECT event_id, payload, amount, refunded_at, uid "
                      "FROM refunds -- all")  # fmt: skip
    if is_subquery:
        query = query.narrowed(query.column_names() or [])

    assert list(query.rows()) == [{"event_id": "re_1", "amount": 1000, "refunded_at": "2026-01-02", "uid": "cus_1"}]


# --- cells ---


@pytest.mark.parametrize("date", ["infinity", "-infinity", "0044-03-15 BC", "294000-01-01"])
@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
def test_date_that_python_does_not_know_costs_no_row(date: str, kind: str, new_database: Callable[..., Any]) -> None:
    query = CallQuery(
        Source.from_engine(new_database("postgresql").engine()),
        f"SELECT 're_' || n AS event_id, 5 AS amount, 'c' AS uid, '{date}'::{kind} AS refunded_at "
        "FROM generate_series(1, 3) n",
    )

    assert [row["event_id"] for row in query.rows()] == ["re_1", "re_2", "re_3"]


def test_cell_that_is_no_utf8_costs_its_row_alone(new_database: Callable[..., Any]) -> None:
    query = CallQuery(
        Source.from_engine(new_database("sqlite").engine()),
        "SELECT 're_1' AS event_id, 5 AS amount, CAST(x'ff41' AS TEXT) AS uid UNION ALL SELECT 're_2', 6, 'c'",
    )

    bad, good = query.rows()
    assert good == {"event_id": "re_2", "amount": 6, "uid": "c"}
    assert query.call.portable(bad)["event_id"] == "re_1"
    with pytest.raises(ValueError, match="uid"):
        query.call.read(bad)


# --- kills and locks ---

ENDLESS = {
    "postgresql": "SELECT 're_1' AS event_id, 5 AS amount, pg_sleep(60)::text AS uid",
    "mariadb": "SELECT 're_1' AS event_id, 5 AS amount, SLEEP(60) AS uid",
    "duckdb": "SELECT 're_1' AS event_id, 5 AS amount, count(*) AS uid FROM range(1000000000) a, range(1000000) b",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT 're_1' AS event_id, 5 AS amount, max(i) AS uid FROM n",
}


@pytest.mark.parametrize("database", list(ENDLESS), indirect=True)
def test_statement_ends_with_a_kill(database: Any) -> None:
    killed = threading.Event()
    query = CallQuery(Source.from_engine(database.engine(), cancelled=killed), ENDLESS[database.kind])
    threading.Timer(0.5, killed.set).start()

    start = time.monotonic()
    with pytest.raises(SyncInterruptedError), closing(query.rows()) as rows:
        next(rows)

    assert time.monotonic() - start < 3


def test_locked_row_is_waited_for_with_a_bound_and_no_longer_after_a_kill(new_database: Callable[..., Any]) -> None:
    database = new_database("postgresql", "ledger")
    with Ledger.from_connection("ledger", "acc", call=REFUND) as ledger:
        ledger.ensure()
        write(ledger, [to_write("re_1")])
        with database.engine().begin() as other:
            other.exec_driver_sql("SELECT * FROM firstpromoter_refunds FOR UPDATE")
            threading.Timer(0.2, ledger.cancelled.set).start()
            start = time.monotonic()
            with pytest.raises(LedgerError, match="lock timeout"):
                write(ledger, [to_write("re_1")])
            assert 1.5 < time.monotonic() - start < 3

        assert list(ledger.find({"re_1"})) == ["re_1"]


def test_dropped_connection_is_opened_again_to_read(new_database: Callable[..., Any]) -> None:
    database = new_database("postgresql", "ledger")
    with Ledger.from_connection("ledger", "acc", call=REFUND) as ledger:
        ledger.ensure()
        write(ledger, [to_write("re_1")])
        for _ in range(3):
            database.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            assert list(ledger.find({"re_1"})) == ["re_1"]


def test_engine_of_the_ledger_bounds_the_wait_for_a_lock(new_database: Callable[..., Any]) -> None:
    for kind, query in {"postgresql": "SHOW lock_timeout", "sqlite": "PRAGMA busy_timeout"}.items():
        new_database(kind, "ledger")
        engine = engine_for("ledger")
        with engine.connect() as connection:
            assert str(connection.exec_driver_sql(query).scalar()) in ("2s", "2000")
        engine.dispose()
