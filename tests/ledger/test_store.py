"""RefundLedger: what is written and read again, and which of two outcomes stays."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import timedelta, timezone
from typing import Any

import pytest

from airflow_provider_firstpromoter.api.account import Account
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import LedgerWrite, RefundLedger, RunKey
from airflow_provider_firstpromoter.refunds import Lead, Outcome, Promoter, Result, Reward
from tests.ledger.rows import THEN, count, entry, known

WEAK_TO_STRONG = [Outcome.REJECTED, Outcome.NOT_REFERRED, Outcome.ALREADY_RECORDED, Outcome.RECORDED]


# --- what is written, and read again ---


def test_write_accepts_any_number_of_results(ledger: RefundLedger, database: Any) -> None:
    event_ids = [f"re_{number}" for number in range(602)]
    ledger.write(entry(event_id) for event_id in event_ids)
    ledger.write(entry(event_id, Outcome.RECORDED) for event_id in [*event_ids[:300], "one more"])
    assert set(ledger.find(set(event_ids))) == set(event_ids)
    assert count(database) == 603


def test_write_and_find_without_rows_run_no_statement(open_ledger: Callable[..., RefundLedger]) -> None:
    ledger = open_ledger()  # there is no table, so that any statement would fail
    ledger.write([])
    ledger.write(entry(outcome=outcome) for outcome in (Outcome.FAILED, Outcome.CHANGED, Outcome.PENDING))
    ledger.write([LedgerWrite(Result(event_id=None, outcome=Outcome.REJECTED), None, "f")])
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
    ledger.write([written])
    assert known(ledger).result().to_json() == {**written.result.to_json(), "sent": False}


def test_row_has_plain_columns_and_no_email(ledger: RefundLedger, database: Any) -> None:
    ledger.write(
        [
            entry(
                recorded_amount=-1000,
                refund_id=4,
                reward=Reward(id=5, status="approved", amount=-200, unit="cash"),
                lead=Lead(id=7, email="one@example.com", uid="cus_1"),
                promoter=Promoter(id=9, email="two@example.com"),
                run=RunKey("dag", "run", "task", -1),
            )
        ]
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
    ledger.write([entry(at=THEN.astimezone(timezone(timedelta(hours=5, minutes=45))))])
    assert known(ledger).first_sent_at == THEN
    assert known(ledger).first_sent_at.utcoffset() == timedelta(0)
    [(stored,)] = database.run("SELECT last_sent_at FROM firstpromoter_refunds")
    assert str(stored).startswith("2026-03-01 12:30:15")


def test_refund_that_was_never_sent_has_no_times(ledger: RefundLedger) -> None:
    ledger.write([entry(outcome=Outcome.REJECTED)])
    assert (known(ledger).first_sent_at, known(ledger).last_sent_at) == (None, None)


# --- stronger and weaker ---


def test_weaker_outcome_never_overwrites_a_stronger_one(ledger: RefundLedger) -> None:
    orders = {f"re_{number}": order for number, order in enumerate(itertools.permutations(WEAK_TO_STRONG))}
    assert len(orders) == 24
    for place in range(4):
        ledger.write(entry(one, order[place], message=order[place].value) for one, order in orders.items())
        for event_id, found in ledger.find(set(orders)).items():
            strongest = max(orders[event_id][: place + 1], key=lambda outcome: outcome.strength)
            assert found.outcome is strongest
            assert found.result().message == strongest.value


def test_strongest_outcome_of_one_batch_is_stored(ledger: RefundLedger, database: Any) -> None:
    orders = {f"re_{number}": order for number, order in enumerate(itertools.permutations(WEAK_TO_STRONG))}
    ledger.write(entry(one, order[place]) for place in range(4) for one, order in orders.items())
    assert {found.outcome for found in ledger.find(set(orders)).values()} == {Outcome.RECORDED}
    assert count(database) == 24


def test_failed_changed_and_pending_results_are_not_stored(ledger: RefundLedger) -> None:
    ledger.write([entry(outcome=Outcome.NOT_REFERRED)])
    for outcome in (Outcome.FAILED, Outcome.CHANGED, Outcome.PENDING):
        ledger.write([entry(outcome=outcome)])
    assert known(ledger).outcome is Outcome.NOT_REFERRED


def test_recorded_row_is_never_overwritten(ledger: RefundLedger) -> None:
    ledger.write([entry(reward=Reward(id=1, amount=-200), run=RunKey("dag", "first"))])
    ledger.write([entry(reward=Reward(id=2, amount=-999), run=RunKey("dag", "second"), at=THEN + timedelta(days=1))])
    assert known(ledger).result().reward == Reward(id=1, amount=-200)
    assert known(ledger).last_sent_at == THEN


def test_rejected_and_not_referred_rows_are_renewed_when_sent_again(ledger: RefundLedger) -> None:
    later = THEN + timedelta(days=2)
    ledger.write([entry(outcome=Outcome.NOT_REFERRED), entry("re_2", Outcome.REJECTED, fingerprint="1" * 32)])
    ledger.write([entry(outcome=Outcome.NOT_REFERRED, at=later), entry("re_2", Outcome.REJECTED, fingerprint="2" * 32)])
    assert (known(ledger).first_sent_at, known(ledger).last_sent_at) == (THEN, later)
    assert known(ledger, "re_2").fingerprint == "2" * 32


def test_rejected_refund_recorded_later_gets_its_times(ledger: RefundLedger) -> None:
    ledger.write([entry(outcome=Outcome.REJECTED)])
    ledger.write([entry(outcome=Outcome.RECORDED)])
    assert (known(ledger).first_sent_at, known(ledger).last_sent_at) == (THEN, THEN)


def test_strongest_outcome_of_concurrent_writers_is_kept(
    database: Any, open_ledger: Callable[..., RefundLedger], at_once: Callable[..., Any]
) -> None:
    writers = [(open_ledger(), outcome) for outcome in (Outcome.NOT_REFERRED, Outcome.RECORDED, Outcome.REJECTED)]
    writers[0][0].ensure()
    event_ids = [f"re_{number}" for number in range(100)]
    for start in range(0, 100, 20):
        batch = event_ids[start : start + 20]
        at_once(
            *(
                # Each in its own order, so that they also meet as deadlocks.
                lambda ledger=ledger, order=order, outcome=outcome: ledger.write(entry(one, outcome) for one in order)
                for (ledger, outcome), order in zip(writers, (batch, batch[::-1], batch[10:] + batch[:10]), strict=True)
            )
        )
    assert {one.outcome for one in open_ledger().find(set(event_ids)).values()} == {Outcome.RECORDED}
    assert count(database) == 100


def test_strongest_of_two_rows_is_read_without_a_primary_key(
    database: Any, open_ledger: Callable[..., RefundLedger]
) -> None:
    unkeyed = re.sub(r",\s*PRIMARY KEY \([^)]*\)", "", open_ledger().ddl().rstrip(";"))
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
    ledger.write(entry(event_id, message=ascii(event_id)[:400]) for event_id in ALIKE[::2])
    assert set(ledger.find(set(ALIKE))) == set(ALIKE[::2])
    ledger.write(entry(event_id, message=ascii(event_id)[:400]) for event_id in ALIKE)
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
        open_ledger(account).write([entry(message=account)])
    for account in accounts:
        assert known(open_ledger(account)).result().message == account


def test_account_key_separates_staging_from_production(set_connection: Callable[..., str]) -> None:
    def account(host: str) -> Account:
        set_connection("fp", conn_type="firstpromoter", login="acc", password="sandbox-api-key", host=host)
        return FirstPromoterHook("fp").account

    assert account("").key == "acc"
    assert account("https://api.firstpromoter.com/api/v2").key == "acc"
    assert account("https://staging.example.com").key == "acc@staging.example.com"
    assert account("http://127.0.0.1:8765").key == "acc@127.0.0.1"


def test_of_run_finds_the_rows_of_a_task_run(ledger: RefundLedger, open_ledger: Callable[..., RefundLedger]) -> None:
    run = RunKey("dag", "manual__2026-03-01T00:00:00+00:00", "task", -1)
    others = [run._replace(**other) for other in ({"run_id": "x"}, {"task_id": "x"}, {"map_index": 0}, {"dag_id": "x"})]
    ledger.write([entry("re_1", run=run), entry("re_2", Outcome.REJECTED, run=run)])
    ledger.write(entry(f"other_{number}", run=other) for number, other in enumerate([*others, RunKey()]))
    open_ledger("another account").write([entry("re_3", run=run)])
    assert {one.event_id for one in ledger.records_of_run(run)} == {"re_1", "re_2"}
    assert [one.event_id for one in ledger.records_of_run(RunKey())] == ["other_4"]


# --- through Airflow ---


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "duckdb"])
def test_airflow_connection_opens_the_database(kind: str, new_database: Callable[..., Any]) -> None:
    database = new_database(kind, "books")
    for _ in range(2):
        ledger = RefundLedger.from_connection("books", "acc")
        ledger.ensure()
        ledger.write([entry()])
        assert known(ledger).outcome is Outcome.RECORDED
        ledger.engine.dispose()
    assert count(database) == 1
