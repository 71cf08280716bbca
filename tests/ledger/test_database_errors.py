"""A database that refuses, is locked or is gone: the error says so without values."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import ProgrammingError

from airflow_provider_firstpromoter.calls import REFUND, Commission, Outcome
from airflow_provider_firstpromoter.database import may_refuse_a_value
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.ledger import Ledger
from airflow_provider_firstpromoter.ledger.store import NOTE
from tests.ledger.rows import NO_RUN, known, to_write, write

#: What no error may show; it would stand in the traceback's lines of source if it were written there.
HUSH = "a value of the row"


def said(error: BaseException) -> str:
    """All of what a log would show of an exception."""
    return "".join(traceback.format_exception(error))


def refusing(database: Any, open_ledger: Callable[..., Ledger], condition: str) -> Ledger:
    """Return a ledger whose database refuses the rows that do not fulfil a condition."""
    if database.kind == "snowflake":
        pytest.skip("it enforces no CHECK, and its emulator reports one as missing rights")
    ledger = open_ledger()
    ledger.commissions.ensure()
    ddl = ledger.ddl().split(";\n")[0].rstrip(";").rstrip()  # without the indexes
    end = ddl.rindex(")")
    database.run(f"{ddl[:end]}, CHECK ({condition}){ddl[end:]}")
    return ledger


def test_refused_batch_raises_without_values_and_writes_nothing(
    database: Any, open_ledger: Callable[..., Ledger]
) -> None:
    ledger = refusing(database, open_ledger, "http_status <> 418")
    with pytest.raises(LedgerError, match=r"'warehouse' refused 2 results: .*run the task again") as caught:
        write(ledger, [to_write(one, http_status=418, message=HUSH) for one in ("bad", "as bad")])
    assert HUSH not in said(caught.value)
    assert "INSERT" not in said(caught.value)
    assert ledger.find({"bad", "as bad"}) == {}


def test_row_that_is_refused_does_not_keep_others_from_being_stored(
    database: Any, open_ledger: Callable[..., Ledger]
) -> None:
    ledger = refusing(database, open_ledger, "http_status <> 418")
    writes = [to_write(f"re_{n}", http_status=418 if n % 20 == 7 else 200) for n in range(100)]
    counted: list[int] = []

    written = ledger.write(writes, NO_RUN, also=lambda connection, claimed: counted.append(len(claimed)))

    bad = {f"re_{n}" for n in range(7, 100, 20)}
    assert set(ledger.find([f"re_{n}" for n in range(100)])) == {f"re_{n}" for n in range(100)} - bad
    assert written.refused.keys() == bad
    assert counted[-1:] == [0], "the counts of the run are written with the results"


def test_text_that_is_refused_is_replaced_by_a_note(database: Any, open_ledger: Callable[..., Ledger]) -> None:
    """As a database whose encoding cannot hold it does."""
    ledger = refusing(database, open_ledger, "message <> 'bad'")
    written = ledger.write([to_write("re_1", message="bad"), to_write("re_2", message="good")], NO_RUN)

    assert (set(written.noted), set(written.refused)) == ({"re_1"}, set())
    assert (known(ledger, "re_1").outcome, known(ledger, "re_1").message) == (Outcome.RECORDED, NOTE)
    assert known(ledger, "re_2").message == "good"


@pytest.mark.parametrize(
    ("sqlstate", "is_value"),
    [("22000", True), ("22023", True), ("42000", False), ("42S02", False), (None, False)],
)
def test_only_data_exceptions_of_snowflake_are_refused_values(sqlstate: str | None, is_value: bool) -> None:
    """Its driver raises a text that is too long for its column as it does a mistake in the statement."""
    raised = type("ProgrammingError", (Exception,), {"sqlstate": sqlstate})("100078: String 'x' is too long")
    assert may_refuse_a_value(ProgrammingError("MERGE INTO ledger", {}, raised), ()) is is_value


def test_texts_are_cut_to_what_their_columns_hold(ledger: Ledger) -> None:
    long = Commission(id=1, amount=-1, promoter_ref="p" * 64, created_at="2" * 64)
    write(ledger, [to_write("re_1", Outcome.FAILED, message="x" * 600), to_write("re_2", commissions=(long,))])
    assert known(ledger, "re_1").message == "x" * 497 + "..."
    assert known(ledger, "re_2").commissions[0].promoter_ref == "p" * 64


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
    ledger = Ledger(new_engine(_read_only(database)), "acc", name="warehouse", call=REFUND)
    assert ledger.find({"re_1"}) == {}
    with pytest.raises(LedgerError, match="of connection 'warehouse' cannot be created: ") as caught:
        ledger.ensure()
    assert ledger.commissions.ddl() in str(caught.value)


def test_read_only_ledger_can_be_read(
    database: Any, open_ledger: Callable[..., Ledger], new_engine: Callable[[str], Any]
) -> None:
    open_ledger().ensure()
    write(open_ledger(), [to_write()])
    ledger = Ledger(new_engine(_read_only(database)), "acc", name="warehouse", call=REFUND)
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
    Ledger(database.engine(), "acc", call=REFUND).ensure()
    ledger = Ledger(new_engine(database.url + impatience), "acc", name="warehouse", call=REFUND)
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


@pytest.mark.parametrize("beside", ["commissions", "salts"])
def test_kill_ends_the_tries_of_a_table_beside_the_ledger(
    beside: str, new_database: Callable[..., Any], new_engine: Callable[[str], Any]
) -> None:
    """Each try waits for a second; without the kill there are five."""
    database, killed = new_database("sqlite"), threading.Event()
    ledger = Ledger(new_engine(f"{database.url}?timeout=1"), "acc", name="warehouse", cancelled=killed, call=REFUND)
    with database.engine().connect() as connection:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        threading.Timer(0.2, killed.set).start()
        start = time.monotonic()
        with pytest.raises(LedgerError, match="lock"):
            getattr(ledger, beside).ensure()
        assert time.monotonic() - start < 3
        connection.rollback()


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
    ledger = Ledger(new_engine(url), "acc", name="warehouse", call=REFUND)
    for use in (ledger.ensure, ledger.exists, lambda: ledger.find({"re_1"}), lambda: write(ledger, [to_write()])):
        with pytest.raises(LedgerError, match=r"'warehouse' (cannot be read|refused 1 results): ") as caught:
            use()
        assert "hush-hush" not in said(caught.value)
