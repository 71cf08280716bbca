"""Sensor and operator: what is pending is sent, whatever the operator's own parameters are, and ends no wait twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine

from airflow_provider_firstpromoter.calls import REASON_COLUMN, REFUND
from airflow_provider_firstpromoter.exceptions import EventsFailedError
from airflow_provider_firstpromoter.operators.track import TrackRefundOperator
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from airflow_provider_firstpromoter.triggers.unrecorded import UnrecordedTrigger
from tests.sensors.waiting import WHERE, refund, sensor, track
from tests.support import Task, event_ids, ledger_outcomes

MONTH = timedelta(days=30)


def let_hours_pass(warehouse: Any, hours: float) -> None:
    """Make everything in the ledger older."""
    engine = create_engine(warehouse.url, future=True)
    from airflow_provider_firstpromoter.ledger import ledger_table

    table = ledger_table(call=REFUND)
    with engine.begin() as connection:
        for row in connection.execute(table.select().where(table.c.last_sent_at.is_not(None))).all():
            connection.execute(
                table.update()
                .where(table.c.event_id == row.event_id)
                .values(
                    first_sent_at=row.first_sent_at - timedelta(hours=hours),
                    last_sent_at=row.last_sent_at - timedelta(hours=hours),
                )
            )
    engine.dispose()


def pass_on(rows: list[dict[str, Any]], **parameters: Any) -> list[dict[str, Any]]:
    """Run the operator downstream, whose parameters are its defaults."""
    results: list[dict[str, Any]] = Task(
        TrackRefundOperator(task_id="track", refunds=rows, max_rejected=None, **parameters), run_id="downstream"
    ).run()
    return results


def test_recheck_of_the_sensor_is_sent_by_an_operator_without_recheck_unreferred(
    warehouse: Any, sandbox: Sandbox
) -> None:
    warehouse.fill([refund(99)])
    track(refund(99))
    rechecking = sensor(recheck_unreferred=MONTH)
    assert not rechecking.poke({}).is_done, "it was sent just now"
    let_hours_pass(warehouse, 21)
    found = rechecking.poke({}).xcom_value
    assert [row[REASON_COLUMN] for row in found] == ["recheck"]
    assert not sensor().poke({}).is_done, "without the parameter it is settled"
    sandbox.add_lead(uid="cus_99")

    (result,) = pass_on(found)

    assert (result["outcome"], result["sent"]) == ("recorded", True)
    assert not rechecking.poke({}).is_done


def test_sensor_that_rechecks_fires_once_in_twenty_hours_and_not_for_ever(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill([refund(number) for number in (97, 98, 99)])
    track(*(refund(number) for number in (97, 98, 99)))
    rechecking = sensor(recheck_unreferred=MONTH)
    fired = []
    for _ in range(3):  # every ten hours or so
        let_hours_pass(warehouse, 10.5)
        for _ in range(3):
            found = rechecking.poke({})
            fired.append(found.is_done)
            if found.is_done:
                pass_on(found.xcom_value)

    assert fired == [False] * 3 + [True, False, False] + [False] * 3
    assert len(sandbox.refund_requests()) == 6


def test_rejected_row_of_a_retrying_sensor_is_sent_by_an_operator_without_retry_rejected(
    warehouse: Any, sandbox: Sandbox
) -> None:
    row = refund(1, currency="ZZZ")
    warehouse.fill([row])
    track(row)
    retrying = sensor(retry_rejected=True)
    assert not retrying.poke({}).is_done
    let_hours_pass(warehouse, 21)
    before = len(sandbox.refund_requests())

    found = retrying.poke({}).xcom_value
    assert [row[REASON_COLUMN] for row in found] == ["retry"]
    (result,) = pass_on(found)

    assert (result["outcome"], result["sent"]) == ("rejected", True)
    assert len(sandbox.refund_requests()) == before + 1
    assert not retrying.poke({}).is_done, "not again within twenty hours"


def test_corrected_and_new_rows_carry_no_reason(warehouse: Any) -> None:
    warehouse.fill([refund(1, currency="ZZZ"), refund(99), refund(2)])
    track(refund(1, currency="ZZZ"), refund(99))
    warehouse.run("UPDATE refunds SET currency = 'EUR', quantity = 2")

    found = sensor(recheck_unreferred=MONTH, retry_rejected=True).poke({}).xcom_value

    assert sorted(event_ids(found)) == ["re_00001", "re_00002", "re_00099"]
    assert not any(REASON_COLUMN in row for row in found)


def test_row_of_a_recheck_is_not_sent_if_another_run_settled_it_meanwhile(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill([refund(99)])
    track(refund(99))
    let_hours_pass(warehouse, 21)
    found = sensor(recheck_unreferred=MONTH).poke({}).xcom_value
    sandbox.add_lead(uid="cus_99")
    pass_on(found)
    before = len(sandbox.refund_requests())

    (result,) = pass_on(found)

    assert (result["outcome"], result["sent"]) == ("recorded", False)
    assert len(sandbox.refund_requests()) == before


def test_failed_refund_ends_the_wait_and_is_sent_again(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill([refund(1)])
    sandbox.fault("status", status=500, event_id="re_00001")
    from airflow_provider_firstpromoter.exceptions import EventsFailedError

    with pytest.raises(EventsFailedError):
        track(refund(1))

    found = sensor().poke({}).xcom_value

    assert event_ids(found) == ["re_00001"]
    assert pass_on(found)[0]["outcome"] == "recorded"


@pytest.mark.parametrize("window", [timedelta(hours=20), timedelta(hours=1), timedelta(0), timedelta(days=-3)], ids=str)
def test_window_in_which_no_recheck_could_come_is_refused_when_the_dag_is_parsed(window: timedelta) -> None:
    for make in (
        lambda: UnrecordedRefundSensor(task_id="find", recheck_unreferred=window, **WHERE),
        lambda: SqlToFirstPromoterOperator(task_id="sync", recheck_unreferred=window, **WHERE),
        lambda: TrackRefundOperator(task_id="track", refunds=[], recheck_unreferred=window),
    ):
        with pytest.raises(ValueError, match="recheck_unreferred must be longer than 20:00:00, the time between two"):
            make()


def test_daily_task_that_comes_a_second_early_rechecks_every_day(warehouse: Any) -> None:
    warehouse.fill([refund(99)])
    track(refund(99))
    rechecking = sensor(recheck_unreferred=MONTH)
    for _ in range(3):
        let_hours_pass(warehouse, 24 - 1 / 3600)
        found = rechecking.poke({})
        assert found.is_done
        pass_on(found.xcom_value)


def test_trigger_fires_for_a_recheck_and_for_a_retry_only_with_their_parameters(sqlite: Any) -> None:
    sqlite.fill([refund(99), refund(1, currency="ZZZ")])
    track(refund(99), refund(1, currency="ZZZ"))
    let_hours_pass(sqlite, 21)

    def fires(**parameters: Any) -> bool:
        async def first_event() -> Any:
            return await anext(UnrecordedTrigger(**WHERE, end_time=0.0, **parameters).run())

        return bool(asyncio.run(first_event()).payload["status"] == "pending")

    assert not fires()
    assert fires(recheck_unreferred=MONTH)
    assert fires(retry_rejected=True)


@pytest.mark.parametrize("retry_rejected", [False, True])
def test_row_that_validation_refused_is_passed_on_for_an_operator_with_other_parameters(
    sqlite: Any, retry_rejected: bool
) -> None:
    """The message asks whether amount_unit='major' is meant, and the author corrects the operator."""
    sqlite.fill([refund(1, amount="19.99", currency="USD")], amount="VARCHAR(20)")

    def run(**parameters: Any) -> None:
        rows = sensor(retry_rejected=retry_rejected).poke({}).xcom_value
        Task(TrackRefundOperator(task_id="track", refunds=rows, max_rejected=None, **parameters)).run()

    run()
    assert ledger_outcomes(sqlite) == {"re_00001": "rejected"}
    sqlite.fill([refund(2, amount="1.00", currency="USD")])
    assert [row["event_id"] for row in sensor().poke({}).xcom_value] == ["re_00002"], "it was tried a moment ago"
    sqlite.run("UPDATE firstpromoter_refunds SET last_seen_at = '2026-01-01 00:00:00'")

    run(amount_unit="major")

    assert ledger_outcomes(sqlite) == {"re_00001": "recorded", "re_00002": "recorded"}


def test_rows_that_always_fail_do_not_keep_others_from_being_passed_on(sqlite: Any, sandbox: Any) -> None:
    sqlite.fill([refund(number) for number in range(4)])
    for number in range(3):
        sandbox.fault("status", status=500, event_id=f"re_{number:05}", times=None)
    sandbox.fault("status", status=500, event_id="re_00003", times=1)

    def run(limit: int) -> None:
        rows = sensor(limit=limit).poke({}).xcom_value
        with pytest.raises(EventsFailedError):
            Task(TrackRefundOperator(task_id="track", refunds=rows)).run()

    run(4)
    assert set(ledger_outcomes(sqlite).values()) == {"failed"}
    for _ in range(5):
        let_hours_pass(sqlite, 1)  # the ledger knows seconds
        run(3)

    assert ledger_outcomes(sqlite)["re_00003"] == "recorded"
