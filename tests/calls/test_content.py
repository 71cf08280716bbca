"""Fingerprints: which contents of a row the ledger recognises, and what they reveal."""

from __future__ import annotations

import json
from decimal import Decimal
from uuid import UUID

import pytest

from airflow_provider_firstpromoter.calls import (
    REFUND,
    add_digest,
    content_token,
    fingerprint,
    is_known_content,
)

ROW = {"event_id": "re_1", "amount": Decimal("19.90"), "uid": 7, "email": "jane@example.com"}
KEY = b"a key"
#: The ledger's column.
LONGEST_FINGERPRINT = 255


def token(row: dict[str, object], key: bytes = KEY) -> str:
    return content_token(row, key)


# --- one content ---


def test_token_is_the_same_from_the_driver_and_from_xcom() -> None:
    row = {
        "EVENT_ID": UUID(int=1),
        "amount": Decimal("19.900"),
        "uid": 7,
        "email": float("nan"),
        "quantity": 2.0,
        "sale_event_id": b"ch_1",
        "skip_email_notification": True,
        "currency": "",
    }
    assert token(json.loads(json.dumps(REFUND.portable(row)))) == token(row)


CHANGES: list[dict[str, object]] = [
    {"amount": Decimal("19.91")},
    {"amount": None},
    {"uid": 8},
    {"uid": None},
    {"email": "john@example.com"},
    {"email": " jane@example.com"},
    {"email": "Jane@example.com"},
    {"currency": "EUR"},
    {"quantity": 1},
    {"sale_event_id": "ch_1"},
    {"skip_email_notification": False},
]


@pytest.mark.parametrize("columns", CHANGES, ids=repr)
def test_token_changes_with_any_column_of_the_call(columns: dict[str, object]) -> None:
    assert token({**ROW, **columns}) != token(ROW)


def test_token_changes_if_a_value_moves_to_another_column() -> None:
    assert token({"uid": "a"}) != token({"email": "a"})
    assert token({"uid": "a\0email\0001\0b"}) != token({"uid": "a", "email": "b"})


def test_token_ignores_the_event_id_other_columns_order_and_null() -> None:
    other = {"note": "x", **dict(reversed(ROW.items())), "currency": None, "quantity": float("nan"), "event_id": "re_2"}
    assert token(other) == token(ROW)
    assert token({name.upper(): value for name, value in ROW.items()}) == token(ROW)


@pytest.mark.parametrize("amount", [Decimal("19.9"), "19.90", "19.900", 19.9, "1990e-2", "+19.9"], ids=repr)
def test_token_ignores_the_notation_of_the_amount(amount: object) -> None:
    assert token({**ROW, "amount": amount}) == token(ROW)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("19.90", "19.90" + "0" * 30 + "1"),
        ("1" * 40, "1" * 39 + "2"),
        ("1e999", "1e998"),
        ("a lot", "a bit"),
    ],
)
def test_token_tells_amounts_apart_that_differ_in_any_digit(one: str, other: str) -> None:
    assert token({**ROW, "amount": one}) != token({**ROW, "amount": other})


def test_token_depends_on_the_key_and_reveals_nothing() -> None:
    assert token(ROW, b"another key") != token(ROW)
    assert len(token(ROW)) == 16
    assert set(token(ROW)) <= set("0123456789abcdef")


# --- what is stored ---


def test_fingerprint_recognises_its_content_and_no_other() -> None:
    stored = fingerprint(ROW, KEY)
    assert is_known_content(stored, ROW, KEY)
    assert not any(is_known_content(stored, {**ROW, **columns}, KEY) for columns in CHANGES)


def test_nothing_stored_recognises_no_content() -> None:
    for nothing in (None, ""):
        assert not is_known_content(nothing, ROW, KEY)


def test_fingerprint_recognises_every_content_that_was_added() -> None:
    rows = [{**ROW, "uid": number} for number in range(5)]
    stored = None
    for row in [*rows, rows[0]]:
        stored = fingerprint(row, KEY, stored)
    assert all(is_known_content(stored, row, KEY) for row in rows)
    assert not is_known_content(stored, ROW, KEY)


def test_fingerprint_keeps_the_last_fifteen_contents_and_fits_its_column() -> None:
    rows = [{**ROW, "uid": number} for number in range(100, 120)]
    stored = None
    for row in rows:
        stored = fingerprint(row, KEY, stored)
        assert len(stored) <= LONGEST_FINGERPRINT
    assert [is_known_content(stored, row, KEY) for row in rows] == [False] * 5 + [True] * 15


def test_content_that_is_added_again_is_the_last_to_be_dropped() -> None:
    rows = [{**ROW, "uid": number} for number in range(100, 115)]
    stored = None
    for row in [*rows, rows[0], ROW]:
        stored = fingerprint(row, KEY, stored)
    assert is_known_content(stored, rows[0], KEY)
    assert not is_known_content(stored, rows[1], KEY)


def test_fingerprint_reveals_neither_key_nor_row() -> None:
    assert set(fingerprint(ROW, KEY)) <= set("0123456789abcdef ")
    assert fingerprint(ROW, KEY).split(" ")[0] != fingerprint(ROW, b"another key").split(" ")[0]


# --- the database's own digests ---


def test_digests_are_collected_and_fit_their_column() -> None:
    digests = None
    for number in range(20):
        digests = add_digest(digests, f"{number:016x}")
        assert digests is not None
        assert len(digests) <= LONGEST_FINGERPRINT
    assert (digests or "").split(" ") == [f"{number:016x}" for number in range(5, 20)]


def test_row_without_a_digest_changes_no_digests() -> None:
    assert add_digest(None, None) is None
    assert add_digest("d1 d2", None) == "d1 d2"
    assert add_digest("d1 d2", "d1") == "d2 d1"
