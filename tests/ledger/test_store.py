"""RefundLedger: what is written and read again, and which of two outcomes stays."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_firstpromoter.api.account import Account
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import LedgerBatch, LedgerWrite, RefundLedger, RunKey
from airflow_provider_firstpromoter.refunds import Lead, Outcome, Promoter, Result, Reward, numbered
from tests.ledger.rows import THEN, count, entry, known, write
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
REWARD = Reward(id=1, status="approved", amount=-200, unit="cash")
FIRST = RunKey("dag", "first", "task", -1)
SECOND = RunKey("dag", "second", "task", -1)


# --- what is written, and read again ---


def test_write_accepts_any_number_of_results(ledger: RefundLedger, database: Any) -> None:
    event_ids = [f"re_{number}" for number in range(602)]
    write(ledger, [entry(event_id) for event_id in event_ids])
    write(ledger, [entry(event_id, Outcome.RECORDED) for event_id in [*event_ids[:300], "one more"]])
    assert set(ledger.find(set(event_ids))) == set(event_ids)
    assert count(database) == 603


def test_write_and_find_without_rows_run_no_statement(open_ledger: Callable[..., RefundLedger]) -> None:
    ledger = open_ledger()  # there is no table, so that any statement would fail
    write(ledger, [])
    write(ledger, [entry(outcome=outcome) for outcome in (Outcome.CHANGED, Outcome.PENDING)])
    write(ledger, [LedgerWrite(Result(event_id=None, outcome=Outcome.REJECTED), None, "f")])
    assert ledger.find(set()) == {}


def test_stored_result_is_read_back_with_sent_false(ledger: RefundLedger) -> None:
    written = entry(
        recorded_amount=-1000,
        refund_id=2**60,
        reward=Reward(id=5, status="approved", amount=-200, unit="cash", created_at="2024-09-11T14:36:01.016Z"),
        lead=Lead(id=7, state="cancelled", email="one@example.com", uid="cus_1"),
        promoter=Promoter(id=9, status="active", default_ref_id="ref 😀", email="two@example.com"),
        message="“naïve” 😀 100% 'quoted' \\ :colon",
    )
    write(ledger, [written], FIRST)
    assert known(ledger).result().to_json() == {
        **written.result.to_json(),
        "sent": False,
        "reversed_by": {"dag_id": "dag", "run_id": "first", "task_id": "task", "map_index": -1},
    }


@pytest.mark.parametrize("outcome", [Outcome.NOT_REFERRED, Outcome.REJECTED, Outcome.FAILED])
def test_stored_result_that_reversed_nothing_names_no_run(ledger: RefundLedger, outcome: Outcome) -> None:
    write(ledger, [entry(outcome=outcome)], FIRST)
    assert known(ledger).result().reversed_by is None


def test_failed_result_keeps_what_makes_the_next_response_ambiguous(ledger: RefundLedger) -> None:
    write(ledger, [entry(outcome=Outcome.FAILED, http_status=409, unmatched=True, lost=True)])
    result = known(ledger).result()
    assert (result.outcome, result.http_status, result.unmatched, result.lost) == (Outcome.FAILED, 409, True, True)


def test_failed_and_rejected_rows_have_the_columns_to_query_them_by(ledger: RefundLedger, database: Any) -> None:
    later = THEN + DAY
    write(
        ledger,
        [
            entry("re_1", Outcome.FAILED, http_status=503, message="answered 503", seen_at=THEN, at=later),
            entry("re_2", Outcome.REJECTED, message="amount is missing", seen_at=THEN, at=later),
            entry("re_3", at=later),
        ],
        FIRST,
    )
    columns = "event_id, outcome, http_status, message, run_id, judged_at, last_seen_at"
    rows = database.run(f"SELECT {columns} FROM firstpromoter_refunds ORDER BY event_id")
    assert [row[:5] for row in rows] == [
        ("re_1", "failed", 503, "answered 503", "first"),
        ("re_2", "rejected", None, "amount is missing", "first"),
        ("re_3", "recorded", 200, None, "first"),
    ]
    assert [str(row[5])[:10] for row in rows] == ["2026-03-02"] * 3
    assert [row[6] and str(row[6])[:10] for row in rows] == ["2026-03-01", "2026-03-01", None]


def test_time_of_the_refund_is_stored_and_kept(ledger: RefundLedger, database: Any) -> None:
    write(ledger, [entry(outcome=Outcome.FAILED), entry("re_2", Outcome.FAILED, refunded_at=THEN)])
    write(ledger, [entry(refunded_at=THEN - DAY, known=True), entry("re_2", refunded_at=THEN - DAY, known=True)])
    rows = database.run("SELECT refunded_at FROM firstpromoter_refunds ORDER BY event_id")
    assert [str(moment)[:10] for (moment,) in rows] == ["2026-02-28", "2026-03-01"]


def test_row_has_plain_columns_and_no_email(ledger: RefundLedger, database: Any) -> None:
    write(
        ledger,
        [
            entry(
                recorded_amount=-1000,
                refund_id=4,
                reward=Reward(id=5, status="approved", amount=-200, unit="cash"),
                lead=Lead(id=7, email="one@example.com", uid="cus_1"),
                promoter=Promoter(id=9, email="two@example.com"),
            )
        ],
        RunKey("dag", "run", "task", -1),
    )
    columns = (
        "account, event_id, outcome, http_status, row_amount, sent_amount, recorded_amount, refund_id, reward_id, "
        "reward_status, reward_amount, reward_unit, promoter_id, lead_id, dag_id, run_id, task_id, map_index"
    )
    [found] = database.run(f"SELECT {columns} FROM firstpromoter_refunds")
    assert found[:9] == ("acc", "re_1", "recorded", 200, "1000", 1000, -1000, 4, 5)
    assert found[9:] == ("approved", -200, "cash", 9, 7, "dag", "run", "task", -1)
    everything = repr(database.run("SELECT * FROM firstpromoter_refunds"))
    assert "example.com" not in everything
    assert "cus_1" not in everything


def test_times_are_stored_in_utc_from_any_timezone(ledger: RefundLedger, database: Any) -> None:
    write(ledger, [entry(at=THEN.astimezone(timezone(timedelta(hours=5, minutes=45))))])
    first_sent_at = known(ledger).first_sent_at
    assert first_sent_at == THEN
    assert first_sent_at.utcoffset() == timedelta(0)
    [(stored,)] = database.run("SELECT last_sent_at FROM firstpromoter_refunds")
    assert str(stored).startswith("2026-03-01 12:30:15")


def test_refund_that_was_never_sent_has_no_times(ledger: RefundLedger) -> None:
    write(ledger, [entry(outcome=Outcome.REJECTED)])
    assert (known(ledger).first_sent_at, known(ledger).last_sent_at) == (None, None)


# --- stronger and weaker ---


def test_weaker_outcome_never_overwrites_a_stronger_one(ledger: RefundLedger) -> None:
    assert len(ORDERS) == 120
    for place in range(5):
        write(ledger, [entry(one, order[place], message=order[place].value) for one, order in ORDERS.items()])
        for event_id, found in ledger.find(set(ORDERS)).items():
            strongest = max(ORDERS[event_id][: place + 1], key=lambda outcome: outcome.strength)
            assert found.outcome is strongest
            assert found.result().message == strongest.value


def test_newer_result_of_a_run_that_knew_the_row_replaces_any_that_is_not_on_record(ledger: RefundLedger) -> None:
    """A refund that was not referred and now fails must be sent again, whichever of the outcomes is stronger."""
    for place in range(5):
        write(
            ledger, [entry(one, order[place], message=order[place].value, known=True) for one, order in ORDERS.items()]
        )
        for event_id, found in ledger.find(set(ORDERS)).items():
            so_far = ORDERS[event_id][: place + 1]
            on_record = [outcome for outcome in so_far if outcome.on_record]
            expected = max(on_record, key=lambda outcome: outcome.strength) if on_record else so_far[-1]
            assert found.outcome is expected
            assert found.result().message == expected.value


def test_strongest_outcome_of_one_batch_is_stored(ledger: RefundLedger, database: Any) -> None:
    write(ledger, [entry(one, order[place]) for place in range(5) for one, order in ORDERS.items()])
    assert {found.outcome for found in ledger.find(set(ORDERS)).values()} == {Outcome.RECORDED}
    assert count(database) == 120


def test_changed_and_pending_results_are_not_stored(ledger: RefundLedger) -> None:
    write(ledger, [entry(outcome=Outcome.NOT_REFERRED)])
    for outcome in (Outcome.CHANGED, Outcome.PENDING):
        write(ledger, [entry(outcome=outcome, known=True), entry("re_2", outcome)])
    assert known(ledger).outcome is Outcome.NOT_REFERRED
    assert ledger.find({"re_2"}) == {}


def test_recorded_row_is_never_overwritten(ledger: RefundLedger) -> None:
    write(ledger, [entry(reward=REWARD)], FIRST)
    for run, knew in ((SECOND, False), (SECOND, True), (FIRST, True)):
        again = entry(reward=Reward(id=2, amount=-999), at=THEN + DAY, known=knew)
        write(ledger, [again], run)
        assert known(ledger).result().reward == REWARD
        assert known(ledger).last_sent_at == THEN
        assert known(ledger).run == FIRST


def test_rejected_not_referred_and_failed_rows_are_renewed_when_sent_again(ledger: RefundLedger) -> None:
    later = THEN + timedelta(days=2)
    outcomes = {"re_1": Outcome.NOT_REFERRED, "re_2": Outcome.REJECTED, "re_3": Outcome.FAILED}
    write(ledger, [entry(event_id, outcome, fingerprint="k 1") for event_id, outcome in outcomes.items()])
    again = [entry(event_id, outcome, fingerprint="k 2", at=later) for event_id, outcome in outcomes.items()]
    write(ledger, again, SECOND)
    found = ledger.find(set(outcomes))
    assert {one.fingerprint for one in found.values()} == {"k 2"}
    assert {one.run for one in found.values()} == {SECOND}
    assert (found["re_1"].first_sent_at, found["re_1"].last_sent_at) == (THEN, later)


def test_rejected_refund_recorded_later_gets_its_times(ledger: RefundLedger) -> None:
    write(ledger, [entry(outcome=Outcome.REJECTED)])
    write(ledger, [entry(outcome=Outcome.RECORDED)])
    assert (known(ledger).first_sent_at, known(ledger).last_sent_at) == (THEN, THEN)


# --- two task runs ---


def test_reward_belongs_to_the_task_run_that_wrote_it_first(ledger: RefundLedger) -> None:
    """The one with the 200 is the later one to write: the other has passed the reward downstream already."""
    assert write(ledger, [entry(outcome=Outcome.ALREADY_RECORDED, reward=REWARD)], FIRST) == {}

    claimed = write(ledger, [entry(outcome=Outcome.RECORDED, reward=REWARD), entry("re_2", reward=REWARD)], SECOND)

    assert {event_id: record.run for event_id, record in claimed.items()} == {"re_1": FIRST}
    assert claimed["re_1"].result().reward == REWARD
    assert claimed["re_1"].result().reversed_by == FIRST._asdict()
    assert (known(ledger).outcome, known(ledger).run) == (Outcome.ALREADY_RECORDED, FIRST)
    assert known(ledger, "re_2").run == SECOND


def test_reward_that_nobody_has_reported_goes_to_the_task_run_that_brings_it(ledger: RefundLedger) -> None:
    write(ledger, [entry(outcome=Outcome.ALREADY_RECORDED)], FIRST)

    assert write(ledger, [entry(outcome=Outcome.RECORDED, reward=REWARD)], SECOND) == {}

    assert (known(ledger).outcome, known(ledger).run, known(ledger).reward_id) == (Outcome.RECORDED, SECOND, 1)


@pytest.mark.parametrize("outcome", [Outcome.NOT_REFERRED, Outcome.REJECTED, Outcome.FAILED])
def test_refund_that_is_not_on_record_is_claimed_by_no_run(ledger: RefundLedger, outcome: Outcome) -> None:
    write(ledger, [entry(outcome=outcome)], FIRST)
    assert write(ledger, [entry(outcome=Outcome.RECORDED)], SECOND) == {}
    assert write(ledger, [entry(outcome=outcome)], FIRST) == {}


def test_same_task_run_has_no_claim_against_itself(ledger: RefundLedger) -> None:
    write(ledger, [entry(reward=REWARD)], FIRST)
    assert write(ledger, [entry(outcome=Outcome.ALREADY_RECORDED, reward=REWARD)], FIRST) == {}


def test_one_of_two_racing_task_runs_claims_each_reward(
    open_ledger: Callable[..., RefundLedger], at_once: Callable[..., Any]
) -> None:
    ledgers = [open_ledger(), open_ledger()]
    needs_locks(ledgers[0].engine.dialect.name)
    ledgers[0].ensure()
    event_ids = [f"re_{number}" for number in range(60)]

    def write_all(ledger: RefundLedger, run: RunKey, outcome: Outcome, order: list[str]) -> set[str]:
        lost: set[str] = set()
        for start in range(0, 60, 10):
            batch = [entry(event_id, outcome, reward=REWARD) for event_id in order[start : start + 10]]
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


def changed(ledger: RefundLedger, amount: str, at: datetime = THEN) -> None:
    ledger.write(LedgerBatch(at, changed=[(known(ledger), amount, at)]), SECOND)


def test_changed_amount_is_kept_beside_the_recorded_row(ledger: RefundLedger, database: Any) -> None:
    write(ledger, [entry(reward=REWARD)], FIRST)

    changed(ledger, "1500", THEN + DAY)

    record = known(ledger)
    assert (record.outcome, record.row_amount, record.changed_amount) == (Outcome.RECORDED, "1000", "1500")
    assert (record.run, record.result().reward, record.last_sent_at) == (FIRST, REWARD, THEN)
    [(seen,)] = database.run("SELECT last_seen_at FROM firstpromoter_refunds")
    assert str(seen)[:10] == "2026-03-02"


def test_changed_amount_that_changes_again_was_neither_reported_nor_accepted(ledger: RefundLedger) -> None:
    write(ledger, [entry()], FIRST)
    changed(ledger, "1500")
    ledger.mark(["re_1"], reported_at=THEN, accepted_at=THEN)

    changed(ledger, "1500", THEN + DAY)
    assert (known(ledger).reported_at, known(ledger).accepted_at) == (THEN, THEN)

    changed(ledger, "1600", THEN + DAY)
    assert (known(ledger).changed_amount, known(ledger).reported_at, known(ledger).accepted_at) == ("1600", None, None)


def test_problem_seen_again_changes_nothing_else(ledger: RefundLedger, database: Any) -> None:
    write(ledger, [entry(outcome=Outcome.REJECTED, seen_at=THEN), entry("re_2", Outcome.REJECTED, seen_at=THEN)], FIRST)
    before = known(ledger)

    ledger.write(LedgerBatch(THEN + DAY, seen=["re_1"]), SECOND)

    assert known(ledger) == before
    rows = database.run("SELECT last_seen_at FROM firstpromoter_refunds ORDER BY event_id")
    assert [str(moment)[:10] for (moment,) in rows] == ["2026-03-02", "2026-03-01"]


def test_renewed_fingerprint_changes_nothing_else(ledger: RefundLedger) -> None:
    write(ledger, [entry(outcome=Outcome.NOT_REFERRED), entry("re_2", Outcome.RECORDED)], FIRST)
    ledger.mark(["re_2"], row_amount=None)
    row = next(numbered([{"event_id": "re_1", "amount": "7.0", "uid": "cus_1"}]))
    before = [known(ledger), known(ledger, "re_2")]

    renewed = [(before[0], row, "k 2", "d 2"), (before[1], row, None, None)]
    ledger.write(LedgerBatch(THEN + DAY, renewed=renewed), SECOND)

    assert known(ledger) == replace(before[0], fingerprint="k 2", row_digest="d 2"), "and its amount stays"
    assert known(ledger, "re_2") == replace(before[1], row_amount="7.0", fingerprint=None)


def test_statement_of_the_same_transaction_gets_the_claimed_refunds_and_can_fail_the_batch(
    ledger: RefundLedger,
) -> None:
    write(ledger, [entry(reward=REWARD)], FIRST)
    seen: list[Any] = []

    def fail(connection: Any, claimed: dict[str, Any]) -> None:
        seen.append(set(claimed))
        raise OSError("the worker is dying")

    with pytest.raises(OSError, match="dying"):
        ledger.write(LedgerBatch(THEN, writes=[entry(reward=REWARD), entry("re_2")]), SECOND, also=fail)

    assert seen == [{"re_1"}]
    assert set(ledger.find({"re_1", "re_2"})) == {"re_1"}


# --- writers at the same time ---


def test_strongest_outcome_of_concurrent_writers_is_kept(
    database: Any, open_ledger: Callable[..., RefundLedger], at_once: Callable[..., Any]
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
                    ledger, [entry(one, outcome) for one in order]
                )
                for (ledger, outcome), order in zip(writers, (batch, batch[::-1], batch[10:] + batch[:10]), strict=True)
            )
        )
    assert {one.outcome for one in open_ledger().find(set(event_ids)).values()} == {Outcome.RECORDED}
    assert count(database) == 100


def test_strongest_of_two_rows_is_read_without_a_primary_key(
    database: Any, open_ledger: Callable[..., RefundLedger]
) -> None:
    unkeyed = re.sub(r",\s*PRIMARY KEY \([^)]*\)", "", open_ledger().ddl().split(";\n")[0].rstrip(";"))
    assert "PRIMARY KEY" not in unkeyed
    ledger = open_ledger()
    database.run(unkeyed)
    insert = "INSERT INTO firstpromoter_refunds (account, event_id, outcome) VALUES ('acc', '{}', '{}')"
    for event_id, pair in ("re_1", ("recorded", "not_referred")), ("re_2", ("rejected", "already_recorded")):
        for outcome in pair:
            database.run(insert.format(event_id, outcome))
    found = ledger.find({"re_1", "re_2"})
    assert found["re_1"].outcome is Outcome.RECORDED
    assert found["re_2"].outcome is Outcome.ALREADY_RECORDED


# --- whose row it is ---


ALIKE = ["a", "A", "á", "a\u0301", "ä", "ae", "æ", "ß", "ss", "SS", "\u0131", "i", "I", "İ", "ﬁ", "fi"]


ALIKE += ["re_1", "re_1\u200b", "re_1.", "re-1", "re%1", "re'1", 're"1', "re\\1", "1", "01", "1.0", "😀", "😁", "😀😀"]


ALIKE += ["e" * 255, "e" * 254, "😀" * 255, "😀" * 254]


def test_event_ids_are_compared_byte_for_byte(ledger: RefundLedger, database: Any) -> None:
    write(ledger, [entry(event_id, message=ascii(event_id)[:400]) for event_id in ALIKE[::2]])
    assert set(ledger.find(set(ALIKE))) == set(ALIKE[::2])
    write(ledger, [entry(event_id, message=ascii(event_id)[:400]) for event_id in ALIKE])
    found = ledger.find(set(ALIKE))
    assert {event_id: one.result().message for event_id, one in found.items()} == {
        event_id: ascii(event_id)[:400] for event_id in ALIKE
    }
    assert count(database) == len(ALIKE)


def test_accounts_do_not_share_rows(open_ledger: Callable[..., RefundLedger]) -> None:
    accounts = ["acc", "ACC", "acc@127.0.0.1", "acc@staging.example.com"]
    open_ledger().ensure()
    for account in accounts:
        assert open_ledger(account).find({"re_1"}) == {}
        write(open_ledger(account), [entry(message=account)])
    for account in accounts:
        assert known(open_ledger(account)).result().message == account


def test_account_key_separates_staging_from_production(set_connection: Callable[..., str]) -> None:
    def account(host: str) -> Account:
        set_connection("fp", conn_type="firstpromoter", login="acc", password="sandbox-api-key", host=host)
        return FirstPromoterHook("fp").account

    assert account("").key == "acc"
    assert account("https://api.firstpromoter.com/api/v2").key == "acc"
    assert account("https://staging.example.com").key == "acc@staging.example.com"
    assert account("http://127.0.0.1:8765").key == "acc@127.0.0.1:8765"


def test_records_of_run_finds_the_rows_of_a_task_run(
    ledger: RefundLedger, open_ledger: Callable[..., RefundLedger]
) -> None:
    run = RunKey("dag", "manual__2026-03-01T00:00:00+00:00", "task", -1)
    others = [run._replace(**other) for other in ({"run_id": "x"}, {"task_id": "x"}, {"map_index": 0}, {"dag_id": "x"})]
    write(ledger, [entry("re_2"), entry("re_1", Outcome.REJECTED)], run)
    for number, other in enumerate([*others, RunKey()]):
        write(ledger, [entry(f"other_{number}")], other)
    write(open_ledger("another account"), [entry("re_3")], run)
    assert [one.event_id for one in ledger.records_of_run(run)] == ["re_1", "re_2"], "in the order of the event_ids"
    assert [one.event_id for one in ledger.records_of_run(RunKey())] == ["other_4"]


# --- through Airflow ---


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "duckdb"])
def test_airflow_connection_opens_the_database(kind: str, new_database: Callable[..., Any]) -> None:
    database = new_database(kind, "books")
    for _ in range(2):
        ledger = RefundLedger.from_connection("books", "acc")
        ledger.ensure()
        write(ledger, [entry()])
        assert known(ledger).outcome is Outcome.RECORDED
        ledger.engine.dispose()
    assert count(database) == 1
