"""Reading only what is new of a query: the bound in each database, and what is read besides."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert

from airflow_provider_firstpromoter.calls import Outcome
from airflow_provider_firstpromoter.exceptions import InputError, SourceError
from airflow_provider_firstpromoter.ledger import RunHistory, RunKey, now
from airflow_provider_firstpromoter.parameters import Incremental
from airflow_provider_firstpromoter.pending import incremental
from airflow_provider_firstpromoter.pending.incremental import QueryReading
from tests.pending.joining import Row, Side
from tests.support import ALL_REFUNDS

LOOKBACK = timedelta(days=3)
#: The types of a column that say when a row was loaded, by database; and how a moment is written into each.
AWARE = {"postgresql": "TIMESTAMPTZ", "duckdb": "TIMESTAMPTZ", "snowflake": "TIMESTAMP_TZ"}
NAIVE = {"postgresql": "TIMESTAMP", "duckdb": "TIMESTAMP", "snowflake": "TIMESTAMP_NTZ", "mariadb": "DATETIME"}
LOCAL = timezone(timedelta(hours=-11))
TYPES: dict[str, tuple[Callable[[str], str | None], Callable[[datetime], Any]]] = {
    "aware": (AWARE.get, lambda at: at),
    "naive in UTC": (NAIVE.get, lambda at: at.replace(tzinfo=None)),
    "naive in another zone": (NAIVE.get, lambda at: at.astimezone(LOCAL).replace(tzinfo=None)),
    "date": (lambda kind: "DATE" if kind != "sqlite" else None, lambda at: at.date()),
    "text": (lambda kind: "VARCHAR(40)", lambda at: at.isoformat()),
    "text with a space": (lambda kind: "VARCHAR(40)", lambda at: f"{at:%Y-%m-%d %H:%M:%S}"),
    "date as text": (lambda kind: "VARCHAR(40)", lambda at: f"{at:%Y-%m-%d}"),
}


def reading(side: Side, query: Any = None, ledger: Side | None = None, **options: Any) -> QueryReading:
    return QueryReading(
        query or side.query(),
        (ledger or side).ledger,
        content=("content",),
        incremental=Incremental("loaded_at", **options),
    )


def completed(one: QueryReading, at: datetime, read: str = "all") -> None:
    """Write a complete run into the history."""
    history = RunHistory(one.ledger, RunKey("dag", f"run at {at}", "sync", -1))
    history.ensure()
    row = {
        "id": str(uuid4()),
        "account": "acc",
        "kind": "query",
        "started_at": at,
        "read": read,
        "completed": one.key(),
    }
    with one.ledger.engine.begin() as connection:
        connection.execute(insert(history.table).values(row))


def read(one: QueryReading) -> tuple[str, list[str]]:
    """Return what is said to be read, and the event_ids that come through."""
    said: list[str] = []
    rows = [Row(row) for row in one.rows(said.append)]
    (what,) = said
    return what, sorted(str(row["event_id"]) for row in rows)


def refund(event_id: Any, loaded_at: Any, **values: Any) -> dict[str, Any]:
    return {"event_id": event_id, "amount": 1000, "uid": "cus_1", "loaded_at": loaded_at, **values}


@pytest.mark.parametrize("how", TYPES)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["beside", "elsewhere"])
def test_rows_within_the_lookback_are_read_whatever_type_and_zone_the_column_has(
    how: str, elsewhere: bool, beside: Side
) -> None:
    type_of, value_of = TYPES[how]
    kind = type_of(beside.kind)
    if kind is None:
        pytest.skip(f"{beside.kind} has no such type")
    if beside.kind == "duckdb" and how == "aware" and not find_spec("pytz"):
        pytest.skip("DuckDB reads such a column by pytz alone")
    started = now() - timedelta(hours=1)
    since = started - LOOKBACK
    beside.fill(
        refund("re_old", value_of(since - timedelta(days=2))),
        refund("re_edge", value_of(since)),
        refund("re_new", value_of(started)),
        refund("re_future", value_of(started + timedelta(days=400))),
        refund("re_settled", value_of(started)),
        refund("re_null", None),
        loaded_at=kind,
    )
    beside.settle("re_settled")
    beside.settle("re_of_an_older_run")
    query = beside.query(name="elsewhere" if elsewhere else None)
    one = reading(beside, query)
    completed(one, started)

    assert read(one) == (f"since {since.isoformat()}", ["re_edge", "re_future", "re_new", "re_null"])


@pytest.mark.parametrize("elsewhere", [False, True], ids=["beside", "elsewhere"])
def test_all_rows_of_an_event_are_read_though_only_one_is_new(elsewhere: bool, beside: Side) -> None:
    started = now()
    old = f"{started - timedelta(days=90):%Y-%m-%d}"
    beside.fill(
        refund("re_1", old, uid="cus_2"),
        refund("re_1", f"{started:%Y-%m-%d}"),
        refund("re_other", old),
        loaded_at="VARCHAR(40)",
    )
    beside.settle("re_of_an_older_run")
    one = reading(beside, beside.query(name="elsewhere" if elsewhere else None))
    completed(one, started)

    assert read(one)[1] == ["re_1", "re_1"]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["beside", "elsewhere"])
def test_failed_events_are_read_again_whatever_their_rows_say(elsewhere: bool, beside: Side) -> None:
    started = now()
    old = f"{started - timedelta(days=90):%Y-%m-%d}"
    beside.fill(
        *(refund(event_id, old) for event_id in ("7", "re_failed", "RE_FAILED", "re_rejected", "re_settled")),
        refund("re_failed_and_new", f"{started:%Y-%m-%d}"),
        loaded_at="VARCHAR(40)",
    )
    for event_id in ("7", "re_failed", "re_failed_and_new", "re_gone"):
        beside.settle(event_id, outcome=Outcome.FAILED)
    beside.settle("re_rejected", outcome=Outcome.REJECTED)
    beside.settle("re_settled")
    one = reading(beside, beside.query(name="elsewhere" if elsewhere else None))
    completed(one, started)

    assert set(read(one)[1]) - {"RE_FAILED"} == {"7", "re_failed", "re_failed_and_new"}


@pytest.mark.parametrize("elsewhere", [False, True], ids=["beside", "elsewhere"])
def test_event_ids_that_are_numbers_are_found_again(elsewhere: bool, beside: Side) -> None:
    started = now()
    beside.fill(
        refund(1, f"{started:%Y-%m-%d}"),
        refund(2, "2020-01-01"),
        refund(3, "2020-01-01"),
        event_id="BIGINT",
        loaded_at="VARCHAR(40)",
    )
    beside.settle("2", outcome=Outcome.FAILED)
    one = reading(beside, beside.query(name="elsewhere" if elsewhere else None))
    completed(one, started)

    assert read(one)[1] == ["1", "2"]


STYLES: dict[str, list[tuple[str, Any]]] = {
    "sqlite": [("amount > ?", [0]), ("amount > :least", {"least": 0})],
    "postgresql": [("amount > %s", [0]), ("amount > %(least)s", {"least": 0}), ("uid NOT LIKE '%x'", None)],
    "mariadb": [("amount > %s", [0]), ("amount > %(least)s", {"least": 0}), ("uid NOT LIKE '%x'", None)],
    "duckdb": [("amount > ?", [0]), ("amount > $1", [0]), ("amount > $least", {"least": 0})],
    "snowflake": [("amount > %s", [0]), ("amount > %(least)s", {"least": 0}), ("uid NOT LIKE '%x'", None)],
}


@pytest.mark.parametrize("elsewhere", [False, True], ids=["beside", "elsewhere"])
def test_parameters_of_every_style_join_in_with_those_of_the_query(elsewhere: bool, beside: Side) -> None:
    started = now()
    beside.fill(
        refund("re_new", f"{started:%Y-%m-%d}"),
        refund("re_failed", "2020-01-01"),
        refund("re_old", "2020-01-01"),
        refund("re_negative", f"{started:%Y-%m-%d}", uid="x", amount=-1),
        loaded_at="VARCHAR(40)",
    )
    beside.settle("re_failed", outcome=Outcome.FAILED)
    for where, parameters in STYLES[beside.kind]:
        sql = f"{ALL_REFUNDS} WHERE {where}; -- and a comment"
        one = reading(beside, beside.query(sql, parameters, "elsewhere" if elsewhere else None))
        completed(one, started)

        assert read(one)[1] == ["re_failed", "re_new"], where


@pytest.mark.parametrize(
    ("kind", "type", "value"), [("sqlite", "BIGINT", 1764500000), ("sqlite", "VARCHAR(40)", "27.11.2026")]
)
def test_column_that_holds_no_times_is_an_error_in_the_first_run(
    kind: str, type: str, value: Any, new_database: Callable[..., Any]
) -> None:
    side = Side(new_database(kind, "warehouse"))
    side.fill(refund("re_1", value), loaded_at=type)

    with pytest.raises(InputError, match="'loaded_at' of the query on connection 'warehouse' holds values of type"):
        read(reading(side))


def test_column_that_the_query_lacks_is_an_error_in_the_first_run(beside: Side) -> None:
    beside.fill(refund("re_1", None), loaded_at="VARCHAR(40)")
    query = beside.query("SELECT event_id, amount, uid FROM refunds")

    with pytest.raises((InputError, SourceError), match="loaded_at"):
        read(reading(beside, query))


def test_table_without_any_value_in_the_column_is_read(beside: Side) -> None:
    beside.fill(refund("re_1", None), loaded_at="DATE")
    beside.settle("re_of_an_older_run")
    one = reading(beside)
    completed(one, now())

    assert read(one)[1] == ["re_1"]


def test_event_ids_that_a_database_does_not_compare_are_read_with_all_others(new_database: Callable[..., Any]) -> None:
    side = Side(new_database("postgresql", "warehouse"))
    side.fill(refund("1", "2020-01-01"), refund("2", f"{now():%Y-%m-%d}"), event_id="JSON", loaded_at="VARCHAR(40)")
    side.settle("re_of_an_older_run")
    one = reading(side)
    completed(one, now())

    assert read(one) == ("all", ["1", "2"])


# --- what the history must say, the same in each database ---


@pytest.fixture
def side(new_database: Callable[..., Any]) -> Side:
    """A refund that is too old for the bound, and a ledger with another one."""
    side = Side(new_database("sqlite", "warehouse"))
    side.fill(refund("re_old", "2020-01-01"), loaded_at="VARCHAR(40)")
    side.settle("re_of_an_older_run")
    return side


def test_without_a_complete_run_everything_is_read(side: Side) -> None:
    assert read(reading(side)) == ("all", ["re_old"])


def test_bound_is_of_the_newest_start_and_full_is_counted_from_the_last_full_one(side: Side) -> None:
    one = reading(side)
    completed(one, now() - timedelta(hours=23))
    completed(one, now() - timedelta(hours=2), "since 2026-01-01T00:00:00+00:00")
    newest = now() - timedelta(hours=1)
    completed(one, newest, "since 2026-01-01T00:00:00+00:00")

    assert read(one) == (f"since {(newest - LOOKBACK).isoformat()}", [])
    assert read(reading(side, full_scan_every=timedelta(hours=22)))[0] == "all"


def test_bounded_runs_alone_are_no_full_scan(side: Side) -> None:
    one = reading(side)
    completed(one, now(), "since 2026-01-01T00:00:00+00:00")

    assert read(one)[0] == "all"


def test_told_to_a_run_reads_everything(side: Side) -> None:
    completed(reading(side), now())

    assert read(reading(side))[0] != "all"
    assert read(reading(side, full_scan=True)) == ("all", ["re_old"])


@pytest.mark.parametrize("change", ["sql", "parameters", "column", "content", "connection"])
def test_run_of_a_changed_query_reads_everything(change: str, side: Side) -> None:
    def one(changed: str | None = None) -> QueryReading:
        query = side.query(
            f"{ALL_REFUNDS} WHERE amount > ?" + (" -- changed" if changed == "sql" else ""),
            ["1" if changed == "parameters" else 1],
            name="another" if changed == "connection" else None,
        )
        content = ("another",) if changed == "content" else ("content",)
        column = "LOADED_AT" if changed == "column" else "loaded_at"
        return QueryReading(query, side.ledger, content=content, incremental=Incremental(column))

    completed(one(), now())

    assert read(one())[0] != "all"
    assert read(one(change))[0] == "all"


def test_bound_survives_another_lookback(side: Side) -> None:
    at = now()
    completed(reading(side), at)

    assert read(reading(side, lookback=timedelta(0)))[0] == f"since {at.isoformat()}"


def test_emptied_ledger_and_lost_history_lead_to_a_full_run(side: Side) -> None:
    one = reading(side)
    completed(one, now())
    assert read(one)[0] != "all"

    side.database.run("DELETE FROM firstpromoter_refunds")
    assert read(reading(side))[0] == "all"

    side.settle("re_of_an_older_run")
    assert read(reading(side))[0] != "all"
    side.database.run("DROP TABLE firstpromoter_refunds_runs")
    assert read(reading(side))[0] == "all"


def test_start_in_the_future_is_of_a_wrong_clock_and_no_bound(side: Side) -> None:
    completed(reading(side), now() + timedelta(days=365))

    assert read(reading(side))[0] == "all"


def test_lookups_of_all_tasks_share_the_bound_of_a_query(side: Side) -> None:
    at = now()
    completed(reading(side), at)

    lookup = QueryReading(side.query(), side.ledger, incremental=Incremental("loaded_at"))
    assert read(lookup)[0] == f"since {(at - LOOKBACK).isoformat()}"
    other = QueryReading(side.query(ALL_REFUNDS + " "), side.ledger, incremental=Incremental("loaded_at"))
    assert read(other)[0] == "all"


def test_history_holds_no_parameter_in_clear(side: Side) -> None:
    query = side.query(ALL_REFUNDS + " WHERE email <> :email", {"email": "anna@example.com"})
    key = reading(side, query).key()

    assert "anna" not in key
    assert len(key) == 33


@pytest.mark.parametrize("what", ["new", "failed"])
def test_more_than_is_kept_in_memory_is_read_as_a_whole(what: str, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental, "FEW_UNSETTLED", 3)
    loaded_at = f"{now():%Y-%m-%d}" if what == "new" else "2020-01-01"
    side.fill(*(refund(f"re_{number}", loaded_at) for number in range(4)))
    if what == "failed":
        for number in range(4):
            side.settle(f"re_{number}", outcome=Outcome.FAILED)
    one = reading(side, side.query(name="elsewhere"))
    completed(one, now())

    assert read(one) == ("all", ["re_0", "re_1", "re_2", "re_3", "re_old"])


def test_try_after_one_that_failed_reads_no_less_than_that_one(side: Side) -> None:
    run = RunKey("dag", "run", "sync", -1)
    one = QueryReading(side.query(), side.ledger, run, content=("content",), incremental=Incremental("loaded_at"))
    first = RunHistory(side.ledger, run)
    first.start()
    first.finish({"read": "all", "completed": one.key()}, InputError("rejected"))

    assert read(one)[0] == "all"
    assert read(reading(side))[0] != "all", "another task run reads what is new"
