"""Messages of the server are kept without e-mails and ids of customers."""

from __future__ import annotations

import pytest

from airflow_provider_firstpromoter.refunds import Refund, masked

REFUND = Refund.from_row({"event_id": "re_1", "amount": 1000, "uid": "cus_1", "email": "jane@example.com"})


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("No lead with jane@example.com.", "No lead with ***"),
        ("No lead with 'JANE@example.com'", "No lead with '***'"),
        ("email: other+tag@sub.example.co.uk, uid=x", "email: ***, uid=x"),
        ("<jane@example.com>", "<***>"),
        ("No lead with o'brien@example.com!", "No lead with ***"),
        ("No lead with uid cus_1", "No lead with uid ***"),
        ("No lead with uid two  words", "No lead with uid ***"),
        ("several\nlines\r\n\tof  text", "several lines of text"),
        ("nul\x00 and half \ud83d", "nul and half"),
        ("\u00e9t\u00e9 \U0001f4b8", "\u00e9t\u00e9 \U0001f4b8"),
        ("", None),
        (" \n ", None),
        (None, None),
        (7, None),
        (["x"], None),
        ({"message": "x"}, None),
    ],
    ids=repr,
)
def test_message_is_one_line_without_ids_and_emails(message: object, kept: str | None) -> None:
    assert masked(message, "cus_1", None, "", "two  words") == kept


def test_longer_private_text_is_masked_first() -> None:
    assert masked("uid cus_12 is unknown", "cus_1", "cus_12") == "uid *** is unknown"


def test_long_message_is_truncated() -> None:
    text = masked("word " * 200_000)
    assert text is not None
    assert len(text) <= 500
    assert text.endswith("…")


def test_message_within_the_limit_is_not_truncated() -> None:
    assert masked("x" * 500) == "x" * 500
