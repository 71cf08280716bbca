"""What the operator never does: write a refund off, send one by accident, or let a bad row keep others waiting."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.cli.definition import main
from airflow_provider_firstpromoter.exceptions import (
    EventsFailedError,
    EventsRejectedError,
    InputError,
    LedgerError,
)
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox
from tests.support import BOTH_SHAPES, ledger_outcomes, nonzero_outcomes
from tests.transfers.syncing import refund, refunds, sent, sync_task

RUNS = "SELECT kind, sent, recorded, not_referred, rejected, failed, ended_at, error FROM firstpromoter_refunds_runs"

# --- nothing written off ---


def test_corrected_id_column_sends_every_unreferred_refund_again(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill([{**row, "email": f"c{number}@example.com"} for number, row in enumerate(refunds(10))])
    wrong = sync_task(sql="SELECT event_id, amount, email AS uid FROM refunds")
    assert nonzero_outcomes(wrong.run()) == {"not_referred": 10}
    before = len(sent(sandbox))

    corrected = sync_task(sql="SELECT event_id, amount, uid FROM refunds", run_id="manual__2")

    assert nonzero_outcomes(corrected.run()) == {"recorded": 10}
    assert len(sent(sandbox)) - before == 10
    assert sync_task(sql="SELECT event_id, amount, uid FROM refunds", run_id="manual__3").run()["requests"] == 0


def test_unreferred_refund_is_not_sent_again_unless_its_row_changes(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill(refunds(30, start=50))
    sync_task().run()
    before = len(sent(sandbox))

    assert sync_task(run_id="manual__2").run()["requests"] == 0
    warehouse.run("UPDATE refunds SET amount = 77 WHERE event_id = 're_00055'")
    changed = sync_task(run_id="manual__3").run()

    assert nonzero_outcomes(changed) == {"not_referred": 1}, "nothing was recorded, so nothing is changed"
    assert sent(sandbox)[before:] == ["re_00055"]


def test_each_identity_of_a_fan_out_is_tried_and_none_is_sent_every_run(warehouse: Any, sandbox: Sandbox) -> None:
    sandbox.add_lead(email="new@example.com")
    rows = [refund(70, uid=None, email="old@example.com"), refund(70, uid=None, email="new@example.com")]
    nobody = [refund(71, uid=None, email="a@example.com"), refund(71, uid=None, email="b@example.com")]
    warehouse.fill([*rows, *nobody])

    first = sync_task().run()

    assert nonzero_outcomes(first) == {"recorded": 1, "not_referred": 1}
    assert first["repeated"] == 2
    assert len(sandbox.recorded()) == 1
    assert sent(sandbox).count("re_00071") == 2
    for run in range(2, 4):
        assert sync_task(run_id=f"manual__{run}").run()["requests"] == 0


def test_contradicting_rows_of_one_event_id_are_named(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill([refund(1, amount=500), refund(1, amount=700)])

    task = sync_task()
    with pytest.raises(EventsRejectedError, match=r"1 changed: 're_00001': another row .* differ in amount"):
        task.run()

    assert nonzero_outcomes(task.summary) == {"recorded": 1, "changed": 1}
    assert len(sandbox.recorded()) == 1


@BOTH_SHAPES
def test_recheck_recorded_before_a_kill_is_not_written_off(warehouse: Any, sandbox: Sandbox) -> None:
    """The recheck was recorded and its worker killed before the ledger was written: the next one hears a 409."""
    month = timedelta(days=30)
    warehouse.fill([refund(77)])
    sync_task(recheck_unreferred=month).run()
    sandbox.add_lead(uid="cus_77")
    assert FirstPromoterHook().track_refund(refund(77)).outcome == "recorded"
    warehouse.run("UPDATE firstpromoter_refunds SET last_sent_at = '2020-01-01 00:00:00.000000'")
    warehouse.run("UPDATE firstpromoter_refunds SET first_sent_at = first_sent_at")

    summary = sync_task(recheck_unreferred=month, run_id="manual__2").run()

    assert nonzero_outcomes(summary) == {"already_recorded": 1}
    assert summary["rewards"] == {"cash": sandbox.recorded()[0].reward_amount}


# --- no bad row in the way ---


def test_always_failing_rows_do_not_starve_others_of_the_limit(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill(refunds(10))
    for number in range(5):
        sandbox.fault("status", status=500, event_id=f"re_{number:05}", times=None)

    for run in range(4):
        with suppress(EventsFailedError):
            sync_task(limit=5, run_id=f"manual__{run}").run()

    good = {f"re_{number:05}" for number in range(5, 10)}
    assert {event_id for event_id, outcome in ledger_outcomes(warehouse).items() if outcome == "recorded"} == good


def test_row_that_a_firewall_blocks_fails_alone(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill(refunds(5))
    sandbox.fault("html", status=403, event_id="re_00000", times=None)

    task = sync_task(max_in_flight=1)
    with pytest.raises(EventsFailedError, match="1 failed: 're_00000'"):
        task.run()

    assert nonzero_outcomes(task.summary) == {"recorded": 4, "failed": 1}


def test_new_refunds_are_sent_although_many_failed_before(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill(refunds(18, start=100))
    for number in range(100, 118):
        sandbox.fault("status", status=500, event_id=f"re_{number}".replace("re_", "re_00"), times=None)
    with pytest.raises(EventsFailedError, match="10 refunds failed in a row"):
        sync_task().run()
    warehouse.fill(refunds(3))

    for run in range(2, 4):
        with pytest.raises(EventsFailedError):
            sync_task(run_id=f"manual__{run}").run()

    assert len(sandbox.recorded()) == 3


# --- reported once, accepted once ---


def test_rejected_row_fails_one_run_and_is_counted_as_open_later(warehouse: Any) -> None:
    warehouse.fill([refund(0), refund(1, amount=-1)])
    with pytest.raises(EventsRejectedError, match="1 rejected: 're_00001'"):
        sync_task().run()
    with pytest.raises(EventsRejectedError):
        sync_task().run()  # the same task run, cleared

    later = sync_task(run_id="manual__2").run()

    assert (later["outcomes"]["rejected"], later["still_open"]) == (1, 1)
    with pytest.raises(EventsRejectedError):
        sync_task(run_id="manual__3", fail_on="any").run()


def test_accepted_amount_is_reported_no_more(warehouse: Any, capsys: pytest.CaptureFixture[str]) -> None:
    warehouse.fill([refund(0)])
    sync_task().run()
    warehouse.run("UPDATE refunds SET amount = 5")
    with pytest.raises(EventsRejectedError, match=r"total of several refunds, .*firstpromoter accept"):
        sync_task(run_id="manual__2").run()

    main(["accept", "firstpromoter_default", "re_00000"])

    assert "recorded with amount 1000, and the row says 5: accepted" in capsys.readouterr().out
    assert nonzero_outcomes(sync_task(run_id="manual__3").run()) == {}
    warehouse.run("UPDATE refunds SET amount = 6")
    with pytest.raises(EventsRejectedError, match="1 changed"):
        sync_task(run_id="manual__4").run()


# --- before anything is sent ---


def test_column_that_a_join_repeats_is_refused_before_anything_is_sent(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill([refund(0)])
    warehouse.run("CREATE TABLE sales (id VARCHAR(20), amount INTEGER)")
    warehouse.run("INSERT INTO sales VALUES ('re_00000', 9900)")
    joined = "SELECT r.*, s.* FROM refunds r JOIN sales s ON s.id = r.event_id"
    for run in range(2):
        with pytest.raises(InputError, match="amount more than once"):
            sync_task(sql=joined, run_id=f"manual__{run}").run()
        assert sandbox.request_counts() == {}
        sync_task(run_id="manual__other").run() if run == 0 else None
        sandbox.reset()


def test_run_history_is_written_before_the_first_request(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill(refunds(12))
    sync_task().run()
    ((kind, sent_count, recorded, not_referred, *_, ended_at, error),) = warehouse.run(RUNS)
    assert (kind, sent_count, recorded, not_referred, error) == ("query", 12, 10, 2, None)
    assert ended_at is not None

    warehouse.run("ALTER TABLE firstpromoter_refunds_runs RENAME TO elsewhere")
    warehouse.run("CREATE VIEW firstpromoter_refunds_runs AS SELECT * FROM elsewhere WHERE 1 = 0")
    warehouse.fill([refund(50)])
    before = len(sandbox.refund_requests())
    if warehouse.kind == "sqlite":  # PostgreSQL can write through such a view
        with pytest.raises(LedgerError):
            sync_task(run_id="manual__2").run()
        assert len(sandbox.refund_requests()) == before
