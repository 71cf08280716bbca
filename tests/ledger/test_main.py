"""``python -m airflow_provider_firstpromoter.ledger`` prints the statement that makes the table."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.ledger import RefundLedger
from airflow_provider_firstpromoter.ledger.__main__ import main
from airflow_provider_firstpromoter.refunds import Outcome
from tests.ledger.rows import entry, known, write


def test_main_prints_a_statement_that_makes_the_table(
    database: Any,
    open_ledger: Callable[..., RefundLedger],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dialect = database.engine().dialect.name
    monkeypatch.setattr(sys, "argv", ["ledger", dialect])
    main()
    printed = capsys.readouterr().out
    assert printed.strip() == open_ledger().ddl()
    database.run(printed.strip().removesuffix(";"))
    ledger = open_ledger()
    assert ledger.exists()
    write(ledger, [entry()])
    assert known(ledger).outcome is Outcome.RECORDED


def test_main_runs_from_the_command_line() -> None:
    command = [sys.executable, "-m", "airflow_provider_firstpromoter.ledger"]
    done = subprocess.run([*command, "postgresql", "books.refunds"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("CREATE TABLE books.refunds (")
    assert done.stdout.endswith(");\n")


def test_main_with_an_unknown_or_missing_dialect_exits_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, said in ([], "usage: python -m .* DIALECT"), (["tabledb"], "no dialect 'tabledb'"):
        monkeypatch.setattr(sys, "argv", ["ledger", *arguments])
        with pytest.raises(SystemExit, match=said):
            main()
