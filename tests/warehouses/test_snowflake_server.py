"""The Snowflake of these tests: what is relied on is checked by the connector alone."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("fakesnow", reason="needs an environment of its own: make test-snowflake")


def test_server_returns_each_type_as_snowflake_does(snowflake: Any) -> None:
    snowflake.run("CREATE TABLE cells (n NUMBER(38, 0), d NUMBER(12, 2), t TIMESTAMP_NTZ, b BOOLEAN, v VARCHAR)")
    snowflake.run(
        "INSERT INTO cells VALUES (1, 19.90, '2026-01-02 03:04:05.678901', true, ''), (null, null, null, null, null)"
    )

    assert snowflake.run("SELECT * FROM cells ORDER BY n NULLS LAST") == [
        (1, Decimal("19.90"), datetime(2026, 1, 2, 3, 4, 5, 678901), True, ""),
        (None, None, None, None, None),
    ]


def test_server_takes_values_with_every_odd_character(snowflake: Any) -> None:
    odd = "q'uo\"te % %s :x \\ back \n nl \t é😀  "
    snowflake.fill([{"event_id": odd, "amount": 1}, {"event_id": "re_2", "amount": 2}])

    assert snowflake.run("SELECT event_id FROM refunds WHERE amount = %(amount)s", {"amount": 1}) == [(odd,)]


def test_server_notes_each_statement(snowflake: Any, snowflake_server: Any) -> None:
    snowflake.run("SELECT 1")

    assert "SELECT 1" in snowflake_server.statements
