"""A query and a ledger in two databases: both sides are streamed once, and only unsettled rows come through."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import DIGEST_COLUMN, Outcome
from airflow_provider_firstpromoter.database import ScratchDatabase
from airflow_provider_firstpromoter.exceptions import LedgerError, SourceError, SpoolError
from airflow_provider_firstpromoter.pending import merge_join
from airflow_provider_firstpromoter.pending.antijoin import unsettled_rows
from tests.pending.joining import Side, ago
from tests.support import ALL_REFUNDS, EVERY_DATABASE, refund_with_id

MONTH = timedelta(days=30)
PAIRS = [
    *product(("sqlite", "postgresql"), repeat=2),
    ("mariadb", "postgresql"),
    ("postgresql", "mariadb"),
    ("duckdb", "postgresql"),
    ("postgresql", "duckdb"),
    ("duckdb", "sqlite"),
]


@pytest.fixture(autouse=True)
def no_query_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_join, "FEW_ROWS", 0)


@pytest.fixture
def new_side(new_database: Callable[..., Any]) -> Callable[[str, str], Side]:
    return lambda kind, name: Side(new_database(kind), name)


def came(source: Side, ledger: Side, sql: str = ALL_REFUNDS, **options: Any) -> list[Any]:
    return sorted((row["event_id"] for row in unsettled_rows(source.query(sql), ledger.ledger, **options)), key=str)


@pytest.mark.parametrize(("source_kind", "ledger_kind"), PAIRS, ids=lambda kind: kind)
def test_settled_rows_are_left_out_whatever_the_two_databases_are(
    source_kind: str, ledger_kind: str, new_side: Callable[[str, str], Side], caplog: pytest.LogCaptureFixture
) -> None:
    source, ledger = new_side(source_kind, "warehouse"), new_side(ledger_kind, "ledger")
    ledger.ledger.ensure()
    ids = ["a", "A", "B", "b ", "ab", "é", "e\u0301", "\uffee", "\U0001f600", "\U0001f601", "10", "9", "a_b", "a-b"]
    new = ["Z", "\U0001f602", "c", " a", "b"]
    source.fill(*map(refund_with_id, [*ids, *new, "due", "other", "failed", None]), event_id=source.any_text)
    digests = {row["event_id"]: row[DIGEST_COLUMN] for row in unsettled_rows(source.query(), ledger.ledger)}
    ledger.settle_all(
        [{"event_id": event_id, "outcome": Outcome.RECORDED, "row_amount": "1000"} for event_id in ids[:7]]
        + [
            {"event_id": event_id, "outcome": Outcome.NOT_REFERRED, "row_digest": digests[event_id]}
            for event_id in ids[7:]
        ]
    )
    times = {"first_sent_at": ago(days=9), "last_sent_at": ago(days=2)}
    ledger.settle("due", outcome=Outcome.NOT_REFERRED, row_digest=digests["due"], **times)
    ledger.settle("other", 999)
    ledger.settle("failed", outcome=Outcome.FAILED)
    ledger.settle("c", account="other")

    assert came(source, ledger) == sorted([*new, "other", "failed", None], key=str)
    assert came(source, ledger, recheck_unreferred=MONTH) == sorted([*new, "other", "failed", "due", None], key=str)
    assert "order of its own" not in caplog.text


def test_row_comes_through_as_the_driver_gave_it(new_side: Callable[[str, str], Side]) -> None:
    source, ledger = new_side("postgresql", "warehouse"), new_side("sqlite", "ledger")
    ledger.settle("x")
    source.fill(refund_with_id("b", 55, email="jane@example.com", currency="EUR"))

    (row,) = unsettled_rows(
        source.query("SELECT event_id, amount::numeric / 10 AS amount, email FROM refunds"), ledger.ledger
    )

    assert {**row, "amount": str(row["amount"])[:3], DIGEST_COLUMN: None} == {
        "event_id": "b",
        "amount": "5.5",
        "email": "jane@example.com",
        DIGEST_COLUMN: None,
    }


@pytest.mark.parametrize("ledger_has", ["more", "fewer", "the-same"])
@pytest.mark.parametrize("is_sorted", [True, False], ids=["merge", "disk"])
def test_many_rows_are_compared_in_batches(
    ledger_has: str, is_sorted: bool, new_side: Callable[[str, str], Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides have several batches, whose borders lie differently."""
    monkeypatch.setattr(merge_join, "MOST_KNOWN", 3000)
    source, ledger = new_side("postgresql", "warehouse"), new_side("postgresql", "ledger")
    ledger.ledger.ensure()
    low, high, step = {"more": (-20_000, 40_000, 1), "fewer": (5000, 9000, 3), "the-same": (1, 12_000, 1)}[ledger_has]
    ledger.database.run(
        "INSERT INTO firstpromoter_refunds (account, event_id, outcome, row_amount) "
        f"SELECT 'acc', 're_' || md5(n::text), 'recorded', '1000' FROM generate_series({low}, {high}, {step}) n"
    )
    sql = (
        "SELECT 're_' || md5(n::text) AS event_id, CASE WHEN n % 1000 = 7 THEN 999 ELSE 1000 END AS amount, "
        "n AS uid FROM generate_series(1, 12000) n"
    )
    query = source.query(sql)
    names = query.column_names() if is_sorted else None

    found = {row["uid"] for row in merge_join.join_locally(query, ledger.ledger, names)}

    settled = set(range(low, high + 1, step))
    assert found == {n for n in range(1, 12_001) if n not in settled or n % 1000 == 7}


def test_rows_of_one_event_id_across_batches_are_all_compared(new_side: Callable[[str, str], Side]) -> None:
    source, ledger = new_side("postgresql", "warehouse"), new_side("postgresql", "ledger")
    ledger.settle("b")
    sql = (
        "SELECT 'b' AS event_id, CASE WHEN n IN (1, 5000) THEN 5 ELSE 1000 END AS amount, 'c' AS uid "
        "FROM generate_series(1, 5000) n"
    )

    assert came(source, ledger, sql) == ["b", "b"]


def test_source_in_another_order_is_reported_and_loses_no_row(
    new_side: Callable[[str, str], Side], caplog: pytest.LogCaptureFixture
) -> None:
    """Ids that are no text in Python may sort otherwise: the database sorts what it would write."""
    source, ledger = new_side("postgresql", "warehouse"), new_side("sqlite", "ledger")
    ledger.ledger.ensure()
    ledger.settle_all([{"event_id": str(n), "outcome": "recorded", "row_amount": "1"} for n in range(5000)])
    sql = "SELECT (n / 10.0)::numeric(9, 1) AS event_id, 1 AS amount, 'c' AS uid FROM generate_series(10, 60000, 10) n"

    found = {int(row["event_id"]) for row in unsettled_rows(source.query(sql), ledger.ledger)}

    assert found >= set(range(5000, 6001))


def test_few_rows_are_passed_on_without_reading_the_ledger(
    new_side: Callable[[str, str], Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_join, "FEW_ROWS", 3)
    source, ledger = new_side("postgresql", "warehouse"), new_side("sqlite", "ledger")
    ledger.settle("a")
    source.fill(*map(refund_with_id, "abc"))

    assert came(source, ledger) == ["a", "b", "c"]

    source.fill(refund_with_id("d"))
    assert came(source, ledger) == ["b", "c", "d"]


@pytest.mark.parametrize("kind", EVERY_DATABASE)
def test_connections_are_closed_when_the_rows_are_closed_early(kind: str, new_side: Callable[[str, str], Side]) -> None:
    source, ledger = new_side(kind, "warehouse"), new_side("postgresql", "ledger")
    ledger.settle("x")
    source.fill(*(refund_with_id(f"re_{number}") for number in range(9000)))

    rows = unsettled_rows(source.query(), ledger.ledger)
    next(rows)
    rows.close()

    if kind in ("postgresql", "mariadb"):
        wait = "SET lock_timeout = '5s'" if kind == "postgresql" else "SET SESSION lock_wait_timeout = 5"
        source.database.run(wait)
    source.database.run("DROP TABLE refunds")
    ledger.database.run("SET lock_timeout = '5s'")
    ledger.database.run("DROP TABLE firstpromoter_refunds")


def test_error_of_either_side_names_the_side(new_side: Callable[[str, str], Side]) -> None:
    source, ledger = new_side("postgresql", "warehouse"), new_side("postgresql", "ledger")
    ledger.settle("x")
    late = "SELECT 're_' || i AS event_id, 5 / (9000 - i) AS amount, 'c' AS uid FROM generate_series(1, 9999) i"
    with pytest.raises(SourceError, match=r"connection 'warehouse' failed after \d+ rows: division by zero"):
        came(source, ledger, late)

    assert ledger.ledger.exists()
    ledger.database.run("ALTER TABLE firstpromoter_refunds RENAME COLUMN row_digest TO other")
    source.fill(refund_with_id("a"))
    with pytest.raises(LedgerError, match=r"connection 'ledger' cannot be read: .*row_digest"):
        came(source, ledger)


def fill_the_disk(told: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    try:
        with ScratchDatabase("CREATE TABLE t (x TEXT)") as database:
            database.insert("INSERT INTO t VALUES (?)", (("x" * 1000,) for _ in range(10_000)))
    except SpoolError as error:
        told.send(str(error))


def test_full_disk_of_the_worker_is_explained() -> None:
    fork = multiprocessing.get_context("fork")
    told, tell = fork.Pipe(duplex=False)
    process = fork.Process(target=fill_the_disk, args=(tell,))
    process.start()
    process.join(60)

    assert told.poll()
    message = told.recv()
    assert message.startswith("The rows of this run could not be kept on the worker's disk: ")
    assert "TMPDIR" in message


def test_full_disk_ends_the_local_join(new_side: Callable[[str, str], Side], monkeypatch: pytest.MonkeyPatch) -> None:
    source, ledger = new_side("sqlite", "warehouse"), new_side("sqlite", "ledger")
    ledger.ledger.ensure()
    ledger.settle_all([{"event_id": f"re_{n}", "outcome": "recorded", "row_amount": "1"} for n in range(2000)])
    source.fill(refund_with_id("a"))

    make = ScratchDatabase.__init__

    def small(self: Any, schema: str, *more: Any) -> None:
        make(self, schema, *more)
        self.run("PRAGMA max_page_count = 5")

    monkeypatch.setattr(ScratchDatabase, "__init__", small)

    with pytest.raises(SpoolError, match=r"database or disk is full.*TMPDIR"):
        list(merge_join.join_locally(source.query(), ledger.ledger, None))
