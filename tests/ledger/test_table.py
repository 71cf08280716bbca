"""The ledger's table: made on first use, in any schema, and checked for missing columns."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql, sqlite

from airflow_provider_firstpromoter.calls import REFUND, Outcome
from airflow_provider_firstpromoter.database import ddl_text
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.ledger import Ledger
from airflow_provider_firstpromoter.ledger.table import ledger_table
from tests.ledger.rows import THEN, known, run_script, to_write, write


def test_missing_table_reads_as_an_empty_ledger_and_is_not_created(
    open_ledger: Callable[..., Ledger],
) -> None:
    ledger = open_ledger()
    assert ledger.find({"re_1"}) == {}
    assert not ledger.exists()
    assert not open_ledger().exists()


def test_ensure_creates_the_table_once(open_ledger: Callable[..., Ledger]) -> None:
    open_ledger().ensure()
    write(open_ledger(), [to_write()])
    open_ledger().ensure()
    assert known(open_ledger()).outcome is Outcome.RECORDED


def test_ensure_in_concurrent_processes_is_no_error(
    open_ledger: Callable[..., Ledger], at_once: Callable[..., Any]
) -> None:
    for number in range(5):
        makers = [open_ledger(table=f"refunds_{number}") for _ in range(3)]
        at_once(*(maker.ensure for maker in makers))
        assert all(maker.exists() for maker in makers)


def test_missing_column_error_has_the_statement_that_adds_it(database: Any, open_ledger: Callable[..., Ledger]) -> None:
    lines = open_ledger().ddl().splitlines()
    run_script(
        database,
        "\n".join(
            line for line in lines if not line.strip().startswith(("lead_id ", "last_sent_at ", "CREATE INDEX "))
        ),
    )
    for use in (open_ledger().ensure, open_ledger().exists, lambda: open_ledger().find({"re_1"})):
        with pytest.raises(LedgerError, match="of connection 'warehouse' lacks columns") as caught:
            use()
    alters = re.findall(r"ALTER TABLE .*?;", str(caught.value))
    assert len(alters) == 2
    for alter in alters:
        database.run(alter)
    ledger = open_ledger()
    ledger.ensure()
    write(ledger, [to_write(lead_id=7)])
    assert known(ledger).last_sent_at == THEN
    assert database.run("SELECT lead_id FROM firstpromoter_refunds") == [(7,)]


def test_additional_columns_are_ignored(database: Any, open_ledger: Callable[..., Ledger]) -> None:
    open_ledger().ensure()
    database.run("ALTER TABLE firstpromoter_refunds ADD reviewed_by VARCHAR(20)")
    open_ledger().ensure()
    write(open_ledger(), [to_write()])
    assert known(open_ledger()).outcome is Outcome.RECORDED


@pytest.mark.parametrize("name", ["Order Refunds", "MyRefunds", "select", "réfunds", "refunds-2"])
def test_table_name_is_quoted_where_needed(open_ledger: Callable[..., Ledger], name: str) -> None:
    ledger = open_ledger(table=name)
    ledger.ensure()
    write(ledger, [to_write()])
    write(ledger, [to_write(outcome=Outcome.RECORDED)])
    assert known(open_ledger(table=name)).outcome is Outcome.RECORDED


@pytest.mark.parametrize("schema", ["finance", "Our Finance"])
def test_table_can_be_in_another_schema(
    database: Any, open_ledger: Callable[..., Ledger], schema: str, request: pytest.FixtureRequest
) -> None:
    if database.kind == "sqlite":
        schema = "main"  # SQLite knows no others, but the files that are attached
    else:
        # MariaDB's schemas are databases, and belong to the whole server.
        quote = "`" if database.kind == "mariadb" else '"'
        if database.kind == "snowflake" and schema == "finance":
            quote = ""  # a name in lower case is not quoted there, so it is one in upper case
        database.run(f"CREATE SCHEMA {quote}{schema}{quote}")
        if database.kind == "mariadb":
            request.addfinalizer(lambda: database.run(f"DROP SCHEMA `{schema}`"))
    ledger = open_ledger(table=f"{schema}.refunds")
    ledger.ensure()
    write(ledger, [to_write()])
    assert known(open_ledger(table=f"{schema}.refunds")).outcome is Outcome.RECORDED
    assert f"ledger '{schema}.refunds'" in str(ledger)
    if database.kind in ("postgresql", "mariadb"):  # DuckDB's dialect finds a table in whatever schema it is
        assert not open_ledger(table="refunds").exists()


@pytest.mark.parametrize(("dialect", "type_"), [(postgresql.dialect(), "TEXT"), (sqlite.dialect(), "VARCHAR")])
def test_columns_of_the_join_that_may_be_all_null_have_no_length_in_postgresql(dialect: Any, type_: str) -> None:
    """It would take them for hundreds of bytes wide, and choose the slower join of a large ledger."""
    ddl = ddl_text(ledger_table(call=REFUND), dialect)

    for name in ("row_digest", "changed_amount"):
        assert re.search(rf"\t{name} {type_}\b", ddl)
