"""The ledger records what was reverted, on every database on which it is tested."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from airflow_provider_firstpromoter.calls import Commission, Outcome
from airflow_provider_firstpromoter.ledger import (
    Ledger,
    RunKey,
)
from tests.ledger.rows import THEN, known, to_write, write

WRONG = RunKey("sync", "run_1", "sync", -1)
UNDO = RunKey("undo", "run_2", "revert", -1)


def test_mark_reverted_keeps_the_reward_and_the_run_that_made_it(
    ledger: Ledger, open_ledger: Callable[..., Ledger], database: object
) -> None:
    reward = Commission(id=5, amount=-200, unit="cash", status="approved")
    write(ledger, [to_write(f"re_{n}", commissions=(reward,)) for n in range(1200)], WRONG)
    write(open_ledger("other"), [to_write("re_1", commissions=(reward,))], WRONG)

    ledger.mark_reverted([f"re_{n}" for n in range(1100)], UNDO, THEN)

    record = known(ledger)
    assert (record.outcome, record.run) == (Outcome.REVERTED, WRONG)
    (commission,) = record.commissions
    assert (commission.id, commission.amount, commission.status) == (5, -200, "denied")
    assert (record.result().outcome, record.result().rewards) == (Outcome.REVERTED, {})
    assert known(ledger, "re_1100").outcome is Outcome.RECORDED
    assert known(open_ledger("other")).outcome is Outcome.RECORDED


def test_mark_reverted_leaves_what_is_not_on_record_and_an_earlier_revert(ledger: Ledger) -> None:
    write(ledger, [to_write("re_1"), to_write("re_2", Outcome.NOT_REFERRED), to_write("re_3", Outcome.FAILED)])
    ledger.mark_reverted(["re_1"], RunKey(run_id="first"), THEN)

    ledger.mark_reverted(["re_1", "re_2", "re_3", "re_4"], RunKey(run_id="second"), THEN + timedelta(days=1))

    with ledger.engine.connect() as connection:
        c = ledger.table.c
        rows = connection.execute(ledger.table.select()).mappings().all()
    assert {row["event_id"]: (row["outcome"], row[c.reverted_run_id.name], row["reverted_at"]) for row in rows} == {
        "re_1": (Outcome.REVERTED, "first", THEN),
        "re_2": (Outcome.NOT_REFERRED, None, None),
        "re_3": (Outcome.FAILED, None, None),
    }


def test_no_later_result_overwrites_a_reverted_refund(ledger: Ledger) -> None:
    write(ledger, [to_write()])
    ledger.mark_reverted(["re_1"], UNDO, THEN)

    for outcome in (Outcome.RECORDED, Outcome.ALREADY_RECORDED, Outcome.NOT_REFERRED, Outcome.FAILED):
        for was_known in (False, True):
            write(ledger, [to_write(outcome=outcome, known=was_known)])

    assert known(ledger).outcome is Outcome.REVERTED


def test_selections_read_what_was_recorded_or_reverted_or_may_be_recorded(ledger: Ledger) -> None:
    write(ledger, [to_write("re_1"), to_write("re_2"), to_write("re_3", Outcome.NOT_REFERRED)], WRONG)
    later = THEN + timedelta(hours=2)
    unresolved = [
        to_write("re_5", Outcome.FAILED, at=later),
        to_write("re_6", Outcome.NOT_REFERRED, http_status=404, lost=True, at=later),
        to_write("re_7", Outcome.NOT_REFERRED, http_status=409, at=later),
    ]
    write(ledger, [*unresolved, to_write("re_8", Outcome.REJECTED, at=later)], RunKey("sync", "run_3", "sync", -1))
    write(ledger, [to_write("re_4", at=THEN + timedelta(hours=1))], WRONG._replace(dag_id="other"))
    ledger.mark_reverted(["re_2"], UNDO, THEN)

    assert {one.event_id for one in ledger.sent_by_run("sync", "run_1")} == {"re_1", "re_2"}
    assert {one.event_id for one in ledger.sent_by_run("undo", "run_2")} == set()
    assert {one.event_id for one in ledger.first_sent_between(THEN, THEN + timedelta(hours=1))} == {"re_1", "re_2"}
    assert {one.event_id for one in ledger.first_sent_between(THEN + timedelta(seconds=1), later)} == {"re_4"}
    assert {one.event_id for one in ledger.sent_by_run("sync", "run_3")} == {"re_5", "re_6", "re_7"}
    assert {one.event_id for one in ledger.first_sent_between(later, None)} == {"re_5", "re_6", "re_7"}
