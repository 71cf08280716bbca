"""Messages of a server: what is kept of them, and that no private text gets through in any of its forms."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_provider_firstpromoter.calls import masked
from airflow_provider_firstpromoter.calls.masking import HIDDEN
from airflow_provider_firstpromoter.calls.values import UNSENDABLE

KEY = "kEy-0123/abc+def=="
UID = "Kunde Ä/1&2"
EMAIL = "jane@example.com"


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
        ("50% off & more \\o/ &unknown; 100%", "50% off & more \\o/ &unknown; 100%"),
        ("", None),
        (" \n ", None),
        (None, None),
        (7, None),
        (["x"], None),
        ({"message": "x"}, None),
    ],
    ids=repr,
)
def test_masked_message_is_one_line_without_ids_and_emails(message: object, kept: str | None) -> None:
    assert masked(message, "cus_1", None, "", "two  words") == kept


@pytest.mark.parametrize("form", ["KUNDE Ä/1&2", "kunde ä/1&2"])
def test_masked_message_has_no_private_text_in_any_case(form: str) -> None:
    assert masked(f"No lead with uid {form}.", UID) == "No lead with uid ***."


@pytest.mark.parametrize(
    "form",
    [
        "Kunde%20%C3%84%2F1%262",
        "kunde%20%c3%84%2f1%262",
        "Kunde+%C3%84%2F1%262",
        "Kunde Ä/1&amp;2",
        "Kunde &Auml;/1&#38;2",
        "Kunde &#196;&#47;1&#x26;2",
        "Kunde \\u00c4\\/1&2",
        "Kunde \\u00C4/1\\u00262",
        "Kunde\\n\\xc4/1&2",
        "Kunde%2520%25C3%2584%252F1%25262",
        "Kunde Ä/1&amp;amp;2",
        "jane%40example.com",
        "JANE&#64;example.com",
        "jane&commat;example.com",
        "jane\\u0040example.com",
    ],
)
@pytest.mark.parametrize("beside", ["", f" {UID} joe@example.com"], ids=["alone", "beside-plain-ones"])
def test_message_with_an_escaped_secret_is_hidden_whole(form: str, beside: str) -> None:
    assert masked(f"No lead with uid {form}.{beside}", UID) == HIDDEN


def test_secret_that_is_part_of_another_ones_escape_hides_the_message() -> None:
    """Masked alone, "40" would leave the rest of the address readable."""
    assert masked("No lead with jane%40example.com", "40") == HIDDEN


def test_masked_message_has_no_key_in_a_quoted_header() -> None:
    message = f"Invalid header {json.dumps('Authorization: Bearer ' + KEY.upper())}"
    assert masked(message, KEY) == 'Invalid header "Authorization: Bearer ***"'


def test_secret_that_contains_an_escape_is_masked_as_it_is_and_unescaped() -> None:
    assert masked("uid A b", "a%20b") == "uid ***"
    assert "a%20b" not in str(masked("uid a%20b", "a%20b"))
    assert masked("uid a%2520b", "a%20b") == HIDDEN


def test_character_that_becomes_two_in_upper_case_is_masked() -> None:
    assert masked("STRASSE 1 is unknown", "Stra\u00dfe 1") == "*** is unknown"
    assert masked("stra\u00dfe 1 is unknown", "Stra\u00dfe 1") == HIDDEN


def test_secrets_that_overlap_are_masked_together() -> None:
    assert masked("uid cus_12 is unknown", "cus_1", "cus_12", "s_12 is") == "uid *** unknown"


def _unchanged(text: str) -> str:
    return text


def _numeric_entities(text: str) -> str:
    return "".join(f"&#{ord(character)};" for character in text)


def _json_escapes(text: str) -> str:
    units = text.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


FORMS: list[Callable[[str], str]] = [
    _unchanged,
    quote,
    quote_plus,
    lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    html.escape,
    _numeric_entities,
    _json_escapes,
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
]
CASES: list[Callable[[str], str]] = [_unchanged, str.upper, str.lower, str.swapcase, str.casefold, str.title]
#: A text that could be a uid: sendable, and long enough not to be part of the message around it.
SECRETS = (
    st.text(st.characters(codec="utf-8", exclude_characters="*\u2026"), min_size=3, max_size=300)
    .map(str.strip)
    .filter(lambda text: len(text) >= 3 and not UNSENDABLE.search(text))
)


@given(SECRETS, st.sampled_from(CASES), st.lists(st.sampled_from(FORMS), max_size=2))
def test_masked_message_never_has_a_secret_however_it_is_cased_and_escaped(
    secret: str, case: Callable[[str], str], forms: list[Callable[[str], str]]
) -> None:
    form = case(secret)
    assume(form.upper().casefold() == secret.upper().casefold())  # a few characters change for good
    for escape in forms:
        form = escape(form)
    around = "no lead with uid {} was found"
    assume(not any(part in around for part in (secret.casefold(), secret.lower(), " ".join(secret.lower().split()))))

    text = masked(around.format(form), secret)
    assert text in (around.format("***"), HIDDEN)


@given(SECRETS, st.integers(1900, 2100), st.integers(0, 40))
def test_secret_that_the_cut_of_a_long_message_divides_leaves_no_start(secret: str, before: int, blanks: int) -> None:
    form = quote(secret)
    message = "." * (before % 400) + " " * (before - before % 400) + "\n" * blanks + form * 40 + "." * 60_000

    text = masked(message, secret)

    assert text is not None
    assert text == HIDDEN or set(text) <= set(".* \u2026")


def test_start_of_a_long_uid_at_the_cut_is_not_kept() -> None:
    uid = "customer-" + "0123456789" * 24
    for before in range(1700, 2010, 7):
        text = masked(" " * before + uid.upper() + "!" * 100_000, uid)
        assert text is not None
        assert "CUSTOMER" not in text


@given(st.text(max_size=3000), st.lists(st.text(max_size=20), max_size=3))
def test_masked_accepts_any_text(message: str, private: list[str]) -> None:
    text = masked(message, *private)
    assert text is None or len(text) <= 500


def test_long_message_is_truncated() -> None:
    text = masked("word " * 200_000)
    assert text is not None
    assert len(text) <= 500
    assert text.endswith("…")


def test_message_within_the_limit_is_not_truncated() -> None:
    assert masked("x" * 500) == "x" * 500


@pytest.mark.parametrize(
    "part", ["x", "@", "a'", "%40", "%25", "\\", "\\u0040", "&amp;", "&", " ", "\u00df", "a-"], ids=repr
)
def test_masking_a_megabyte_takes_no_time(part: str) -> None:
    message = part * (1_000_000 // len(part)) + "@"
    began = time.monotonic()
    masked(message, "cus_1", EMAIL, "a-" * 200)
    assert time.monotonic() - began < 30, "it takes milliseconds; what backtracks takes minutes"
