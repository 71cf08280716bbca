"""Settled refunds are left out of the author's query: in its database, or on the worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.exceptions import RefundInputError, SourceError
from airflow_provider_firstpromoter.ledger import RefundLedger
from airflow_provider_firstpromoter.pending import local_join
from airflow_provider_firstpromoter.pending.antijoin import unsettled_rows
from airflow_provider_firstpromoter.refunds import DIGEST_COLUMN, Outcome
from tests.pending.joining import WAYS, Row, Side, ago, digests, unsettled
from tests.support import ALL_REFUNDS, EVERY_DATABASE, per_database, refund_with_id

MONTH = timedelta(days=30)


@pytest.fixture
def beside(database: Any) -> Side:
    """Refunds and ledger in one database."""
    return Side(database)


@pytest.fixture(params=WAYS)
def crossing(request: pytest.FixtureRequest, beside: Side, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Return the event_ids that come through, in each way of joining in turn."""
    monkeypatch.setattr(local_join, "FEW_ROWS", 0)

    def crossing(sql: str = ALL_REFUNDS, parameters: Any = None, recheck: timedelta | None = None) -> list[Any]:
        rows = unsettled(request.param, beside.query(sql, parameters), beside.ledger, recheck)
        return sorted((row["event_id"] for row in rows), key=str)

    crossing.way = request.param  # type: ignore[attr-defined]
    return crossing


# --- which rows come through ------------------------------------------------------------------------------


def test_settled_refunds_are_left_out_and_others_returned(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    for outcome in (Outcome.RECORDED, Outcome.ALREADY_RECORDED, Outcome.REJECTED, Outcome.FAILED):
        beside.settle(outcome.value, outcome=outcome)
        beside.fill(refund_with_id(outcome.value))
    beside.fill(refund_with_id("new"))

    assert crossing() == ["failed", "new", "rejected"]


def test_recorded_refund_with_another_amount_is_returned(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    for event_id in ("same", "more", "less", "null"):
        beside.settle(event_id, 1000)
    beside.settle("adopted", None)
    beside.fill(
        refund_with_id("same"),
        refund_with_id("more", 1001),
        refund_with_id("less", 100),
        refund_with_id("null", None),
        refund_with_id("adopted"),
    )

    assert crossing() == ["adopted", "less", "more", "null"]


def test_accepted_amount_is_left_out(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    for event_id, changed, accepted in [
        ("accepted", "700", ago(days=1)),
        ("reported", "700", None),
        ("another", "701", ago(days=1)),
        ("unknown", None, ago(days=1)),
    ]:
        beside.settle(event_id, 1000, changed_amount=changed, accepted_at=accepted)
        beside.fill(refund_with_id(event_id, 700))

    assert crossing() == ["another", "reported", "unknown"]


def test_not_referred_refund_is_left_out_until_its_content_changes(
    beside: Side, crossing: Callable[..., list[Any]]
) -> None:
    beside.ledger.ensure()
    ids = ["same", "amount", "uid", "email", "several", "unknown"]
    beside.fill(*(refund_with_id(event_id, uid="it's", email=None) for event_id in ids), table="earlier")
    (digest,) = set(digests(crossing.way, beside.query("SELECT * FROM earlier"), beside.ledger))  # type: ignore[attr-defined]
    for event_id in ids:
        stored = {"several": f"{'0' * 16} {digest} {'f' * 16}", "unknown": None}.get(event_id, digest)
        beside.settle(event_id, outcome=Outcome.NOT_REFERRED, row_digest=stored)
    beside.fill(
        refund_with_id("same", uid="it's", email=None),
        refund_with_id("amount", 999, uid="it's", email=None),
        refund_with_id("uid", uid="it", email=None),
        refund_with_id("email", uid="it's", email=""),
        refund_with_id("several", uid="it's", email=None),
        refund_with_id("unknown", uid="it's", email=None),
    )

    assert crossing() == ["amount", "email", "uid", "unknown"]


def test_digest_tells_rows_and_columns_and_keys_apart(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    way = crossing.way  # type: ignore[attr-defined]
    beside.ledger.ensure()
    contents = [
        ("a", "b"),
        ("ab", ""),
        ("", "ab"),
        ("ab", None),
        (None, "ab"),
        ("1:a", "-"),
        ("ä\U0001f600", "b"),
        ("a", "b "),
    ]
    beside.fill(
        *(refund_with_id(f"re_{n}", uid=uid, email=email) for n, (uid, email) in enumerate(contents)),
        uid=beside.any_text,
    )

    found = digests(way, beside.query(), beside.ledger)
    assert len(set(found)) == len(contents)
    assert {len(digest) for digest in found} == {16}
    assert digests(way, beside.query(), beside.ledger) == found, "they stay the same"

    one = beside.query("SELECT event_id, amount, uid AS uid, NULL AS email FROM refunds WHERE uid <> ''")
    other = beside.query("SELECT event_id, amount, uid AS email, NULL AS uid FROM refunds WHERE uid <> ''")
    assert set(digests(way, one, beside.ledger)).isdisjoint(digests(way, other, beside.ledger))
    just_uid = beside.query("SELECT event_id, amount, uid FROM refunds WHERE uid <> ''")
    just_email = beside.query("SELECT event_id, amount, uid AS email FROM refunds WHERE uid <> ''")
    assert set(digests(way, just_uid, beside.ledger)).isdisjoint(digests(way, just_email, beside.ledger))

    rotated = RefundLedger(beside.engine, "acc", name="warehouse", digest_key="another key")
    assert set(digests(way, beside.query(), rotated)).isdisjoint(found)


def test_row_without_an_event_id_is_returned(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    beside.settle("a")
    beside.fill(refund_with_id(None), refund_with_id("a"), refund_with_id(None))

    assert crossing() == [None, None]


def test_numeric_event_ids_match_their_digits(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    for event_id in ("7", "10", "9007199254740993"):
        beside.settle(event_id)
    beside.fill(*map(refund_with_id, (7, 10, 70, 100, 9007199254740993)), event_id="BIGINT")

    assert crossing() == [100, 70]


def test_event_ids_are_compared_byte_for_byte(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    settled = ["re_A", "re_e\u0301", "re_\uffee", "re_\U0001f600", "re_", "re"]
    others = ["re_a", "re_\xe9", "re_\U0001f601", "re ", "re_ ", " re", "Re"]
    for event_id in settled:
        beside.settle(event_id)
    beside.fill(*map(refund_with_id, settled + others), event_id=beside.any_text)

    assert crossing() == sorted(others)


@pytest.mark.parametrize(
    ("database", "any_case"),
    [
        ("sqlite", "VARCHAR(400) COLLATE NOCASE"),
        ("mariadb", "VARCHAR(400) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"),
        ("mariadb", "VARCHAR(400) CHARACTER SET latin1 COLLATE latin1_swedish_ci"),
        ("duckdb", "VARCHAR COLLATE NOCASE"),
        ("postgresql", 'VARCHAR(400) COLLATE "POSIX"'),
    ],
    indirect=["database"],
)
def test_collation_of_the_authors_column_has_no_effect(
    any_case: str, beside: Side, crossing: Callable[..., list[Any]]
) -> None:
    beside.settle("re_a")
    beside.settle("re_b", "1E3")
    types = {"event_id": any_case, "amount": any_case, "uid": any_case}
    rows = [refund_with_id("re_b", "1e3"), refund_with_id("re_A"), refund_with_id("re_a"), refund_with_id("RE_A")]
    beside.fill(*rows, **types)

    assert crossing() == ["RE_A", "re_A", "re_b"]


@pytest.mark.parametrize("charset", ["utf8mb4", "latin1"])
def test_collations_of_server_and_connection_have_no_effect(
    charset: str,
    new_database: Callable[..., Any],
    fallback_logged: Callable[[], bool],
) -> None:
    database = new_database("mariadb")
    database.run("ALTER DATABASE COLLATE utf8mb4_unicode_520_ci")
    database.url = database.url.replace("charset=utf8mb4", f"charset={charset}")
    database.dispose()
    beside = Side(database)
    general = "VARCHAR(400) COLLATE utf8mb4_general_ci"
    beside.fill(*map(refund_with_id, ["re_1", "re_2", "re_3"]), event_id=general, amount=general)
    beside.ledger.ensure()
    (digest,) = set(digests("database", beside.query(), beside.ledger))
    beside.settle("re_1", outcome=Outcome.NOT_REFERRED, row_digest=digest)
    beside.settle("re_2")

    assert came(beside) == ["re_3"]
    assert not fallback_logged()


def test_amounts_are_compared_character_by_character(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    beside.settle("spaces", "1000")
    beside.settle("same", "1000")
    beside.fill(refund_with_id("spaces", "1000 "), refund_with_id("same", "1000"), amount="VARCHAR(80)")

    assert crossing() == ["spaces"]


def test_event_id_too_long_for_the_ledger_is_returned(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    beside.settle("a" * 255)
    beside.settle("b" * 255)
    beside.fill(refund_with_id("a" * 256), refund_with_id("b" * 255))

    assert crossing() == ["a" * 256]


def test_amount_too_long_for_the_ledger_is_returned(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    beside.settle("long", "1" * 64)
    beside.settle("fits", "1" * 64)
    beside.fill(refund_with_id("long", "1" * 65), refund_with_id("fits", "1" * 64), amount="VARCHAR(80)")

    assert crossing() == ["long"]


def test_ledger_of_another_account_settles_nothing(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    beside.settle("a", account="other")
    beside.settle("b")
    beside.fill(refund_with_id("a"), refund_with_id("b"))

    assert crossing() == ["a"]


def test_amounts_may_be_decimals(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    beside.settle("same", "10.50")
    beside.settle("other", "10.50")
    beside.fill(refund_with_id("same", "10.50"), refund_with_id("other", "10.55"), amount="DECIMAL(10, 2)")

    # The same money in another notation may come through: it is compared as a number afterwards.
    assert "other" in crossing()
    if beside.kind != "sqlite":
        assert crossing() == ["other"]


def test_rows_of_one_event_id_are_compared_one_by_one(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    for event_id in ("a", "b", "c"):
        beside.settle(event_id)
    rows = [refund_with_id(event_id, amount) for event_id in ("a", "b", "c") for amount in (1000, 500, 1000)]
    beside.fill(*rows)

    assert crossing() == ["a", "b", "c"]


def test_row_is_returned_unchanged_with_its_digest(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    beside.settle("a")
    beside.fill(refund_with_id("a"), refund_with_id("b", 55, email="jane@example.com", currency="EUR", quantity=2))

    (row,) = unsettled(crossing.way, beside.query(), beside.ledger)  # type: ignore[attr-defined]

    given = {"event_id": "b", "amount": 55, "uid": "cus_1", "email": "jane@example.com", "currency": "EUR"}
    rest = {"quantity": 2, "sale_event_id": None, "skip_email_notification": None}
    assert {**row, DIGEST_COLUMN: None} == {**given, **rest, DIGEST_COLUMN: None}


@pytest.mark.parametrize(
    ("first_days", "last_days", "recheck", "comes"),
    [(5, 2, None, False), (5, 2, MONTH, True), (5, 0.5, MONTH, False), (31, 2, MONTH, False)],
    ids=["not-asked-for", "due", "sent-today", "given-up"],
)
def test_not_referred_refund_is_returned_when_its_recheck_is_due(
    first_days: float,
    last_days: float,
    recheck: timedelta | None,
    comes: bool,
    beside: Side,
    crossing: Callable[..., list[Any]],
) -> None:
    times: dict[str, Any] = {"first_sent_at": ago(days=first_days), "last_sent_at": ago(days=last_days)}
    beside.fill(refund_with_id("late"), refund_with_id("done"))
    beside.ledger.ensure()
    late = digests(crossing.way, beside.query(ALL_REFUNDS + " WHERE event_id = 'late'"), beside.ledger)  # type: ignore[attr-defined]
    beside.settle("late", outcome=Outcome.NOT_REFERRED, row_digest=late[0], **times)
    beside.settle("done", **times)

    assert crossing(recheck=recheck) == (["late"] if comes else [])


def test_column_names_may_be_in_any_case(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    quote = "`" if beside.kind == "mariadb" else '"'
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))
    columns = ", ".join(f"{name} AS {quote}{name.title()}{quote}" for name in ("event_id", "amount", "uid"))

    rows = unsettled(crossing.way, beside.query(f"SELECT {columns} FROM refunds"), beside.ledger)  # type: ignore[attr-defined]

    assert [row["Event_Id"] for row in rows] == ["re_2"]


# --- the author's text ------------------------------------------------------------------------------------

PERCENT = ("postgresql", "mariadb")


@pytest.mark.parametrize(
    ("database", "sql", "parameters"),
    per_database(
        (EVERY_DATABASE, ALL_REFUNDS + ";", None),
        (EVERY_DATABASE, ALL_REFUNDS + " -- it's all of them; 100% :really \"? %s", None),
        (EVERY_DATABASE, ALL_REFUNDS + "; -- that is it\n/* %s :name ? */\n", None),
        (EVERY_DATABASE, ALL_REFUNDS + " WHERE event_id LIKE '%x' OR event_id LIKE 're%'", None),
        (EVERY_DATABASE, ALL_REFUNDS + " WHERE '12:30:00' <> ':name' AND '?' <> '%s' AND ';' <> '--'", None),
        (EVERY_DATABASE, "WITH r AS (SELECT * FROM refunds) SELECT * FROM r", None),
        (
            EVERY_DATABASE,
            "SELECT event_id, amount, uid FROM refunds UNION ALL SELECT 're_1', 1000, 'cus_1'",
            None,
        ),
        (EVERY_DATABASE, ALL_REFUNDS + " ORDER BY event_id LIMIT 9", None),
        (
            ("postgresql", "duckdb"),
            "SELECT event_id::text AS event_id, amount::bigint AS amount, uid FROM refunds",
            None,
        ),
        (
            ("postgresql",),
            """SELECT *, '{"a": [1]}'::jsonb #>> '{a,0}', '{"a": 1}'::jsonb ? 'a' AS b FROM refunds""",
            None,
        ),
        (("sqlite",), """SELECT *, json_extract('{"a": [1]}', '$.a[0]') AS one FROM refunds""", None),
        (("mariadb",), """SELECT *, JSON_VALUE('{"a": [1]}', '$.a[0]') AS one FROM refunds""", None),
        (("sqlite",), ALL_REFUNDS + " WHERE event_id = :name OR event_id LIKE '%_2'", {"name": "re_1"}),
        (("sqlite",), ALL_REFUNDS + " WHERE event_id IN (?, ?) -- really?", ["re_1", "re_2"]),
        (PERCENT, ALL_REFUNDS + " WHERE event_id = %(name)s OR event_id LIKE '%%_2'", {"name": "re_1"}),
        (PERCENT, ALL_REFUNDS + " WHERE event_id IN (%s, %s) -- 100%%", ("re_1", "re_2")),
        (PERCENT, ALL_REFUNDS + " WHERE event_id IN %s AND '%%' <> ':x'", [("re_1", "re_2")]),
        (("postgresql",), ALL_REFUNDS + " WHERE event_id = ANY(%s)", [["re_1", "re_2"]]),
        (("duckdb",), ALL_REFUNDS + " WHERE event_id IN (?, ?)", ["re_1", "re_2"]),
        (("duckdb",), ALL_REFUNDS + " WHERE event_id IN ($1, $2)", ["re_1", "re_2"]),
        (("duckdb",), ALL_REFUNDS + " WHERE event_id = $name OR event_id LIKE '%_2'", {"name": "re_1"}),
    ),
    indirect=["database"],
)
def test_authors_sql_keeps_its_meaning_in_the_join(
    sql: str, parameters: Any, beside: Side, crossing: Callable[..., list[Any]]
) -> None:
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))

    assert crossing(sql, parameters, recheck=MONTH) == ["re_2"]


def test_in_list_of_any_length_is_joined(beside: Side, crossing: Callable[..., list[Any]]) -> None:
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))
    many = ", ".join(f"'re_{number}'" for number in range(12_000))

    assert crossing(f"{ALL_REFUNDS} WHERE event_id IN ({many});") == ["re_2"]


def test_authors_parameters_are_not_modified(new_database: Callable[..., Any]) -> None:
    beside = Side(new_database("sqlite"))
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"))
    named, listed = {"name": "re_1"}, ["re_1"]

    assert not unsettled("database", beside.query(ALL_REFUNDS + " WHERE event_id = :name", named), beside.ledger, MONTH)
    assert not unsettled("database", beside.query(ALL_REFUNDS + " WHERE event_id = ?", listed), beside.ledger, MONTH)

    assert (named, listed) == ({"name": "re_1"}, ["re_1"])


# --- columns that occur twice -----------------------------------------------------------------------------

JOIN = "FROM refunds r JOIN sales s ON s.sale_id = r.sale_event_id"


@pytest.mark.parametrize("has_ledger", [False, True], ids=["first-run", "with-a-ledger"])
@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ("r.*, s.*", "amount"),
        ("s.*, r.*", "amount"),
        ("r.*, s.amount", "amount"),
        ("r.event_id, r.uid, r.amount, s.amount AS Amount", "amount"),
        ("r.*, s.sale_id AS event_id", "event_id"),
        ("r.event_id, r.amount, r.uid, s.sale_id AS email, s.sale_id AS email", "email"),
    ],
)
def test_column_of_the_call_that_occurs_twice_is_refused(
    columns: str, named: str, has_ledger: bool, beside: Side
) -> None:
    beside.fill(refund_with_id("re_1", 500, sale_event_id="s_1"))
    beside.database.run("CREATE TABLE sales (sale_id VARCHAR(20), amount BIGINT)")
    beside.database.run("INSERT INTO sales VALUES ('s_1', 9900)")
    if has_ledger:
        beside.settle("other")

    with pytest.raises(RefundInputError, match=f"has the column {named} more than once"):
        came(beside, f"SELECT {columns} {JOIN}")
    with pytest.raises(RefundInputError, match=f"has the column {named} more than once"):
        came(beside, f"SELECT {columns} {JOIN}", name="another_connection")


@pytest.mark.parametrize("name", ["warehouse", "another_connection"])
def test_other_column_that_occurs_twice_is_allowed(name: str, beside: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_join, "FEW_ROWS", 0)
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))

    assert came(beside, "SELECT *, 1 AS note, 2 AS note FROM refunds", name=name) == ["re_2"]


# --- where the database cannot do it ----------------------------------------------------------------------


@pytest.fixture
def fallback_logged(caplog: pytest.LogCaptureFixture) -> Callable[[], bool]:
    caplog.set_level(logging.INFO)
    return lambda: "The database cannot leave out settled refunds itself" in caplog.text


def came(beside: Side, sql: str = ALL_REFUNDS, name: str | None = None, **options: Any) -> list[str]:
    rows = unsettled_rows(beside.query(sql, name=name), beside.ledger, **options)
    return sorted(Row(row)["event_id"] for row in rows)


def test_ledger_in_the_same_database_leaves_out_settled_rows(beside: Side, fallback_logged: Callable[[], bool]) -> None:
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))

    assert came(beside) == ["re_2"]
    assert not fallback_logged()


class _Refusing:
    """A DB-API connection to a database that refuses statements with a certain text."""

    def __init__(self, connection: Any, text: str) -> None:
        self._connection = connection
        self._text = text

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        cursor, text = self._connection.cursor(*args, **kwargs), self._text

        class Cursor:
            def execute(self, sql: str, *parameters: Any) -> Any:
                if text in sql:
                    raise RuntimeError("Incorrect syntax near the keyword 'WITH'")
                return cursor.execute(sql, *parameters)

            def __getattr__(self, name: str) -> Any:
                return getattr(cursor, name)

        return Cursor()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.mark.parametrize("refused", ["(\nWITH", "ORDER BY", "CROSS JOIN"])
def test_database_that_refuses_the_join_is_joined_on_the_worker(
    refused: str, beside: Side, fallback_logged: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQL Server takes no ``WITH`` in a subquery; none of the databases here is of that kind."""
    monkeypatch.setattr(local_join, "FEW_ROWS", 0)
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))
    query = beside.query("WITH r AS (SELECT * FROM refunds) SELECT * FROM r")
    source = query.source
    query = replace(query, source=replace(source, open=lambda: _Refusing(source.open(), refused)))

    assert [Row(row)["event_id"] for row in unsettled_rows(query, beside.ledger)] == ["re_2"]
    assert fallback_logged() == (refused != "ORDER BY")


def test_missing_ledger_is_not_created(beside: Side) -> None:
    beside.fill(refund_with_id("re_1"))

    assert came(beside) == ["re_1"]
    assert not RefundLedger(beside.engine, "acc").exists()


@pytest.mark.parametrize("name", ["warehouse", "another_connection"])
def test_authors_sql_error_is_reported_for_the_authors_sql(name: str, beside: Side) -> None:
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"))

    with pytest.raises(SourceError, match=r"(?i)refundz"):
        came(beside, "SELECT * FROM refundz", name)
    with pytest.raises(RefundInputError, match=r"(?i)lacks the column amount; it has event_id, uid"):
        came(beside, "SELECT event_id, uid FROM refunds", name)
    with pytest.raises(RefundInputError, match="lacks the column email"):
        came(beside, "SELECT event_id, amount, uid FROM refunds", name, identify_by=("email",))


def test_error_after_the_first_rows_does_not_restart_the_query(new_database: Callable[..., Any]) -> None:
    beside = Side(new_database("postgresql"))
    beside.settle("re_1")
    sql = "SELECT 're_' || i AS event_id, 5 / (5000 - i) AS amount, 'c' AS uid FROM generate_series(1, 9999) i"
    rows = unsettled_rows(beside.query(sql), beside.ledger)
    seen: list[str] = []

    with pytest.raises(SourceError, match="division by zero"):
        seen.extend(row["event_id"] for row in rows)

    assert len(seen) == len(set(seen)) < 9999
