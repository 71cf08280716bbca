"""Refunds and sales on one engine: what holds for both calls, and what each leaves to the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pkgutil import resolve_name
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND, SALE, Call
from airflow_provider_firstpromoter.exceptions import RunRefusedError
from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator, ReconcileSalesOperator
from airflow_provider_firstpromoter.operators.revert import RevertRefundsOperator, RevertSalesOperator
from airflow_provider_firstpromoter.operators.track import TrackRefundOperator, TrackSaleOperator
from airflow_provider_firstpromoter.reconcile import MismatchKind
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor, UnrecordedSaleSensor
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests.support import ALL_REFUNDS, BOTH_CALLS, Task, nonzero_outcomes

CLASSES: dict[str, tuple[Any, Any, Any, Any]] = {
    "refund": (TrackRefundOperator, UnrecordedRefundSensor, ReconcileRefundsOperator, RevertRefundsOperator),
    "sale": (TrackSaleOperator, UnrecordedSaleSensor, ReconcileSalesOperator, RevertSalesOperator),
}


class Engine:
    """The operators of both calls over one account and one warehouse."""

    def __init__(self, sandbox: Sandbox, database: Any) -> None:
        self.sandbox = sandbox
        self.database = database
        self.pushed: dict[str, Any] = {}

    def run(self, operator: Any, run_id: str = "manual__1") -> Any:
        task = Task(operator, run_id=run_id)
        self.pushed = task.ti.pushed
        return task.run()

    def sync(self, call: Call, sql: str = ALL_REFUNDS, **parameters: Any) -> Any:
        name: Any = call.name
        return self.run(
            SqlToFirstPromoterOperator(task_id="sync", sql=sql, sql_conn_id="warehouse", call=name, **parameters)
        )

    def track(self, call: Call, *events: dict[str, Any]) -> Any:
        given: dict[str, Any] = {call.plural: list(events)}
        return self.run(CLASSES[call.name][0](task_id="track", **given))

    def find(self, call: Call) -> Any:
        sensor = CLASSES[call.name][1](task_id="find", sql=ALL_REFUNDS, sql_conn_id="warehouse")
        return sensor.poke({}).xcom_value

    def reconcile(self, call: Call, **parameters: Any) -> dict[str, int]:
        report = self.run(CLASSES[call.name][2](task_id="reconcile", max_mismatches=None, **parameters))
        return {"matched": report["matched"]} | {kind: report[kind] for kind in MismatchKind if report[kind]}

    def revert(self, call: Call, *event_ids: str) -> Any:
        operator = CLASSES[call.name][3]
        parameters = {"event_ids": list(event_ids), "preview": False, "max_reverted": 10}
        return self.run(operator(task_id="revert", **parameters), "revert__1")

    def ledger(self, call: Call) -> dict[str, str]:
        return dict(self.database.run(f"SELECT event_id, outcome FROM {call.ledger_table}"))

    def requests(self, call: Call) -> list[Any]:
        return self.sandbox.tracking_requests(call.name)

    def balance(self) -> int:
        return sum(balance.amount for balance in self.sandbox.balances())


@pytest.fixture
def engine(sandbox: Sandbox, new_database: Callable[..., Any], connect: Callable[..., str]) -> Engine:
    """An account that knows ``cus_0`` to ``cus_9``; its ledgers are in the warehouse."""
    connect(max_attempts=1, ledger_conn_id="warehouse")
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(10))
    return Engine(sandbox, new_database("sqlite", "warehouse"))


def event(number: int, **values: Any) -> dict[str, Any]:
    return {"event_id": f"ev_{number}", "amount": 1000, "uid": f"cus_{number}", **values}


@BOTH_CALLS
def test_query_of_either_call_is_sent_once_and_its_commissions_have_the_calls_sign(engine: Engine, call: Call) -> None:
    engine.database.fill([event(1), event(2), event(77), event(3, amount=-5)])

    first = engine.sync(call, max_rejected=None)
    again = engine.sync(call, max_rejected=None)

    assert nonzero_outcomes(first) == {"recorded": 2, "not_referred": 1, "rejected": 1}
    assert (first["kind"], first["rewards"]) == (call.plural, {"cash": call.sign * 400})
    assert (again["sent"], len(engine.requests(call))) == (0, 3)
    assert engine.ledger(call) == {"ev_1": "recorded", "ev_2": "recorded", "ev_77": "not_referred", "ev_3": "rejected"}
    assert engine.balance() == call.sign * 400


@BOTH_CALLS
def test_found_by_the_sensor_and_tracked_downstream(engine: Engine, call: Call) -> None:
    engine.database.fill([event(1), event(77)])

    results = engine.track(call, *engine.find(call))

    assert [one["outcome"] for one in results] == ["recorded", "not_referred"]
    assert results[0]["rewards"] == {"cash": call.sign * 200}
    assert engine.find(call) == []


@BOTH_CALLS
def test_conflict_that_names_the_call_is_already_recorded(engine: Engine, call: Call) -> None:
    engine.track(call, event(1))
    for table in (call.ledger_table, f"{call.ledger_table}_commissions"):
        engine.database.run(f"DELETE FROM {table}")

    (result,) = engine.track(call, event(1))

    assert (result["outcome"], result["http_status"]) == ("already_recorded", 409)
    assert result["rewards"] == {"cash": call.sign * 200}


@BOTH_CALLS
def test_reconciliation_and_revert_leave_the_other_call_alone(engine: Engine, call: Call) -> None:
    other = REFUND if call == SALE else SALE
    for one in (call, other):
        engine.track(one, event(1), event(2))
    engine.sandbox.add_commission(event_id="ev_other", uid="cus_3", sale_amount=other.sign * 900)

    assert engine.reconcile(call) == {"matched": 2}
    report = engine.revert(call, "ev_1")

    assert (report["reverted"], report["denied"]) == (1, {"cash": call.sign * 200})
    assert engine.ledger(call) == {"ev_1": "reverted", "ev_2": "recorded"}
    assert engine.ledger(other) == {"ev_1": "recorded", "ev_2": "recorded"}
    assert engine.balance() == other.sign * (200 + 180)
    assert engine.reconcile(other) == {"matched": 2, "missing_in_ledger": 1}


@BOTH_CALLS
def test_event_that_leaves_the_query_is_no_longer_selected_until_it_is_reverted(engine: Engine, call: Call) -> None:
    engine.database.fill([event(1), event(2)])
    engine.sync(call)
    selecting: dict[str, Any] = {"sql": ALL_REFUNDS, "sql_conn_id": "warehouse"}
    assert engine.reconcile(call, **selecting) == {"matched": 2}
    engine.database.run("DELETE FROM refunds WHERE event_id = 'ev_2'")

    assert engine.reconcile(call, **selecting) == {"matched": 2, "no_longer_selected": 1}

    assert engine.revert(call, *engine.pushed["no_longer_selected"])["reverted"] == 1
    assert engine.ledger(call) == {"ev_1": "recorded", "ev_2": "reverted"}
    assert "no_longer_selected" not in engine.reconcile(call, **selecting)


def test_ledger_of_sales_is_asked_before_firstpromoter(engine: Engine) -> None:
    engine.track(SALE, event(1), event(77))
    engine.track(
        REFUND,
        *(event(n, event_id=f"re_{n}", uid="cus_1", sale_event_id=f"ev_{n}") for n in (1, 2, 77)),
    )

    found = engine.reconcile(REFUND)

    assert found == {"matched": 3, "sale_not_found": 2}
    assert engine.pushed["return_value"]["sales_looked_up"] == 2, "not the one that the ledger has as recorded"


@pytest.mark.parametrize("reconciled", [True, False])
def test_sale_that_is_pending_in_its_ledger_is_looked_up_for_a_refund_that_is_pending_for_long(
    engine: Engine, reconciled: bool
) -> None:
    """Its commission can have been approved since: with a reconciliation of sales before, no request is needed."""
    engine.track(SALE, event(1))
    engine.track(REFUND, event(1, event_id="re_1", sale_event_id="ev_1"))
    store = engine.sandbox.store
    store.execute("UPDATE commissions SET status = 'pending'")
    for call in (SALE, REFUND):
        engine.reconcile(call)
    store.execute("UPDATE commissions SET status = 'approved' WHERE amount > 0")
    long_ago = datetime.now(UTC) - timedelta(days=46)
    store.execute("UPDATE commissions SET created_at = ?", (long_ago.strftime("%Y-%m-%dT%H:%M:%S.000Z"),))
    engine.database.run(f"UPDATE firstpromoter_refunds SET first_sent_at = '{long_ago:%Y-%m-%d %H:%M:%S}'")
    if reconciled:
        engine.reconcile(SALE)

    assert engine.reconcile(REFUND) == {"matched": 1, "still_pending": 1}
    assert engine.pushed["return_value"]["sales_looked_up"] == (0 if reconciled else 1)


@BOTH_CALLS
def test_changed_amount_is_named_and_not_sent(engine: Engine, call: Call) -> None:
    engine.track(call, event(1))
    engine.database.fill([event(1, amount=1500)])

    summary = engine.sync(call, max_rejected=None)

    assert nonzero_outcomes(summary) == {"changed": 1}
    assert len(engine.requests(call)) == 1


@BOTH_CALLS
def test_event_that_is_deleted_later_is_no_longer_selected(engine: Engine, call: Call) -> None:
    engine.database.fill([event(1), event(2)])
    engine.sync(call)
    engine.database.run("DELETE FROM refunds WHERE event_id = 'ev_2'")

    assert engine.reconcile(call, sql=ALL_REFUNDS, sql_conn_id="warehouse")["no_longer_selected"] == 1
    assert len(engine.requests(call)) == 2


def test_sale_and_refund_with_one_event_id_are_in_two_ledgers(engine: Engine) -> None:
    engine.track(SALE, event(1))
    (refund,) = engine.track(REFUND, event(1))

    assert refund["outcome"] == "recorded"
    assert (engine.ledger(SALE), engine.ledger(REFUND)) == ({"ev_1": "recorded"}, {"ev_1": "recorded"})
    assert engine.balance() == 0


@pytest.mark.parametrize("name", [{"tid": "visitor-ref7"}, {"ref_id": "ref7"}], ids=["tid", "ref_id"])
def test_sale_that_names_its_promoter_creates_its_lead(engine: Engine, name: dict[str, str]) -> None:
    stranger = event(1, uid="cus_new")

    assert [one["outcome"] for one in engine.track(SALE, stranger)] == ["not_referred"]
    (result,) = engine.track(SALE, {**stranger, **name})

    assert (result["outcome"], result["rewards"]) == ("recorded", {"cash": 200})
    assert [one["outcome"] for one in engine.track(REFUND, event(2, uid="cus_new"))] == ["recorded"]


def test_columns_of_a_sale_are_part_of_its_content(engine: Engine) -> None:
    """A sale without a referral is sent again when its promoter is known, and what only a refund has does not count."""
    engine.track(SALE, event(77))
    engine.track(SALE, event(77, sale_event_id="ch_1"))
    assert len(engine.requests(SALE)) == 1

    engine.track(SALE, event(77, ref_id="ref7"))

    assert [one.body.get("ref_id") for one in engine.requests(SALE)] == [None, "ref7"]


def test_monthly_sales_of_one_amount_are_no_duplicates(engine: Engine) -> None:
    engine.track(SALE, event(1))
    for days, event_id in ((30, "ev_old"), (1, "ev_near")):
        made = datetime.now(UTC) - timedelta(days=days)
        engine.sandbox.add_commission(event_id=event_id, uid="cus_1", sale_amount=1000, created_at=made)

    assert engine.reconcile(SALE) == {"matched": 1, "missing_in_ledger": 1, "recorded_twice": 1}


@BOTH_CALLS
def test_waits_in_the_triggerer_for_its_own_call(engine: Engine, call: Call) -> None:
    engine.database.fill([event(1)])
    engine.track(REFUND if call == SALE else SALE, event(1))
    sensor = CLASSES[call.name][1](task_id="find", sql=ALL_REFUNDS, sql_conn_id="warehouse", deferrable=True)
    trigger = sensor._trigger(end_time=0.0)
    path, parameters = trigger.serialize()

    fired = asyncio.run(anext(resolve_name(path)(**parameters).run()))
    engine.track(call, event(1))
    again = asyncio.run(anext(resolve_name(path)(**parameters).run()))

    assert (fired.payload["status"], again.payload["status"]) == ("pending", "timeout")


def test_ledger_of_sales_is_beside_the_refunds_of_the_extra(engine: Engine, connect: Callable[..., str]) -> None:
    connect(max_attempts=1, ledger_conn_id="warehouse", ledger_table="main.our_refunds")

    engine.track(REFUND, event(1))
    engine.track(SALE, event(1))

    for table in ("main.our_refunds", "main.firstpromoter_sales"):
        assert engine.database.run(f"SELECT event_id FROM {table}") == [("ev_1",)]


def test_preview_of_refunds_asks_the_ledger_of_sales_before_the_api(engine: Engine) -> None:
    engine.track(SALE, event(1), event(77))
    engine.database.fill([event(1, sale_event_id="ev_1"), event(2, sale_event_id="ev_77")])
    before = engine.sandbox.request_counts()

    summary = engine.sync(REFUND, preview=True)

    sample = {one["event_id"]: one["sale_found"] for one in summary["would_be_sent"]["sample"]}
    assert sample == {"ev_1": True, "ev_2": False}
    assert engine.sandbox.request_counts() != before, "what the ledger does not have as recorded is looked up"
    assert summary["requests"] == 2


OLD = {"sold_at": f"{datetime.now(UTC) - timedelta(days=9):%Y-%m-%d}"}


def test_old_sales_are_refused_before_the_first_request(engine: Engine) -> None:
    engine.database.fill([event(1, sold_at=None), event(2, **OLD)], sold_at="VARCHAR(30)")

    with pytest.raises(RunRefusedError, match=r"1 are older than a week: a sale that is sent today counts today"):
        engine.sync(SALE)

    assert engine.requests(SALE) == []
    preview = engine.sync(SALE, preview=True)
    assert any("is 9 days old" in warning for warning in preview["warnings"])
    summary = engine.sync(SALE, max_age=None)
    assert (nonzero_outcomes(summary), len(summary["warnings"])) == ({"recorded": 2}, 1)


def test_age_of_refunds_and_of_sales_that_were_sent_before_is_no_matter(engine: Engine) -> None:
    engine.track(SALE, event(77))
    engine.database.fill([event(77, ref_id="ref7", **OLD)], sold_at="VARCHAR(30)", ref_id="VARCHAR(30)")

    assert nonzero_outcomes(engine.sync(SALE)) == {"recorded": 1}
    sql = ALL_REFUNDS.replace("*", "event_id, amount, uid, sold_at AS refunded_at")
    assert nonzero_outcomes(engine.sync(REFUND, sql)) == {"recorded": 1}
