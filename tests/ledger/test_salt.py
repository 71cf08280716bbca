"""The salt of an account: random, made once, and the same for everyone who writes the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.ledger import Ledger

pytestmark = pytest.mark.parametrize("database", ["sqlite", "postgresql", "mariadb", "duckdb"], indirect=True)


def test_salt_is_made_once_for_each_account(open_ledger: Callable[..., Ledger]) -> None:
    first = open_ledger()
    assert first.salt == "", "nothing was written yet, and nothing is made by reading"
    first.ensure()
    salt = first.salt

    assert len(salt) == 32
    again = open_ledger()
    again.ensure()
    assert (again.salt, open_ledger().salt) == (salt, salt)
    other = open_ledger("other")
    other.ensure()
    assert other.salt not in ("", salt)


def test_ledger_without_a_salt_yet_gets_one(open_ledger: Callable[..., Ledger], database: Any) -> None:
    open_ledger().ensure()
    database.run("DROP TABLE firstpromoter_refunds_salt")

    ledger = open_ledger()
    assert ledger.salt == ""
    ledger.ensure()

    assert ledger.salt == open_ledger().salt != ""


def test_two_first_runs_at_once_agree_on_the_salt(open_ledger: Callable[..., Ledger], database: Any) -> None:
    if database.kind == "duckdb":
        pytest.skip("DuckDB has one process at a time")
    ledgers = [open_ledger() for _ in range(4)]
    start = threading.Barrier(len(ledgers))

    def run(ledger: Ledger) -> None:
        start.wait()
        ledger.ensure()

    threads = [threading.Thread(target=run, args=(ledger,)) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({ledger.salt for ledger in ledgers}) == 1
    assert database.run("SELECT count(*) FROM firstpromoter_refunds_salt") == [(1,)]


def test_salt_that_cannot_be_read_is_a_ledger_error(open_ledger: Callable[..., Ledger], database: Any) -> None:
    open_ledger().ensure()
    database.run("DROP TABLE firstpromoter_refunds_salt")
    database.run("CREATE TABLE firstpromoter_refunds_salt (account INTEGER)")

    with pytest.raises(LedgerError, match="table 'firstpromoter_refunds_salt' of connection 'warehouse' lacks"):
        open_ledger().ensure()
