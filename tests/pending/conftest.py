"""Ways of joining a query with the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.pending import merge_join
from tests.pending.joining import WAYS, Side, unsettled
from tests.support import ALL_REFUNDS


@pytest.fixture
def beside(database: Any) -> Side:
    """Refunds and ledger in one database."""
    return Side(database)


@pytest.fixture(params=WAYS)
def crossing(request: pytest.FixtureRequest, beside: Side, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Return the event_ids that come through, in each way of joining in turn."""
    monkeypatch.setattr(merge_join, "FEW_ROWS", 0)

    def crossing(sql: str = ALL_REFUNDS, parameters: Any = None, recheck: timedelta | None = None) -> list[Any]:
        rows = unsettled(request.param, beside.query(sql, parameters), beside.ledger, recheck)
        return sorted((row["event_id"] for row in rows), key=str)

    crossing.way = request.param  # type: ignore[attr-defined]
    return crossing


@pytest.fixture
def fallback_logged(caplog: pytest.LogCaptureFixture) -> Callable[[], bool]:
    caplog.set_level(logging.INFO)
    return lambda: "The database cannot leave out settled rows itself" in caplog.text
