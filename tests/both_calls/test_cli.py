"""``airflow firstpromoter … --call sale``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_firstpromoter.calls import REFUND, SALE
from tests.both_calls.test_engine import Engine, engine, event
from tests.cli.conftest import Done, cli

__all__ = ["cli", "engine"]
CONN = "firstpromoter_default"


def test_commands_take_the_call(engine: Engine, cli: Callable[..., Done]) -> None:
    engine.track(SALE, event(1), event(77))
    engine.track(REFUND, event(2, sale_event_id="ev_77"))

    report = cli("report", CONN, "--call", "sale", "--output", "json").json
    applied = cli("views", CONN, "--call", "sale", "--apply")
    of_refunds = cli("report", CONN, "--output", "json").json
    reconciled = cli("reconcile", CONN, "--call", "sale", "--output", "json").json
    reverted: Any = cli("revert", CONN, "--call", "sale", "--event-id", "ev_1", "--output", "json").json
    wrong = cli("report", CONN, "--call", "signup")

    assert [(one["earned"], one["reversed"], one["net"]) for one in report["net"]] == [(200, -200, 0)]
    assert [one["event_id"] for one in report["refunds_without_sale"]] == ["ev_2"]
    assert (applied.code, "firstpromoter_sales_net" in applied.out) == (None, True)
    assert "net" not in of_refunds
    assert [one["reversed"] for one in of_refunds["reversed"]] == [-200]
    assert (reconciled["matched"], reconciled["mismatches"]) == (1, 0)
    assert reverted["to_deny"] == {"cash": 200}
    assert (wrong.code, "neither refund nor sale" in wrong.err) == (2, True)
