"""``python -m airflow_provider_firstpromoter``: the statements that make the tables."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import Outcome, Summary
from airflow_provider_firstpromoter.cli.commands import main
from airflow_provider_firstpromoter.ledger import RefundLedger, RunHistory, RunKey
from airflow_provider_firstpromoter.reconcile import MismatchTable
from tests.ledger.rows import known, quiet_while_imported, run_script, to_write, write


def test_main_prints_statements_that_make_every_table(
    database: Any, open_ledger: Callable[..., RefundLedger], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["ddl", database.engine().dialect.name])
    printed = capsys.readouterr().out
    ledger = open_ledger()
    history = RunHistory(ledger, RunKey("dag", "run", "task", -1))
    mismatches = MismatchTable(ledger, RunKey())
    assert printed.strip() == "\n".join(table.ddl() for table in (ledger, history, mismatches)), (
        "what ensure() executes"
    )

    run_script(database, printed)

    assert ledger.exists()
    for outcome in (Outcome.FAILED, Outcome.RECORDED):  # the second one updates the row
        write(ledger, [to_write(outcome=outcome, known=True)], RunKey("dag", str(outcome), "task", -1))
    assert known(ledger).outcome is Outcome.RECORDED
    assert history.exists()
    history.start()
    history.finish(Summary())
    assert mismatches.exists()


def test_main_with_a_dialect_alone_prints_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    main(["postgresql", "finance.refunds"])
    alone = capsys.readouterr().out
    main(["ddl", "postgresql", "finance.refunds"])
    assert capsys.readouterr().out == alone
    assert "CREATE TABLE finance.refunds_runs (" in alone


def test_main_prints_nothing_but_sql_from_the_command_line() -> None:
    command = [sys.executable, "-m", "airflow_provider_firstpromoter"]
    done = subprocess.run(
        [*command, "postgresql", "finance.refunds"],
        capture_output=True,
        text=True,
        check=True,
        env=quiet_while_imported(),
    )
    assert done.stdout.startswith("CREATE TABLE finance.refunds (")
    assert done.stdout.endswith(");\n")


def test_main_with_an_unknown_or_missing_dialect_exits_with_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="no dialect 'tabledb'"):
        main(["tabledb"])
    with pytest.raises(SystemExit):
        main([])
    assert "usage: python -m airflow_provider_firstpromoter" in capsys.readouterr().err
