"""Which rows a join with the ledger lets through, in each way of joining: in the database, merged, and on disk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import DIGEST_COLUMN, REFUND, Outcome
from airflow_provider_firstpromoter.ledger import Ledger
from tests.pending.joining import Side, ago, digests, unsettled
from tests.support import ALL_REFUNDS, refund_with_id

MONTH = timedelta(days=30)


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
    beside: Side, crossing: Callable[..., list[Any]], way: str
) -> None:
    beside.ledger.ensure()
    ids = ["same", "amount", "uid", "email", "several", "unknown"]
    beside.fill(*(refund_with_id(event_id, uid="it's", email=None) for event_id in ids), table="earlier")
    (digest,) = set(digests(way, beside.query("SELECT * FROM earlier"), beside.ledger))
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

    assert crossing(ways=[way]) == ["amount", "email", "uid", "unknown"]


def test_digest_tells_rows_and_columns_and_accounts_apart(beside: Side, way: str) -> None:
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

    other_account = Ledger(beside.engine, "other", name="warehouse", call=REFUND)
    other_account.ensure()
    assert set(digests(way, beside.query(), other_account)).isdisjoint(found)


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


def test_row_is_returned_unchanged_with_its_digest(beside: Side, way: str) -> None:
    beside.settle("a")
    beside.fill(refund_with_id("a"), refund_with_id("b", 55, email="jane@example.com", currency="EUR", quantity=2))

    (row,) = unsettled(way, beside.query(), beside.ledger)

    given = {"event_id": "b", "amount": 55, "uid": "cus_1", "email": "jane@example.com", "currency": "EUR"}
    rest = {"quantity": 2, "sale_event_id": None, "skip_email_notification": None}
    assert {**row, DIGEST_COLUMN: None} == {**given, **rest, DIGEST_COLUMN: None}


@pytest.mark.parametrize(
    ("happened_days", "first_days", "last_days", "recheck", "comes"),
    [
        (None, 5, 2, None, False),
        (None, 5, 2, MONTH, True),
        (5, 5, 2, MONTH, True),
        (None, 5, 0.5, MONTH, False),
        (None, 31, 2, MONTH, False),
        (31, 5, 2, MONTH, False),
    ],
    ids=["not-asked-for", "due", "due-by-its-own-time", "sent-today", "given-up", "backfilled"],
)
def test_not_referred_refund_is_returned_when_its_recheck_is_due(
    happened_days: float | None,
    first_days: float,
    last_days: float,
    recheck: timedelta | None,
    comes: bool,
    beside: Side,
    crossing: Callable[..., list[Any]],
    way: str,
) -> None:
    times: dict[str, Any] = {"first_sent_at": ago(days=first_days), "last_sent_at": ago(days=last_days)}
    times["refunded_at"] = None if happened_days is None else ago(days=happened_days)
    beside.fill(refund_with_id("late"), refund_with_id("done"))
    beside.ledger.ensure()
    late = digests(way, beside.query(ALL_REFUNDS + " WHERE event_id = 'late'"), beside.ledger)
    beside.settle("late", outcome=Outcome.NOT_REFERRED, row_digest=late[0], **times)
    beside.settle("done", **times)

    assert crossing(recheck=recheck, ways=[way]) == (["late"] if comes else [])


def test_column_names_may_be_in_any_case(beside: Side, way: str) -> None:
    quote = "`" if beside.kind == "mariadb" else '"'
    beside.settle("re_1")
    beside.fill(refund_with_id("re_1"), refund_with_id("re_2"))
    columns = ", ".join(f"{name} AS {quote}{name.title()}{quote}" for name in ("event_id", "amount", "uid"))

    rows = unsettled(way, beside.query(f"SELECT {columns} FROM refunds"), beside.ledger)

    assert [row["Event_Id"] for row in rows] == ["re_2"]
