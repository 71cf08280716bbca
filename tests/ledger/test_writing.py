"""Writing to the ledger: which of two outcomes stays, and which task run a reward belongs to."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import DIGEST_COLUMN, REFUND, Commission, Outcome, fingerprint, numbered
from airflow_provider_firstpromoter.ledger import Ledger, LedgerWrite, RunKey
from tests.ledger.rows import THEN, by, count, known, to_write, write
from tests.support import needs_locks

WEAK_TO_STRONG = [
    Outcome.FAILED,
    Outcome.REJECTED,
    Outcome.NOT_REFERRED,
    Outcome.ALREADY_RECORDED,
    Outcome.RECORDED,
]
ORDERS = {f"re_{number}": order for number, order in enumerate(itertools.permutations(WEAK_TO_STRONG))}
DAY = timedelta(days=1)
REWARD = Commission(id=1, event_id="re_1", status="approved", amount=-200, unit="cash")
FIRST = RunKey("dag", "first", "task", -1)
SECOND = RunKey("dag", "second", "task", -1)


# --- stronger and weaker ---


def test_weaker_outcome_never_overwrites_a_stronger_one(ledger: Ledger) -> None:
    assert len(ORDERS) == 120
    for place in range(5):
        write(ledger, [to_write(one, order[place], message=order[place].value) for one, order in ORDERS.items()])
        for event_id, found in ledger.find(set(ORDERS)).items():
            strongest = max(ORDERS[event_id][: place + 1], key=lambda outcome: outcome.strength)
            assert found.outcome is strongest
            assert found.result().message == strongest.value


def test_newer_result_of_a_run_that_knew_the_row_replaces_any_that_is_not_on_record(ledger: Ledger) -> None:
    """A refund that was not referred and now fails must be sent again, whichever of the outcomes is stronger."""
    for place in range(5):
        write(
            ledger,
            [to_write(one, order[place], message=order[place].value, known=True) for one, order in ORDERS.items()],
        )
        for event_id, found in ledger.find(set(ORDERS)).items():
            so_far = ORDERS[event_id][: place + 1]
            on_record = [outcome for outcome in so_far if outcome.on_record]
            expected = max(on_record, key=lambda outcome: outcome.strength) if on_record else so_far[-1]
            assert found.outcome is expected
            assert found.result().message == expected.value


def test_strongest_outcome_of_one_batch_is_stored(ledger: Ledger, database: Any) -> None:
    write(ledger, [to_write(one, order[place]) for place in range(5) for one, order in ORDERS.items()])
    assert {found.outcome for found in ledger.find(set(ORDERS)).values()} == {Outcome.RECORDED}
    assert count(database) == 120


def test_changed_and_pending_results_are_not_stored(ledger: Ledger) -> None:
    write(ledger, [to_write(outcome=Outcome.NOT_REFERRED)])
    for outcome in (Outcome.CHANGED, Outcome.PENDING):
        write(ledger, [to_write(outcome=outcome, known=True), to_write("re_2", outcome)])
    assert known(ledger).outcome is Outcome.NOT_REFERRED
    assert ledger.find({"re_2"}) == {}


def test_recorded_row_is_never_overwritten(ledger: Ledger) -> None:
    write(ledger, [to_write(commissions=(REWARD,))], FIRST)
    for run, knew in ((SECOND, False), (SECOND, True), (FIRST, True)):
        again = to_write(commissions=(Commission(id=1, amount=-999),), at=THEN + DAY, known=knew)
        write(ledger, [again], run)
        assert known(ledger).result().commissions == (REWARD,)
        assert known(ledger).last_sent_at == THEN
        assert known(ledger).run == FIRST


def test_rejected_not_referred_and_failed_rows_are_renewed_when_sent_again(ledger: Ledger) -> None:
    later = THEN + timedelta(days=2)
    outcomes = {"re_1": Outcome.NOT_REFERRED, "re_2": Outcome.REJECTED, "re_3": Outcome.FAILED}
    write(ledger, [to_write(event_id, outcome, fingerprint="k 1") for event_id, outcome in outcomes.items()])
    again = [to_write(event_id, outcome, fingerprint="k 2", at=later) for event_id, outcome in outcomes.items()]
    write(ledger, again, SECOND)
    found = ledger.find(set(outcomes))
    assert {one.fingerprint for one in found.values()} == {"k 2"}
    assert {one.run for one in found.values()} == {SECOND}
    assert (found["re_1"].first_sent_at, found["re_1"].last_sent_at) == (THEN, later)


@pytest.mark.parametrize("outcome", [Outcome.NOT_REFERRED, Outcome.REJECTED, Outcome.FAILED])
def test_lost_response_survives_what_a_run_that_did_not_know_of_it_was_told(ledger: Ledger, outcome: Outcome) -> None:
    """Whichever of two runs writes first: the retry must look up whether the refund is recorded."""
    lost = to_write(outcome=Outcome.FAILED, lost=True)

    write(ledger, [lost, to_write("re_2", outcome)])
    write(ledger, [to_write("re_1", outcome), to_write("re_2", Outcome.FAILED, lost=True)])

    for event_id in ("re_1", "re_2"):
        assert (known(ledger, event_id).outcome, known(ledger, event_id).result().lost) == (Outcome.FAILED, True)
    write(ledger, [to_write("re_1", outcome, known=True), to_write("re_2", Outcome.RECORDED)])
    assert known(ledger, "re_1").outcome is outcome, "the retry knew of it and found that nothing was recorded"
    assert known(ledger, "re_2").outcome is Outcome.RECORDED


def test_rejected_refund_recorded_later_gets_its_times(ledger: Ledger) -> None:
    write(ledger, [to_write(outcome=Outcome.REJECTED)])
    write(ledger, [to_write(outcome=Outcome.RECORDED)])
    assert (known(ledger).first_sent_at, known(ledger).last_sent_at) == (THEN, THEN)


# --- two task runs ---


def test_reward_belongs_to_the_task_run_that_wrote_it_first(ledger: Ledger) -> None:
    """The one with the 200 is the later one to write: the other has passed the reward downstream already."""
    assert write(ledger, [to_write(outcome=Outcome.ALREADY_RECORDED, commissions=(REWARD,))], FIRST) == {}

    claimed = write(
        ledger,
        [to_write(outcome=Outcome.RECORDED, commissions=(REWARD,)), to_write("re_2", commissions=(REWARD,))],
        SECOND,
    )

    assert {event_id: record.run for event_id, record in claimed.items()} == {"re_1": FIRST}
    assert claimed["re_1"].result().commissions == (REWARD,)
    assert claimed["re_1"].result().reported_by == FIRST._asdict()
    assert (known(ledger).outcome, known(ledger).run) == (Outcome.ALREADY_RECORDED, FIRST)
    assert known(ledger, "re_2").run == SECOND


def test_reward_that_nobody_has_reported_goes_to_the_task_run_that_brings_it(ledger: Ledger) -> None:
    write(ledger, [to_write(outcome=Outcome.ALREADY_RECORDED)], FIRST)

    assert write(ledger, [to_write(outcome=Outcome.RECORDED, commissions=(REWARD,))], SECOND) == {}

    assert (known(ledger).outcome, known(ledger).run, known(ledger).commissions) == (
        Outcome.RECORDED,
        SECOND,
        (REWARD,),
    )


def test_recorded_replaces_what_a_reconciliation_found_and_nothing_else_that_has_a_reward(
    ledger: Ledger,
) -> None:
    sent, response = {"sent": True, "http_status": 409}, {"sent": False, "http_status": None}
    found: dict[str, dict[str, Any]] = {"re_adopted": response, "re_answered": sent}
    write(
        ledger,
        [to_write(one, Outcome.ALREADY_RECORDED, commissions=(REWARD,), **how) for one, how in found.items()],
        FIRST,
    )

    claimed = write(ledger, [to_write(one, commissions=(REWARD,), at=THEN + DAY) for one in found], SECOND)

    assert set(claimed) == {"re_answered"}
    assert (known(ledger, "re_adopted").outcome, known(ledger, "re_adopted").run) == (Outcome.RECORDED, SECOND)
    assert known(ledger, "re_adopted").first_sent_at == THEN + DAY
    assert (known(ledger, "re_answered").outcome, known(ledger, "re_answered").run) == (
        Outcome.ALREADY_RECORDED,
        FIRST,
    )


@pytest.mark.parametrize("outcome", [Outcome.NOT_REFERRED, Outcome.REJECTED, Outcome.FAILED])
def test_refund_that_is_not_on_record_is_claimed_by_no_run(ledger: Ledger, outcome: Outcome) -> None:
    write(ledger, [to_write(outcome=outcome)], FIRST)
    assert write(ledger, [to_write(outcome=Outcome.RECORDED)], SECOND) == {}
    assert write(ledger, [to_write(outcome=outcome)], FIRST) == {}


def test_same_task_run_has_no_claim_against_itself(ledger: Ledger) -> None:
    write(ledger, [to_write(commissions=(REWARD,))], FIRST)
    assert write(ledger, [to_write(outcome=Outcome.ALREADY_RECORDED, commissions=(REWARD,))], FIRST) == {}


def test_one_of_two_racing_task_runs_claims_each_reward(
    open_ledger: Callable[..., Ledger], at_once: Callable[..., Any]
) -> None:
    ledgers = [open_ledger(), open_ledger()]
    needs_locks(ledgers[0].engine.dialect.name)
    ledgers[0].ensure()
    event_ids = [f"re_{number}" for number in range(60)]

    def write_all(ledger: Ledger, run: RunKey, outcome: Outcome, order: list[str]) -> set[str]:
        lost: set[str] = set()
        for start in range(0, 60, 10):
            batch = [to_write(event_id, outcome, commissions=(REWARD,)) for event_id in order[start : start + 10]]
            lost |= set(write(ledger, batch, run))
        return lost

    lost = at_once(
        lambda: write_all(ledgers[0], FIRST, Outcome.RECORDED, event_ids),
        lambda: write_all(ledgers[1], SECOND, Outcome.ALREADY_RECORDED, event_ids[::-1]),
    )

    assert lost[0] | lost[1] == set(event_ids), "one of them lost each"
    assert not lost[0] & lost[1], "and the other did not"
    owners = {event_id: record.run for event_id, record in open_ledger().find(set(event_ids)).items()}
    assert {event_id for event_id, run in owners.items() if run == SECOND} == lost[0]


# --- changed amounts, problems seen again, renewed fingerprints ---


def changed(ledger: Ledger, amount: str, at: datetime = THEN) -> None:
    ledger.write([LedgerWrite.of_changed("re_1", known(ledger).outcome, amount, at)], SECOND)


def test_changed_amount_is_kept_beside_the_recorded_row(ledger: Ledger, database: Any) -> None:
    write(ledger, [to_write(commissions=(REWARD,))], FIRST)

    changed(ledger, "1500", THEN + DAY)

    record = known(ledger)
    assert (record.outcome, record.row_amount, record.changed_amount) == (Outcome.RECORDED, "1000", "1500")
    assert (record.run, record.result().commissions, record.last_sent_at) == (FIRST, (REWARD,), THEN)
    [(seen,)] = database.run("SELECT last_seen_at FROM firstpromoter_refunds")
    assert str(seen)[:10] == "2026-03-02"


def test_changed_amount_that_changes_again_was_neither_reported_nor_accepted(ledger: Ledger) -> None:
    write(ledger, [to_write()], FIRST)
    changed(ledger, "1500")
    ledger.mark(["re_1"], reported_at=THEN, accepted_at=THEN)

    changed(ledger, "1500", THEN + DAY)
    assert (known(ledger).reported_at, known(ledger).accepted_at) == (THEN, THEN)

    changed(ledger, "1600", THEN + DAY)
    assert (known(ledger).changed_amount, known(ledger).reported_at, known(ledger).accepted_at) == ("1600", None, None)


def test_problem_seen_again_changes_nothing_else(ledger: Ledger, database: Any) -> None:
    write(
        ledger,
        [to_write(outcome=Outcome.REJECTED, seen_at=THEN), to_write("re_2", Outcome.REJECTED, seen_at=THEN)],
        FIRST,
    )
    before = known(ledger)

    ledger.write([LedgerWrite.of_seen(before, THEN + DAY)], SECOND)

    assert replace(known(ledger), last_seen_at=before.last_seen_at) == before
    rows = database.run("SELECT last_seen_at FROM firstpromoter_refunds ORDER BY event_id")
    assert [str(moment)[:10] for (moment,) in rows] == ["2026-03-02", "2026-03-01"]


def test_renewed_fingerprint_changes_nothing_else(ledger: Ledger) -> None:
    write(ledger, [to_write(outcome=Outcome.NOT_REFERRED), to_write("re_2", Outcome.RECORDED)], FIRST)
    ledger.mark(["re_2"], row_amount=None)
    row = next(numbered([{"event_id": "re_1", "amount": "7.0", "uid": "cus_1", DIGEST_COLUMN: "d 2"}], call=REFUND))
    before = [known(ledger), known(ledger, "re_2")]

    ledger.write([write for one in before for write in LedgerWrite.of_settled(one, [row], b"key")], SECOND)

    tokens = fingerprint(row.values, b"key", before[0].fingerprint)
    assert known(ledger) == replace(before[0], fingerprint=tokens, row_digest="d 2"), "and its amount stays"
    assert known(ledger, "re_2") == replace(before[1], row_amount="7.0", fingerprint=None)


def test_statement_of_the_same_transaction_gets_the_claimed_refunds_and_can_fail_the_batch(
    database: Any, ledger: Ledger
) -> None:
    if database.kind == "snowflake":
        pytest.skip("its emulator makes a temporary table for each MERGE, which commits the one before")
    write(ledger, [to_write(commissions=(REWARD,))], FIRST)
    seen: list[Any] = []

    def fail(connection: Any, claimed: dict[str, Any]) -> None:
        seen.append(set(claimed))
        raise OSError("the worker is dying")

    with pytest.raises(OSError, match="dying"):
        ledger.write(
            [by(SECOND, one) for one in (to_write(commissions=(REWARD,)), to_write("re_2"))], SECOND, also=fail
        )

    assert seen == [{"re_1"}]
    assert set(ledger.find({"re_1", "re_2"})) == {"re_1"}


# --- writers at the same time ---


def test_strongest_outcome_of_concurrent_writers_is_kept(
    database: Any, open_ledger: Callable[..., Ledger], at_once: Callable[..., Any]
) -> None:
    needs_locks(database.kind)
    writers = [(open_ledger(), outcome) for outcome in (Outcome.NOT_REFERRED, Outcome.RECORDED, Outcome.REJECTED)]
    writers[0][0].ensure()
    event_ids = [f"re_{number}" for number in range(100)]
    for start in range(0, 100, 20):
        batch = event_ids[start : start + 20]
        at_once(
            *(
                # Each in its own order, so that they also meet as deadlocks.
                lambda ledger=ledger, order=order, outcome=outcome: write(
                    ledger, [to_write(one, outcome) for one in order]
                )
                for (ledger, outcome), order in zip(writers, (batch, batch[::-1], batch[10:] + batch[:10]), strict=True)
            )
        )
    assert {one.outcome for one in open_ledger().find(set(event_ids)).values()} == {Outcome.RECORDED}
    assert count(database) == 100


def test_strongest_of_two_rows_is_read_without_a_primary_key(database: Any, open_ledger: Callable[..., Ledger]) -> None:
    ledger = open_ledger()
    ledger.commissions.ensure()
    unkeyed = re.sub(r",\s*PRIMARY KEY \([^)]*\)", "", open_ledger().ddl().split(";\n")[0].rstrip(";"))
    assert "PRIMARY KEY" not in unkeyed
    database.run(unkeyed)
    insert = "INSERT INTO firstpromoter_refunds (account, event_id, outcome) VALUES ('acc', '{}', '{}')"
    for event_id, pair in ("re_1", ("recorded", "not_referred")), ("re_2", ("rejected", "already_recorded")):
        for outcome in pair:
            database.run(insert.format(event_id, outcome))
    found = ledger.find({"re_1", "re_2"})
    assert found["re_1"].outcome is Outcome.RECORDED
    assert found["re_2"].outcome is Outcome.ALREADY_RECORDED
