"""A bad database: what was sent is settled or found again, and the error says what happened without values."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from airflow_provider_firstpromoter.calls import REFUND, Outcome, numbered
from airflow_provider_firstpromoter.database.query import CallQuery
from airflow_provider_firstpromoter.exceptions import LedgerError, SourceError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger, RunHistory, RunKey
from airflow_provider_firstpromoter.sync import Sync, SyncOptions, recorder

TABLE = "firstpromoter_refunds"
COUNT = 60


@pytest.fixture
def rows(sandbox: Any, connect: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Refunds of referred customers, which a run writes in batches of ten."""
    connect(max_attempts=2)
    monkeypatch.setattr(recorder, "FLUSH_EVERY_RESULTS", 10)
    given = [{"event_id": f"re_{n}", "amount": 1000 + n, "uid": f"secret_uid_{n}"} for n in range(COUNT)]
    sandbox.add_leads({"uid": row["uid"]} for row in given)
    return given


def make(ledger_conn_id: str) -> Sync:
    hook = FirstPromoterHook()
    return Sync(
        hook,
        Ledger.required(hook.account, ledger_conn_id, call=REFUND),
        SyncOptions(recover_rewards=True, max_in_flight=2),
    )


def run(sync: Sync, rows: list[dict[str, Any]], after: int = 10**9, harm: Callable[[], object] | None = None) -> int:
    """Run it, and do some harm after so many results; returns how many results there were."""
    seen = 0

    def on_result(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == after and harm:
            harm()

    try:
        sync.run(numbered(rows, call=REFUND), on_result, report_settled=True)
    finally:
        assert sync.ledger is not None
        sync.ledger.engine.dispose()
    return seen


def assert_silent(text: str) -> None:
    """What the user reads holds no value of a row and no statement."""
    assert "secret_uid" not in text
    assert "INSERT" not in text
    assert "re_1" not in text


def assert_all_settled_once(sandbox: Any, rows: list[dict[str, Any]], ledger_conn_id: str) -> None:
    """A further run finds or sends what is missing; then all is settled, recorded once, and the rewards are known."""
    ids = [row["event_id"] for row in rows]
    sync = make(ledger_conn_id)
    run(sync, rows)
    assert sum(sync.summary.outcomes[o] for o in (Outcome.RECORDED, Outcome.ALREADY_RECORDED)) == len(rows)
    assert sync.ledger is not None
    known = sync.ledger.find(ids)
    sync.ledger.engine.dispose()
    recorded = {one.event_id: one.reward_id for one in sandbox.recorded()}
    assert len(sandbox.recorded()) == len(ids)
    rewards = {event_id: one.result().commissions for event_id, one in known.items()}
    assert {event_id: reward[0].id if reward else None for event_id, reward in rewards.items()} == recorded
    assert sorted(recorded) == sorted(ids)


def test_server_that_stops_during_the_run_loses_no_result(
    sandbox: Any, rows: list[dict[str, Any]], new_database: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    database = new_database("postgresql", "ledger")
    name = database.url.split("@/")[1].split("?")[0]
    admin = database.url.replace(f"@/{name}", "@/postgres")

    def admin_run(*statements: str) -> None:
        engine = sqlalchemy.create_engine(admin, isolation_level="AUTOCOMMIT", future=True)
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def go_away() -> None:
        admin_run(
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )

    try:
        with pytest.raises(LedgerError, match=f"{TABLE}.*ledger.*run the task again") as caught:
            run(make("ledger"), rows, 25, go_away)
    finally:
        admin_run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert_silent(str(caught.value) + caplog.text)
    assert 20 <= len(sandbox.recorded()) < len(rows)
    assert_all_settled_once(sandbox, rows, "ledger")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_table_dropped_during_the_run_loses_no_result(
    kind: str,
    sandbox: Any,
    rows: list[dict[str, Any]],
    new_database: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = new_database(kind, "ledger")

    with pytest.raises(LedgerError, match=f"{TABLE}.*run the task again") as caught:
        run(make("ledger"), rows, 25, lambda: database.run(f"DROP TABLE {TABLE}"))

    assert_silent(str(caught.value) + caplog.text)
    assert_all_settled_once(sandbox, rows, "ledger")


def test_rights_revoked_during_the_run_lose_no_result(
    sandbox: Any, rows: list[dict[str, Any]], new_database: Callable[..., Any], set_connection: Callable[..., str]
) -> None:
    database = new_database("postgresql", "ledger")
    ledger = make("ledger").ledger
    assert ledger is not None
    ledger.ensure()
    RunHistory(ledger, RunKey()).ensure()
    role = f"clerk_{database.connection['schema']}"
    database.run(f"CREATE ROLE {role} LOGIN")
    database.run(f"GRANT USAGE ON SCHEMA public TO {role}")
    tables = ", ".join(f"{TABLE}{suffix}" for suffix in ("", "_commissions", "_runs", "_salt"))
    database.run(f"GRANT SELECT, INSERT, UPDATE ON {tables} TO {role}")
    set_connection("ledger", **{**database.connection, "login": role})

    with pytest.raises(LedgerError, match="permission denied") as caught:
        run(make("ledger"), rows, 25, lambda: database.run(f"REVOKE INSERT ON {TABLE} FROM {role}"))
    assert_silent(str(caught.value))
    assert database.run(f"SELECT count(*) FROM {TABLE}")[0][0] >= 10

    database.run(f"GRANT INSERT ON {TABLE} TO {role}")
    assert_all_settled_once(sandbox, rows, "ledger")
    database.run(f"DROP OWNED BY {role}")
    database.run(f"DROP ROLE {role}")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_missing_column_raises_before_any_request_with_the_alter_statement(
    kind: str, sandbox: Any, rows: list[dict[str, Any]], new_database: Callable[..., Any]
) -> None:
    database = new_database(kind, "ledger")
    make("ledger").ledger.ensure()  # type: ignore[union-attr]
    database.run(f"ALTER TABLE {TABLE} DROP COLUMN lead_id")

    with pytest.raises(LedgerError, match="ALTER TABLE") as caught:
        run(make("ledger"), rows)
    assert sandbox.refund_requests() == []

    database.run(str(caught.value)[str(caught.value).index("ALTER TABLE") :].rstrip(";"))
    assert_all_settled_once(sandbox, rows, "ledger")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_additional_column_is_ignored(
    kind: str, sandbox: Any, rows: list[dict[str, Any]], new_database: Callable[..., Any]
) -> None:
    database = new_database(kind, "ledger")
    make("ledger").ledger.ensure()  # type: ignore[union-attr]
    database.run(f"ALTER TABLE {TABLE} ADD COLUMN note VARCHAR(20) DEFAULT 'ours'")

    assert_all_settled_once(sandbox, rows, "ledger")
    assert database.run(f"SELECT DISTINCT note FROM {TABLE}") == [("ours",)]


def test_lock_held_too_long_raises_and_the_next_run_finds_sent_refunds(
    sandbox: Any, rows: list[dict[str, Any]], new_database: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = new_database("sqlite", "ledger")
    sync = make("ledger")
    # A fifth of a second where SQLite waits five: each of the ledger's tries waits for so long.
    sqlalchemy.event.listen(sync.ledger.engine, "connect", lambda c, _: c.execute("PRAGMA busy_timeout = 200"))  # type: ignore[union-attr]
    holder = sqlite3.connect(database.connection["host"], isolation_level=None)

    with pytest.raises(LedgerError, match="locked") as caught:
        run(sync, rows, 25, lambda: holder.execute("BEGIN EXCLUSIVE"))
    holder.execute("ROLLBACK")
    holder.close()

    assert_silent(str(caught.value))
    assert len(sandbox.recorded()) >= 20
    assert_all_settled_once(sandbox, rows, "ledger")


def test_lock_released_in_time_is_waited_for(
    sandbox: Any, rows: list[dict[str, Any]], new_database: Callable[..., Any]
) -> None:
    database = new_database("sqlite", "ledger")
    holder = sqlite3.connect(database.connection["host"], isolation_level=None, check_same_thread=False)
    releases: list[threading.Timer] = []

    def hold() -> None:
        holder.execute("BEGIN EXCLUSIVE")
        releases.append(threading.Timer(0.6, lambda: holder.execute("ROLLBACK")))
        releases[0].start()

    assert run(make("ledger"), rows, 25, hold) == len(rows)
    releases[0].join()
    holder.close()
    assert_all_settled_once(sandbox, rows, "ledger")
    assert len(sandbox.refund_requests()) == len(rows)


def test_read_only_database_raises_before_any_request(
    sandbox: Any, rows: list[dict[str, Any]], new_database: Callable[..., Any]
) -> None:
    database = new_database("postgresql", "ledger")
    name = database.connection["schema"]
    database.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    database.dispose()

    try:
        with pytest.raises(LedgerError, match=r"cannot be created: .*read-only.*\n?CREATE TABLE") as caught:
            run(make("ledger"), rows)
    finally:  # the server's databases serve other tests after this one
        with sqlalchemy.create_engine(database.url, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql("SET default_transaction_read_only = off")
            connection.exec_driver_sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert_silent(str(caught.value).split("CREATE TABLE")[0])
    assert sandbox.refund_requests() == []


def test_file_made_read_only_during_the_run_loses_no_result(
    sandbox: Any, rows: list[dict[str, Any]], new_database: Callable[..., Any]
) -> None:
    database = new_database("sqlite", "ledger")
    sync = make("ledger")
    # By SQLite's own switch, because root may write to files of any mode.
    readonly: list[bool] = []
    sqlalchemy.event.listen(
        sync.ledger.engine,  # type: ignore[union-attr]
        "begin",
        lambda c: c.exec_driver_sql("PRAGMA query_only = ON") if readonly else None,
    )

    with pytest.raises(LedgerError, match=r"readonly database.*run the task again") as caught:
        run(sync, rows, 25, lambda: readonly.append(True))

    assert_silent(str(caught.value))
    assert Path(database.connection["host"]).exists()
    assert_all_settled_once(sandbox, rows, "ledger")


def test_query_that_fails_after_ten_thousand_rows_sends_nothing(
    sandbox: Any, connect: Callable[..., str], new_database: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    connect()
    caplog.set_level(logging.DEBUG, "airflow_provider_firstpromoter")
    new_database("postgresql", "warehouse")
    new_database("sqlite", "ledger")
    query = CallQuery.from_connection(
        "warehouse",
        "SELECT 're_' || n AS event_id, 100 + 0 * (1 / (12000 - n)) AS amount, 'secret_uid_' || n AS uid "
        "FROM generate_series(1, 12500) AS n",
    )

    with pytest.raises(SourceError, match=r"connection 'warehouse' failed after \d+ rows: division by zero") as caught:
        make("ledger").run_query(query)

    assert_silent(str(caught.value) + caplog.text)
    assert sandbox.refund_requests() == []
