"""Ledgers on every database on which the ledger is tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import create_engine

from airflow_provider_firstpromoter.calls import REFUND
from airflow_provider_firstpromoter.ledger import Ledger


@pytest.fixture
def open_ledger(database: Any) -> Callable[..., Ledger]:
    """The ledger through an engine of its own, as another process would have it."""

    def open_ledger(account: str = "acc", table: str = "firstpromoter_refunds") -> Ledger:
        return Ledger(database.engine(), account, table, name="warehouse", call=REFUND)

    return open_ledger


@pytest.fixture
def ledger(open_ledger: Callable[..., Ledger]) -> Ledger:
    ledger = open_ledger()
    ledger.ensure()
    return ledger


@pytest.fixture
def new_engine() -> Any:
    made = []

    def new_engine(url: str, **how: Any) -> Any:
        made.append(create_engine(url, future=True, hide_parameters=True, **how))
        return made[-1]

    yield new_engine
    for engine in made:
        engine.dispose()
