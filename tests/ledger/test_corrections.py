"""What a reconciliation reads from and corrects in the ledger, on every database."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_firstpromoter.calls import Commission, Outcome, Result
from airflow_provider_firstpromoter.ledger import (
    Ledger,
    RunKey,
)
from tests.ledger.rows import THEN, known, to_write, write

LATER = THEN + timedelta(days=3)
SENT_BY = RunKey("dag", "run_1", "sync", -1)
FOUND = Result(
    event_id="re_1",
    outcome=Outcome.ALREADY_RECORDED,
    recorded_amount=-1000,
    message="found",
    commissions=(Commission(id=5, event_id="re_1", status="approved", amount=-200, unit="cash", promoter_id=9),),
    lead_id=7,
)


@pytest.mark.parametrize("outcome", [Outcome.NOT_REFERRED, Outcome.FAILED])
def test_recover_keeps_what_was_sent_and_by_which_task_run(ledger: Ledger, outcome: Outcome) -> None:
    write(ledger, [to_write("re_1", outcome, seen_at=THEN), to_write("re_2", outcome)], SENT_BY)
    before = known(ledger)

    ledger.recover([(before, FOUND)], LATER)

    after = known(ledger)
    assert (after.outcome, after.commissions, after.lead_id) == (Outcome.ALREADY_RECORDED, FOUND.commissions, 7)
    for name in ("row_amount", "sent_amount", "sent_currency", "first_sent_at", "last_sent_at", "run", "sent_by"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.fingerprint is None, "the content no longer matters"
    assert known(ledger, "re_2").outcome is outcome


@pytest.mark.parametrize("outcome", [Outcome.RECORDED, Outcome.ALREADY_RECORDED, Outcome.REVERTED])
def test_recover_leaves_a_row_alone_that_is_on_record_meanwhile(ledger: Ledger, outcome: Outcome) -> None:
    write(ledger, [to_write("re_1", Outcome.NOT_REFERRED)])
    before = known(ledger)
    write(ledger, [to_write("re_1", outcome, commissions=(Commission(id=4),), recorded_amount=-1)], SENT_BY)

    ledger.recover([(before, FOUND)], LATER)

    assert (known(ledger).outcome, known(ledger).run) == (outcome, SENT_BY)
    assert 4 in {one.id for one in known(ledger).commissions}


def test_recover_without_refunds_runs_no_statement(ledger: Ledger) -> None:
    ledger.engine.dispose()
    ledger.recover([], LATER)


def test_sent_to_leads_reads_recorded_refunds_of_these_leads_only(ledger: Ledger) -> None:
    def of_lead(event_id: str, lead: int | None, outcome: Outcome = Outcome.RECORDED, status: str = "approved") -> None:
        reward = Commission(id=1, status=status, amount=-200, unit="cash")
        write(ledger, [to_write(event_id, outcome, commissions=(reward,), lead_id=lead, recorded_amount=-1000)])

    of_lead("re_1", 1)
    of_lead("re_2", 2**40, Outcome.ALREADY_RECORDED)
    of_lead("re_3", 3)
    of_lead("re_denied", 1, status="denied")
    of_lead("re_reverted", 1, Outcome.REVERTED)
    of_lead("re_unmatched", 1, Outcome.NOT_REFERRED)
    of_lead("re_unknown", None)
    write(ledger, [to_write("re_adopted", sent=False, lead_id=1)])

    found = ledger.sent_to_leads([1, 2**40, *range(10_000, 11_200)])

    assert sorted(
        (one.event_id, one.lead_id, one.sent_amount, one.recorded_amount, one.last_sent_at) for one in found
    ) == [
        ("re_1", 1, 1000, -1000, THEN),
        ("re_2", 2**40, 1000, -1000, THEN),
    ]
    assert [record.event_id for record in ledger.sent_without_lead()] == ["re_unknown"]


def test_sent_to_leads_of_a_missing_table_are_none(open_ledger: object) -> None:
    ledger: Ledger = open_ledger()  # type: ignore[operator]
    assert list(ledger.sent_to_leads([1])) == []
    assert list(ledger.sent_without_lead()) == []


def test_update_commissions_leaves_a_row_alone_whose_outcome_has_changed(
    ledger: Ledger,
) -> None:
    reward = Commission(id=5, status="pending", amount=-200, unit="cash")
    write(ledger, [to_write(event_id, commissions=(reward,)) for event_id in ("re_1", "re_2")], SENT_BY)
    approved = FOUND.model_copy(update={"commissions": (reward.model_copy(update={"status": "approved"}),)})
    read = [(known(ledger, event_id), approved) for event_id in ("re_1", "re_2")]
    ledger.mark_reverted(["re_1"], RunKey("dag", "run_2", "revert", -1), LATER)

    ledger.update_commissions(read)

    assert (known(ledger, "re_1").outcome, known(ledger, "re_1").commissions[0].status) == (Outcome.REVERTED, "denied")
    assert (known(ledger, "re_2").outcome, known(ledger, "re_2").commissions[0].status) == (
        Outcome.RECORDED,
        "approved",
    )
