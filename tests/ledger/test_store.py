"""Ledger: what is written and read again, and whose rows it holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta, timezone
from typing import Any

import pytest

from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.calls import REFUND, Commission, Outcome, Result
from airflow_provider_firstpromoter.database import engine_for
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger, RunKey
from tests.ledger.rows import THEN, count, known, to_write, write

DAY = timedelta(days=1)
FIRST = RunKey("dag", "first", "task", -1)


# --- what is written, and read again ---


def test_write_accepts_any_number_of_results(ledger: Ledger, database: Any) -> None:
    event_ids = [f"re_{number}" for number in range(602)]
    write(ledger, [to_write(event_id) for event_id in event_ids])
    write(ledger, [to_write(event_id, Outcome.RECORDED) for event_id in [*event_ids[:300], "one more"]])
    assert set(ledger.find(set(event_ids))) == set(event_ids)
    assert count(database) == 603


def test_write_and_find_without_rows_run_no_statement(open_ledger: Callable[..., Ledger]) -> None:
    ledger = open_ledger()  # there is no table, so that any statement would fail
    write(ledger, [])
    write(ledger, [to_write(outcome=outcome) for outcome in (Outcome.CHANGED, Outcome.PENDING)])
    assert ledger.find(set()) == {}


def test_stored_result_is_read_back_with_sent_false(ledger: Ledger) -> None:
    fields: dict[str, Any] = {
        "http_status": 409,
        "recorded_amount": -1000,
        "firstpromoter_id": 2**60,
        "commissions": (
            Commission(id=5, status="approved", amount=-200, unit="cash", created_at="2024-09-11T14:36:01.016Z"),
        ),
        "lead_id": 7,
        "message": "“naïve” 😀 100% 'quoted' \\ :colon",
        "matched_by": "uid",
    }
    write(ledger, [to_write(**fields)], FIRST)
    assert known(ledger).result().to_json() == {
        **Result(event_id="re_1", outcome=Outcome.RECORDED, **fields).to_json(),
        "reported_by": {"dag_id": "dag", "run_id": "first", "task_id": "task", "map_index": -1},
    }


@pytest.mark.parametrize("outcome", [Outcome.NOT_REFERRED, Outcome.REJECTED, Outcome.FAILED])
def test_stored_result_that_reversed_nothing_names_no_run(ledger: Ledger, outcome: Outcome) -> None:
    write(ledger, [to_write(outcome=outcome)], FIRST)
    assert known(ledger).result().reported_by is None


def test_failed_result_keeps_what_makes_the_next_response_ambiguous(ledger: Ledger) -> None:
    write(ledger, [to_write(outcome=Outcome.FAILED, http_status=409, unmatched=True, lost=True)])
    result = known(ledger).result()
    assert (result.outcome, result.http_status, result.unmatched, result.lost) == (Outcome.FAILED, 409, True, True)


def test_failed_and_rejected_rows_have_the_columns_to_query_them_by(ledger: Ledger, database: Any) -> None:
    later = THEN + DAY
    write(
        ledger,
        [
            to_write("re_1", Outcome.FAILED, http_status=503, message="answered 503", seen_at=THEN, at=later),
            to_write("re_2", Outcome.REJECTED, message="amount is missing", seen_at=THEN, at=later),
            to_write("re_3", at=later),
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


def test_time_of_the_refund_is_stored_and_kept(ledger: Ledger, database: Any) -> None:
    write(ledger, [to_write(outcome=Outcome.FAILED), to_write("re_2", Outcome.FAILED, refunded_at=THEN)])
    write(
        ledger,
        [to_write(refunded_at=THEN - DAY, known=True), to_write("re_2", refunded_at=THEN - DAY, known=True)],
    )
    rows = database.run("SELECT refunded_at FROM firstpromoter_refunds ORDER BY event_id")
    assert [str(moment)[:10] for (moment,) in rows] == ["2026-02-28", "2026-03-01"]


def test_row_has_plain_columns_and_no_email(ledger: Ledger, database: Any) -> None:
    write(
        ledger,
        [
            to_write(
                recorded_amount=-1000,
                firstpromoter_id=4,
                commissions=(Commission(id=5, status="approved", amount=-200, unit="cash", promoter_id=9),),
                lead_id=7,
            )
        ],
        RunKey("dag", "run", "task", -1),
    )
    columns = (
        "account, event_id, outcome, http_status, row_amount, sent_amount, recorded_amount, firstpromoter_id, lead_id, "
        "dag_id, run_id, task_id, map_index, sent_dag_id, sent_run_id, sent_task_id, sent_map_index"
    )
    [found] = database.run(f"SELECT {columns} FROM firstpromoter_refunds")
    assert found[:9] == ("acc", "re_1", "recorded", 200, "1000", 1000, -1000, 4, 7)
    assert found[9:] == ("dag", "run", "task", -1) * 2
    columns = "account, event_id, commission_id, status, amount, unit, promoter_id"
    assert database.run(f"SELECT {columns} FROM firstpromoter_refunds_commissions") == [
        ("acc", "re_1", 5, "approved", -200, "cash", 9)
    ]
    everything = repr(
        database.run("SELECT * FROM firstpromoter_refunds")
        + database.run("SELECT * FROM firstpromoter_refunds_commissions")
    )
    assert "example.com" not in everything
    assert "cus_1" not in everything


def test_times_are_stored_in_utc_from_any_timezone(ledger: Ledger, database: Any) -> None:
    write(ledger, [to_write(at=THEN.astimezone(timezone(timedelta(hours=5, minutes=45))))])
    first_sent_at = known(ledger).first_sent_at
    assert first_sent_at == THEN
    assert first_sent_at.utcoffset() == timedelta(0)
    [(stored,)] = database.run("SELECT last_sent_at FROM firstpromoter_refunds")
    assert str(stored).startswith("2026-03-01 12:30:15")


def test_refund_that_was_never_sent_has_no_times(ledger: Ledger) -> None:
    write(ledger, [to_write(outcome=Outcome.REJECTED)])
    assert (known(ledger).first_sent_at, known(ledger).last_sent_at) == (None, None)


# --- whose row it is ---


ALIKE = ["a", "A", "á", "a\u0301", "ä", "ae", "æ", "ß", "ss", "SS", "\u0131", "i", "I", "İ", "ﬁ", "fi"]


ALIKE += ["re_1", "re_1\u200b", "re_1.", "re-1", "re%1", "re'1", 're"1', "re\\1", "1", "01", "1.0", "😀", "😁", "😀😀"]


ALIKE += ["e" * 255, "e" * 254, "😀" * 255, "😀" * 254]


def test_event_ids_are_compared_byte_for_byte(ledger: Ledger, database: Any) -> None:
    write(ledger, [to_write(event_id, message=ascii(event_id)[:400]) for event_id in ALIKE[::2]])
    assert set(ledger.find(set(ALIKE))) == set(ALIKE[::2])
    write(ledger, [to_write(event_id, message=ascii(event_id)[:400]) for event_id in ALIKE])
    found = ledger.find(set(ALIKE))
    assert {event_id: one.result().message for event_id, one in found.items()} == {
        event_id: ascii(event_id)[:400] for event_id in ALIKE
    }
    assert count(database) == len(ALIKE)


def test_accounts_do_not_share_rows(open_ledger: Callable[..., Ledger]) -> None:
    accounts = ["acc", "ACC", "acc@127.0.0.1", "acc@staging.example.com"]
    open_ledger().ensure()
    for account in accounts:
        assert open_ledger(account).find({"re_1"}) == {}
        write(open_ledger(account), [to_write(message=account)])
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


def test_records_of_run_finds_the_rows_of_a_task_run(ledger: Ledger, open_ledger: Callable[..., Ledger]) -> None:
    run = RunKey("dag", "manual__2026-03-01T00:00:00+00:00", "task", -1)
    others = [run._replace(**other) for other in ({"run_id": "x"}, {"task_id": "x"}, {"map_index": 0}, {"dag_id": "x"})]
    write(ledger, [to_write("re_2"), to_write("re_1", Outcome.REJECTED)], run)
    for number, other in enumerate([*others, RunKey()]):
        write(ledger, [to_write(f"other_{number}")], other)
    write(open_ledger("another account"), [to_write("re_3")], run)
    assert [one.event_id for one in ledger.records_of_run(run)] == ["re_1", "re_2"], "in the order of the event_ids"
    assert [one.event_id for one in ledger.records_of_run(RunKey())] == ["other_4"]


# --- through Airflow ---


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "duckdb"])
def test_airflow_connection_opens_the_database(kind: str, new_database: Callable[..., Any]) -> None:
    database = new_database(kind, "finance")
    for _ in range(2):
        ledger = Ledger(engine_for("finance"), "acc", call=REFUND)
        ledger.ensure()
        write(ledger, [to_write()])
        assert known(ledger).outcome is Outcome.RECORDED
        ledger.engine.dispose()
    assert count(database) == 1
