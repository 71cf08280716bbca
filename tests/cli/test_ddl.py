"""The statements that create tables and views, on every database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND, Outcome
from airflow_provider_firstpromoter.ledger import Ledger, RunHistory, RunKey
from airflow_provider_firstpromoter.reconcile import MismatchTable
from tests.ledger.rows import known, run_script, to_write, write

VIEWS = ("open", "status", "reversed", "last_runs")


@pytest.fixture
def ledger(database: Any, connect: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """The ledger of a connection, in a database of every kind; its tables are not there yet."""
    from airflow_provider_firstpromoter.hooks import FirstPromoterHook

    connect(ledger_conn_id="warehouse")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(database.connection))
    if database.connection is None:  # no provider of it is installed here
        monkeypatch.setattr("airflow_provider_firstpromoter.ledger.store.engine_for", lambda _: database.engine())
    return Ledger.required(FirstPromoterHook().account, call=REFUND)


def test_ddl_prints_statements_that_make_every_table(database: Any, ledger: Ledger, cli: Callable[..., Any]) -> None:
    printed = cli("ddl", "--dialect", ledger.engine.dialect.name).out
    history = RunHistory(ledger, RunKey("dag", "run", "task", -1))
    mismatches = MismatchTable(ledger, RunKey())
    assert printed.strip() == "\n".join(
        table.ddl() for table in (ledger, ledger.commissions, history, mismatches, ledger.salts)
    ), "what ensure() executes"
    assert cli("ddl", "firstpromoter_default").out == printed

    run_script(database, printed)

    assert ledger.exists()
    for outcome in (Outcome.FAILED, Outcome.RECORDED):  # the second one updates the row
        write(ledger, [to_write(outcome=outcome, known=True)], RunKey("dag", str(outcome), "task", -1))
    assert known(ledger).outcome is Outcome.RECORDED
    assert history.exists()
    history.start()
    history.finish({})
    assert mismatches.exists()


def test_views_are_made_before_any_reconciliation_and_again(
    database: Any, ledger: Ledger, cli: Callable[..., Any]
) -> None:
    replaced = "dropped and created again;" if database.kind == "sqlite" else "replaced, with the rights that it had"
    for said in ("created", replaced):
        done = cli("views", "firstpromoter_default", "--apply")
        assert done.code is None, done.err
        assert [line.partition(" grant")[0] for line in done.out.splitlines()] == [
            f"firstpromoter_refunds_{view}: {said}" for view in VIEWS
        ]
    run_script(database, cli("views", "firstpromoter_default").out)
    for view in VIEWS:
        assert database.run(f"SELECT * FROM firstpromoter_refunds_{view}") == []


def test_views_whose_columns_have_changed_are_dropped_and_created_again(
    database: Any, ledger: Ledger, cli: Callable[..., Any]
) -> None:
    cli("views", "firstpromoter_default", "--apply")
    database.run("DROP VIEW firstpromoter_refunds_open")
    database.run("CREATE VIEW firstpromoter_refunds_open AS SELECT 1 AS another_column")

    done = cli("views", "firstpromoter_default", "--apply")

    assert done.code is None
    assert database.run("SELECT event_id FROM firstpromoter_refunds_open") == []


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_views_that_are_replaced_keep_the_rights_of_analysts(
    database: Any, ledger: Ledger, cli: Callable[..., Any]
) -> None:
    cli("views", "firstpromoter_default", "--apply")
    database.run("GRANT SELECT ON firstpromoter_refunds_open TO PUBLIC")

    cli("views", "firstpromoter_default", "--apply")

    (granted,) = database.run("SELECT relacl::text FROM pg_class WHERE relname = 'firstpromoter_refunds_open'")
    assert "=r/" in granted[0]


def test_ddl_from_the_command_line_prints_nothing_but_sql() -> None:
    command = [sys.executable, "-m", "airflow_provider_firstpromoter"]
    done = subprocess.run(
        [*command, "ddl", "--dialect", "postgresql", "--ledger-table", "finance.refunds"],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    assert done.stdout.startswith("CREATE TABLE finance.refunds (")
    assert "CREATE TABLE finance.refunds_runs (" in done.stdout
    assert done.stdout.endswith(");\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ddl", "--dialect", "tabledb"], 1, "SQLAlchemy has no dialect 'tabledb' here: "),
        (["views", "--dialect", "redshift"], 1, "SQLAlchemy has no dialect 'redshift' here: "),
        (["views", "--dialect", "mssql"], 1, "The ledger cannot live in mssql"),
        (["views", "--dialect", "sqlite", "--apply"], 1, "--apply needs the connection CONN_ID"),
        (["ddl"], 1, "Name either a connection or --dialect"),
        (["ddl", "x", "--dialect", "sqlite"], 1, "Name either a connection or --dialect"),
        (["ddl", "absent"], 1, "isn't defined"),
        ([], 2, "usage: python -m airflow_provider_firstpromoter"),
        (["report"], 2, "the following arguments are required: CONN_ID"),
    ],
    ids=repr,
)
def test_command_that_cannot_run_exits_with_one_line(
    arguments: list[str], code: int, message: str, cli: Callable[..., Any]
) -> None:
    done = cli(*arguments)
    assert done.code == code
    assert message in done.err
    if code == 1:
        *logged, line = done.err.splitlines()
        assert message in line
        assert [one for one in logged if "secrets backend (MetastoreBackend)" not in one] == []
    assert done.out == ""
