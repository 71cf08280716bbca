"""Ways of joining a query with the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
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
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way of joining in turn."""
    monkeypatch.setattr(merge_join, "FEW_ROWS", 0)
    return str(request.param)


@pytest.fixture
def crossing(beside: Side, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Return the event_ids that come through, the same ones in every way of joining, unless ``ways`` names some."""
    monkeypatch.setattr(merge_join, "FEW_ROWS", 0)

    def crossing(
        sql: str = ALL_REFUNDS,
        parameters: Any = None,
        recheck: timedelta | None = None,
        ways: Sequence[str] = WAYS,
    ) -> list[Any]:
        came = {}
        for way in ways:
            rows = unsettled(way, beside.query(sql, parameters), beside.ledger, recheck)
            came[way] = sorted((row["event_id"] for row in rows), key=str)
        first, *others = came.values()
        assert all(other == first for other in others), came
        return first

    return crossing


@pytest.fixture
def fallback_logged(caplog: pytest.LogCaptureFixture) -> Callable[[], bool]:
    caplog.set_level(logging.INFO)
    return lambda: "The database cannot leave out settled rows itself" in caplog.text
