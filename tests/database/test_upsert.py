"""``ManagedTable.upsert``: inserts and conditional updates in one statement, on every database of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Column, Index, Integer, MetaData, String, Table, and_, create_engine, event, or_, select

from airflow_provider_firstpromoter.calls import batches
from airflow_provider_firstpromoter.database import ManagedTable, Utc, key_text
from tests.support import needs_locks

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STRENGTHS = ["weak", "medium", "strong"]


class Word(StrEnum):
    WEAK = "weak"
    STRONG = "strong"


def managed(engine: Any, schema: str | None = None) -> ManagedTable:
    table = Table(
        "notes",
        MetaData(),
        Column("account", key_text(), primary_key=True),
        Column("event_id", key_text(), primary_key=True),
        Column("outcome", String(32)),
        Column("rank", Integer),
        Column("message", String(200)),
        Column("first_sent_at", Utc),
        Column("last_sent_at", Utc),
        Column("run_id", String(250)),
        Index("notes_run", "run_id", "rank"),
        schema=schema,
        mysql_charset="utf8mb4",
    )
    return ManagedTable(engine, table, "warehouse")


@pytest.fixture
def notes(database: Any) -> ManagedTable:
    made = managed(database.engine())
    made.ensure()
    return made


def row(event_id: str, outcome: str = "weak", rank: int = 1, **values: Any) -> dict[str, Any]:
    return {
        "account": "acc",
        "event_id": event_id,
        "outcome": outcome,
        "rank": rank,
        "message": None,
        "first_sent_at": None,
        "last_sent_at": NOW,
        "run_id": "run_1",
        **values,
    }


UPDATE = ("outcome", "rank", "message", "first_sent_at", "last_sent_at", "run_id")


def write(notes: ManagedTable, *rows: dict[str, Any], **options: Any) -> None:
    with notes.engine.begin() as connection:
        notes.upsert(connection, rows, **{"update": UPDATE, **options})


def stored(notes: ManagedTable) -> dict[str, dict[str, Any]]:
    with notes.engine.connect() as connection:
        return {found["event_id"]: dict(found) for found in connection.execute(select(notes.table)).mappings()}


def stronger(old: Any, new: Any) -> Any:
    return old.rank < new.rank


def stronger_or_later(old: Any, new: Any) -> Any:
    return or_(old.rank < new["rank"], and_(old.rank == new.rank, old.last_sent_at < new.last_sent_at))


def test_upsert_inserts_absent_and_updates_existing_rows(notes: ManagedTable) -> None:
    write(notes, row("a", message="it's 100% :new ? $1 \\ %s"), row("b"))
    write(notes, row("b", "strong", 3, first_sent_at=NOW), row("c"))

    assert stored(notes) == {
        "a": row("a", message="it's 100% :new ? $1 \\ %s"),
        "b": row("b", "strong", 3, first_sent_at=NOW),
        "c": row("c"),
    }


def test_upsert_updates_only_rows_for_which_the_condition_holds(notes: ManagedTable) -> None:
    write(notes, row("same", "medium", 2), row("weaker", "medium", 2), row("stronger", "medium", 2))
    late = NOW + timedelta(seconds=1)
    new = [
        row(event_id, STRENGTHS[rank - 1], rank, message="new", last_sent_at=late, run_id="run_2")
        for event_id, rank in [("same", 2), ("weaker", 1), ("stronger", 3), ("absent", 1)]
    ]
    write(notes, *new, when=stronger)

    found = stored(notes)
    assert found["same"] == row("same", "medium", 2)
    assert found["weaker"] == row("weaker", "medium", 2)
    assert found["stronger"] == new[2]
    assert found["absent"] == new[3]


def test_upsert_condition_may_read_several_updated_columns(notes: ManagedTable) -> None:
    write(notes, *(row(event_id, "medium", 2) for event_id in ("later", "earlier", "weaker", "stronger")))
    late, early = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)
    new = [
        row("later", "medium", 2, message="new", last_sent_at=late),
        row("earlier", "medium", 2, message="new", last_sent_at=early),
        row("weaker", "weak", 1, message="new", last_sent_at=late),
        row("stronger", "strong", 3, message="new", last_sent_at=early),
    ]
    write(notes, *new, when=stronger_or_later)

    found = stored(notes)
    assert [found[event_id]["message"] for event_id in ("later", "earlier", "weaker", "stronger")] == [
        "new",
        None,
        None,
        "new",
    ]
    assert found["later"] == new[0]
    assert found["weaker"] == row("weaker", "medium", 2)
    assert found["stronger"] == new[3]


def test_upsert_condition_compares_with_constants(notes: ManagedTable) -> None:
    write(notes, row("a", "weak"), row("b", "strong", 3))

    write(
        notes,
        row("a", "it's 100%"),
        row("b", "it's 100%"),
        when=lambda old, new: and_(old.outcome.in_([Word.WEAK, "100%"]), new.outcome == "it's 100%", old.rank < 3),
    )

    assert {event_id: found["outcome"] for event_id, found in stored(notes).items()} == {
        "a": "it's 100%",
        "b": "strong",
    }


def test_upsert_with_an_unknown_condition_leaves_the_row(notes: ManagedTable) -> None:
    write(notes, row("a", first_sent_at=None))

    write(notes, row("a", "strong", first_sent_at=NOW), when=lambda old, new: old.first_sent_at < new.first_sent_at)

    assert stored(notes)["a"]["outcome"] == "weak"


def test_upsert_keeps_existing_values_that_are_not_null(notes: ManagedTable) -> None:
    late = NOW + timedelta(days=1)
    write(notes, row("a", first_sent_at=NOW), row("b"), row("c", first_sent_at=NOW))

    write(
        notes,
        row("a", rank=2, first_sent_at=late, last_sent_at=late),
        row("b", rank=2, first_sent_at=late),
        row("c", rank=2),
        keep=("first_sent_at",),
        when=stronger,
    )

    assert {event_id: found["first_sent_at"] for event_id, found in stored(notes).items()} == {
        "a": NOW,
        "b": late,
        "c": NOW,
    }
    assert stored(notes)["a"]["last_sent_at"] == late


def test_upsert_updates_only_named_columns(notes: ManagedTable) -> None:
    write(notes, row("a", message="old"), row("b", message="old"))

    write(notes, row("a", "strong", 3, message="new"), update=("outcome",))
    write(notes, row("b", "strong", 3, message="new"), row("c"), update=())

    assert stored(notes) == {
        "a": row("a", "strong", message="old"),
        "b": row("b", message="old"),
        "c": row("c"),
    }


def test_upsert_takes_texts_that_are_enums(notes: ManagedTable) -> None:
    given: list[Any] = []

    def remember(_: Any, __: Any, ___: Any, parameters: Any, *____: Any) -> None:
        given.extend(parameters[0] if parameters and isinstance(parameters[0], tuple) else parameters)

    event.listen(notes.engine, "before_cursor_execute", remember)
    write(notes, row("a", Word.STRONG), when=lambda old, new: old.outcome != Word.STRONG)

    assert stored(notes)["a"]["outcome"] == "strong"
    assert {type(value) for value in given if isinstance(value, str)} == {str}


def test_upsert_needs_one_statement_for_hundreds_of_rows(notes: ManagedTable) -> None:
    statements: list[str] = []
    event.listen(notes.engine, "before_cursor_execute", lambda _, __, statement, *___: statements.append(statement))

    write(notes, *(row(f"re_{number}") for number in range(1000)))
    write(notes, *(row(f"re_{number}", "strong", 3) for number in range(1000)), when=stronger)

    assert len(statements) <= 10
    assert [(found["outcome"], found["rank"]) for found in stored(notes).values()] == [("strong", 3)] * 1000


def test_upsert_of_no_rows_does_nothing(notes: ManagedTable) -> None:
    write(notes)

    assert stored(notes) == {}


def test_upsert_takes_ids_apart_byte_for_byte(notes: ManagedTable) -> None:
    ids = ["re_a", "re_A", "re_ä", "re_\U0001f600", "re_\uffee"]
    write(notes, *map(row, ids))
    write(notes, row("re_A", "strong"))

    assert {event_id: found["outcome"] for event_id, found in stored(notes).items()} == {
        event_id: "strong" if event_id == "re_A" else "weak" for event_id in ids
    }


def test_upsert_works_on_a_table_in_a_schema(new_database: Callable[..., Any]) -> None:
    database = new_database("postgresql")
    database.run("CREATE SCHEMA refunding")
    notes = managed(database.engine(), "refunding")
    notes.ensure()

    write(notes, row("a"))
    write(notes, row("a", "strong", 3), when=stronger, keep=("first_sent_at",))

    assert stored(notes)["a"]["outcome"] == "strong"


def test_upsert_works_with_psycopg_3(new_database: Callable[..., Any]) -> None:
    pytest.importorskip("sqlalchemy.dialects.postgresql.psycopg")
    engine = create_engine(new_database("postgresql").url.replace("psycopg2", "psycopg"), future=True)
    notes = managed(engine)
    notes.ensure()

    write(notes, row("a", message="100%"), row("b", first_sent_at=NOW))
    write(notes, *(row(name, "strong", 3) for name in "abc"), when=stronger_or_later, keep=("first_sent_at",))

    assert stored(notes) == {
        "a": row("a", "strong", 3),
        "b": row("b", "strong", 3, first_sent_at=NOW),
        "c": row("c", "strong", 3),
    }
    notes.close()


@pytest.mark.parametrize("rank", [1, 3], ids=["stronger-second", "stronger-first"])
def test_two_writers_at_once_leave_the_stronger_row(
    rank: int, database: Any, at_once: Callable[..., list[Any]]
) -> None:
    needs_locks(database.kind)
    managed(database.engine()).ensure()
    engines = [database.engine() for _ in range(2)]
    count = 300

    def writer(engine: Any, rank: int, backwards: bool) -> None:
        notes = managed(engine)
        rows = [row(f"re_{number}", STRENGTHS[rank - 1], rank, message=f"{rank}") for number in range(count)]
        for part in batches(rows[::-1] if backwards else rows, 60):
            notes.retry(partial(write, notes, *part, when=stronger_or_later))

    at_once(lambda: writer(engines[0], rank, False), lambda: writer(engines[1], 4 - rank, True))

    found = stored(managed(engines[0]))
    assert len(found) == count
    assert {(one["outcome"], one["rank"], one["message"]) for one in found.values()} == {("strong", 3, "3")}


# --- indexes ----------------------------------------------------------------------------------------------


def test_ensure_makes_the_indexes_where_the_database_has_them(database: Any, notes: ManagedTable) -> None:
    queries = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'index' AND name = 'notes_run'",
        "postgresql": "SELECT indexname FROM pg_indexes WHERE indexname = 'notes_run'",
        "mariadb": "SELECT DISTINCT index_name FROM information_schema.statistics WHERE index_name = 'notes_run'"
        " AND table_schema = database()",
        "duckdb": "SELECT index_name FROM duckdb_indexes()",
        "snowflake": "SELECT 'none' WHERE 1 = 0",
    }
    has_indexes = database.kind not in ("duckdb", "snowflake")

    assert database.run(queries[database.kind]) == ([("notes_run",)] if has_indexes else [])
    assert ("CREATE INDEX notes_run" in notes.ddl()) == has_indexes


def test_ddl_makes_the_table_and_its_indexes(database: Any) -> None:
    for statement in managed(database.engine()).ddl().split(";")[:-1]:
        database.run(statement)

    notes = managed(database.engine())
    assert notes.exists()
    write(notes, row("a"))


def test_table_without_its_indexes_is_used_as_it_is(database: Any) -> None:
    database.run(managed(database.engine()).ddl().split(";")[0])

    notes = managed(database.engine())
    notes.ensure()
    write(notes, row("a"))

    assert list(stored(notes)) == ["a"]
