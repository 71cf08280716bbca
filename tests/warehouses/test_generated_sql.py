"""The provider's own SQL in each dialect that may hold the ledger, as sqlglot's parser of that dialect reads it."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_mock_engine

pytest.importorskip("sqlglot", reason="needs an environment of its own: make test-warehouses")

import sqlglot

from airflow_provider_firstpromoter.calls import REFUND, Commission, Outcome, numbered
from airflow_provider_firstpromoter.database import CallQuery, Source
from airflow_provider_firstpromoter.ledger import Ledger, LedgerRecord, LedgerWrite
from airflow_provider_firstpromoter.pending.antijoin import without_settled
from tests.ledger.rows import THEN, to_write

#: MySQL itself is not run anywhere in the tests: MariaDB writes the same statements in another way.
DIALECTS = {"postgresql": "postgres", "mysql": "mysql", "sqlite": "sqlite", "snowflake": "snowflake"}
QUERY = "SELECT event_id, amount, uid FROM refunds WHERE uid LIKE 'c%' -- all\n"


class Recorder:
    """A connection that keeps the statements."""

    def __init__(self, dialect: Any) -> None:
        self.dialect = dialect
        self.statements: list[str] = []

    def exec_driver_sql(self, sql: str, *_: Any) -> None:
        self.statements.append(sql)

    def execute(self, statement: Any) -> Any:
        self.statements.append(
            str(statement.compile(dialect=self.dialect, compile_kwargs={"render_postcompile": True}))
        )
        return []


def filled(sql: str) -> str:
    """Return the statement with a literal for each placeholder; what is in quotes stays."""
    found = r"""('[^']*')|%\(\w+\)s|%s|\?|(?<!:):\w+"""
    return re.sub(found, lambda match: match[1] or "'x'", sql.replace("%%", "%"))


def parse(sql: str, name: str) -> Any:
    (tree,) = sqlglot.parse(sql, read=DIALECTS[name], error_level=sqlglot.ErrorLevel.RAISE)
    assert not isinstance(tree, sqlglot.exp.Command), f"not parsed: {sql}"
    return tree


@pytest.fixture(params=list(DIALECTS))
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """A ledger without a database."""
    pytest.importorskip("snowflake.sqlalchemy")
    engine: Any = create_mock_engine(f"{request.param}://", executor=lambda *_: None)
    return Ledger(engine, "acc", "finance.firstpromoter_refunds", call=REFUND)


def test_statements_that_make_the_ledger_parse(ledger: Ledger) -> None:
    statements = [one for one in ledger.ddl().split(";\n") if one]

    assert statements
    for statement in statements:
        assert isinstance(parse(statement.rstrip(";"), ledger.engine.dialect.name), sqlglot.exp.Create)


def test_statements_that_write_results_parse(ledger: Ledger) -> None:
    connection: Any = Recorder(ledger.engine.dialect)
    commission = Commission(id=1, status="pending", is_paid=False)
    writes = [
        to_write("re_1", Outcome.RECORDED, commissions=(commission,)),
        to_write("re_2", Outcome.REJECTED, known=True),
    ]

    row = next(numbered([{"event_id": "re_3", "amount": 5, "uid": "cus_1"}], call=REFUND))
    record = LedgerRecord(event_id="re_3", outcome=Outcome.RECORDED, changed_amount="7", row_amount="5")
    writes += [LedgerWrite.of_seen(record, THEN), *LedgerWrite.of_settled(record, [row], b"key")]

    ledger._write(connection, writes)

    kinds = [type(parse(filled(sql), ledger.engine.dialect.name)).__name__ for sql in connection.statements]
    upsert = "Merge" if ledger.engine.dialect.name == "snowflake" else "Insert"
    assert kinds == [upsert] * 6


def test_query_that_leaves_settled_refunds_out_parses(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_salt", "0" * 32)
    source = Source("warehouse", SimpleNamespace(ledger=ledger.sql_of_database()), lambda: None)  # type: ignore[arg-type]

    query = without_settled(CallQuery(source, QUERY), ledger, ["event_id", "amount", "uid"])

    tree = parse(filled(query.sql), ledger.engine.dialect.name)
    assert {table.name for table in tree.find_all(sqlglot.exp.Table)} >= {"refunds", "firstpromoter_refunds"}
