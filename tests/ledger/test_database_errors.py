"""A database that refuses, is locked or is gone: the error says so without values."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import Outcome
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.ledger import RefundLedger
from tests.ledger.rows import known, to_write, write

#: What no error may show; it would stand in the traceback's lines of source if it were written there.
HUSH = "a value of the row"


def said(error: BaseException) -> str:
    """All of what a log would show of an exception."""
    return "".join(traceback.format_exception(error))


def test_refused_batch_raises_without_values_and_writes_nothing(
    database: Any, open_ledger: Callable[..., RefundLedger]
) -> None:
    ledger = open_ledger()
    ddl = ledger.ddl().split(";\n")[0].rstrip(";").rstrip()  # without the index
    end = ddl.rindex(")")
    database.run(f"{ddl[:end]}, CHECK (http_status <> 418){ddl[end:]}")
    write(ledger, [to_write("old", Outcome.NOT_REFERRED)])
    with pytest.raises(LedgerError, match=r"'warehouse' refused 3 results: .*run the task again") as caught:
        write(
            ledger,
            [
                to_write("new", message=HUSH),
                to_write("bad", http_status=418),
                to_write("old", message=HUSH),
            ],
        )
    assert HUSH not in said(caught.value)
    assert "INSERT" not in said(caught.value)
    assert {one.event_id: one.outcome for one in ledger.find({"new", "bad", "old"}).values()} == {
        "old": Outcome.NOT_REFERRED
    }


def _read_only(database: Any) -> str:
    """Return an address under which the database can be read but not written."""
    url: str = database.url
    if database.kind == "sqlite":
        return url.replace("sqlite:///", "sqlite:///file:") + "?mode=ro&uri=true"
    if database.kind == "postgresql":
        return f"{url}&options=-c%20default_transaction_read_only%3Don"
    if database.kind == "mariadb":
        database.run("CREATE OR REPLACE USER reader@localhost")
        database.run("GRANT SELECT ON *.* TO reader@localhost")
        return url.replace("root@", "reader@")
    if database.kind == "snowflake":
        pytest.skip("its emulator knows no rights")
    database.dispose()  # DuckDB opens a file in one way at a time
    return f"{url}?access_mode=read_only"


def test_read_only_database_error_has_the_statement_that_makes_the_table(
    database: Any, new_engine: Callable[[str], Any]
) -> None:
    database.run("CREATE TABLE something (x INTEGER)")
    ledger = RefundLedger(new_engine(_read_only(database)), "acc", name="warehouse")
    assert ledger.find({"re_1"}) == {}
    with pytest.raises(LedgerError, match="of connection 'warehouse' cannot be created: ") as caught:
        ledger.ensure()
    assert ledger.ddl() in str(caught.value)


def test_read_only_ledger_can_be_read(
    database: Any, open_ledger: Callable[..., RefundLedger], new_engine: Callable[[str], Any]
) -> None:
    open_ledger().ensure()
    write(open_ledger(), [to_write()])
    ledger = RefundLedger(new_engine(_read_only(database)), "acc", name="warehouse")
    assert known(ledger).outcome is Outcome.RECORDED
    with pytest.raises(LedgerError, match="of connection 'warehouse' refused 1 results: "):
        write(ledger, [to_write("re_2")])


@pytest.mark.parametrize(
    ("kind", "impatience", "lock"),
    [
        ("sqlite", "?timeout=0.05", "BEGIN EXCLUSIVE"),
        ("postgresql", "&options=-c%20lock_timeout%3D50", "LOCK TABLE firstpromoter_refunds"),
    ],
)
def test_locked_ledger_error_has_no_values(
    kind: str, impatience: str, lock: str, new_database: Callable[..., Any], new_engine: Callable[[str], Any]
) -> None:
    database = new_database(kind)
    RefundLedger(database.engine(), "acc").ensure()
    ledger = RefundLedger(new_engine(database.url + impatience), "acc", name="warehouse")
    locker = database.engine()
    with locker.connect() as connection:
        connection.exec_driver_sql(lock)
        with pytest.raises(LedgerError, match=r"warehouse.*lock") as caught:
            write(ledger, [to_write("re_1", message=HUSH)])
        with pytest.raises(LedgerError, match=r"of connection 'warehouse' cannot be read: .*lock"):
            ledger.find({"re_1"})
        connection.rollback()
    assert HUSH not in said(caught.value)
    write(ledger, [to_write("re_1")])
    assert known(ledger).outcome is Outcome.RECORDED


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/at/all.db",
        "postgresql+psycopg2://user:hush-hush@127.0.0.1:1/warehouse",
        "mysql+pymysql://user:hush-hush@127.0.0.1:1/warehouse",
        "duckdb:////nowhere/at/all.duckdb",
    ],
)
def test_unreachable_database_error_has_no_password(url: str, new_engine: Callable[[str], Any]) -> None:
    ledger = RefundLedger(new_engine(url), "acc", name="warehouse")
    for use in (ledger.ensure, ledger.exists, lambda: ledger.find({"re_1"}), lambda: write(ledger, [to_write()])):
        with pytest.raises(LedgerError, match=r"'warehouse' (cannot be read|refused 1 results): ") as caught:
            use()
        assert "hush-hush" not in said(caught.value)
