"""What holds for any row and any response, not just for those that an author thought of."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_firstpromoter.api.responses import ApiResponse, parse_retry_after
from airflow_provider_firstpromoter.calls import (
    MANY_DECIMAL_CURRENCIES,
    MAX_AMOUNT,
    ZERO_DECIMAL_CURRENCIES,
    Outcome,
    Refund,
    Result,
    Validation,
    amount_text,
    content_token,
    event_id_of,
    fingerprint,
    is_known_content,
    masked,
    same_amount,
)
from airflow_provider_firstpromoter.calls import REFUND as CALL
from airflow_provider_firstpromoter.exceptions import InvalidRowError
from airflow_provider_firstpromoter.hooks.tracking_call import outcome_of, result_from

#: Whatever a driver can hand over, and some things that none would.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(),
    st.decimals(),
    st.text(st.characters()),
    st.text(st.characters(codec=None), max_size=5),
    st.text("0123456789.eE+-, \x00\u00a0", max_size=12),
    st.binary(max_size=20),
    st.uuids(),
    st.dates(),
    st.datetimes(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(["USD", "jpy", "KWD", "re_1", "x" * 300, 10**5000, Decimal("1E+999999"), object(), 1j]),
)
COLUMNS = st.one_of(st.sampled_from(CALL.columns), st.sampled_from(CALL.columns).map(str.upper), st.text())
#: Half of them good but for one column or two.
ROWS = st.builds(
    lambda good, row: {**good, **row},
    st.sampled_from([{}, {"event_id": "re_1", "amount": 5, "uid": 7, "email": "jane@example.com"}]),
    st.dictionaries(COLUMNS, VALUES, max_size=6),
)
HOWS = st.builds(
    Validation,
    amount_unit=st.sampled_from(["minor", "major"]),
    currency=st.sampled_from([None, "USD", "JPY", "KWD"]),
    skip_email_notification=st.sampled_from([None, True, False]),
    identify_by=st.sampled_from([("uid", "email"), ("email", "uid"), ("uid",), ("email",)]),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(),
    st.decimals(),
    st.text(st.characters(codec=None)),
    st.uuids(),
)
KEY = b"a key"


@given(ROWS, HOWS)
def test_any_row_is_a_refund_or_raises_invalid_refund(row: dict[str, object], how: Validation) -> None:
    try:
        refund, error = Refund.from_row(row, how), None
    except InvalidRowError as invalid:
        refund, error = None, invalid
    if refund is None:
        assert error is not None
        assert error.reason
        assert error.event_id == event_id_of(row)
    else:
        assert refund.event_id == event_id_of(row)
        assert 0 < refund.amount <= MAX_AMOUNT
        assert refund.identities(how.identify_by)


@given(ROWS)
def test_any_row_has_a_fingerprint_that_recognises_it(row: dict[str, object]) -> None:
    stored = fingerprint(row, KEY, fingerprint({"uid": "another"}, KEY))
    assert is_known_content(stored, row, KEY)
    assert len(stored) <= 255
    for value in row.values():
        text = amount_text(value)
        assert text is None or (Decimal(text).is_finite() and same_amount(text, text))


@given(st.text(min_size=5, alphabet="abcdefghijkl@.'\x00 "), st.sampled_from(["uid", "email", "amount", "currency"]))
def test_errors_never_repeat_values_of_the_row(value: str, column: str) -> None:
    row = {"event_id": "1", "amount": "12", "uid": "2", column: f"<<<{value}>>>\x00"}
    with pytest.raises(InvalidRowError) as caught:
        Refund.from_row(row)
    assert "<<<" not in f"{caught.value} {caught.value.reason}"


@given(
    st.integers(min_value=1, max_value=MAX_AMOUNT),
    st.sampled_from(["USD", "EUR", "XXX", "MGA", *sorted(ZERO_DECIMAL_CURRENCIES), *sorted(MANY_DECIMAL_CURRENCIES)]),
    st.booleans(),
)
def test_minor_and_major_units_agree_by_the_currency(minor: int, currency: str, from_the_account: bool) -> None:
    major = Decimal(minor) if currency in ZERO_DECIMAL_CURRENCIES else Decimal(minor).scaleb(-2)
    row = {"event_id": "1", "uid": "2"} | ({} if from_the_account else {"currency": currency})
    own = currency if from_the_account else None
    for written in (major, str(major), CALL.portable({"amount": major})["amount"]):
        read = Refund.from_row({**row, "amount": written}, Validation("major", own))
        assert read.amount == minor
        assert read.body("uid")["amount"] == str(minor)
    if currency in MANY_DECIMAL_CURRENCIES:
        with pytest.raises(InvalidRowError, match="ambiguous"):
            Refund.from_row({**row, "amount": minor}, Validation("minor", own))
    else:
        assert Refund.from_row({**row, "amount": minor}, Validation("minor", own)).amount == minor


@given(st.integers(min_value=1, max_value=10**11))
def test_float_amount_is_read_as_displayed(minor: int) -> None:
    row = {"event_id": "1", "uid": "2", "currency": "EUR", "amount": minor / 100}
    assert Refund.from_row(row, Validation("major")).amount == minor


@given(st.dictionaries(st.sampled_from(CALL.columns), SCALARS))
def test_content_is_the_same_after_xcom(row: dict[str, object]) -> None:
    travelled = json.loads(json.dumps(CALL.portable(row)))
    assert content_token(travelled, KEY) == content_token(row, KEY)
    assert amount_text(travelled.get("amount")) == amount_text(row.get("amount"))


@given(
    st.dictionaries(st.sampled_from(CALL.columns), st.text(), min_size=1),
    st.sampled_from(CALL.columns),
    st.text(min_size=1),
)
def test_content_differs_by_every_column_of_the_call_but_the_event_id(
    row: dict[str, str], column: str, text: str
) -> None:
    changed = {**row, column: text}
    same = row.get(column) == text or column == "event_id"
    same = same or (column == "amount" and same_number(row.get(column), text))
    assert (content_token(changed, KEY) == content_token(row, KEY)) == same


def same_number(one: object, other: object) -> bool:
    """Whether both are numbers, and the same one: ``1`` and ``1.0``."""
    texts = amount_text(one), amount_text(other)
    return None not in texts and same_amount(*texts)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**15), max_value=10**15))
def test_amount_is_the_same_with_trailing_zeros(number: Decimal) -> None:
    texts = [amount_text(number), amount_text(number.normalize()), f"{number:.7f}"]
    assert all(same_amount(one, other) for one in texts for other in texts)
    assert not same_amount(texts[0], amount_text(number + 1))


# --- answers --------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = "id type amount_cents reward lead promoter status amount unit created_at event_id message code errors".split()
DOCUMENTS = st.dictionaries(
    st.sampled_from(FIELDS), st.one_of(JSON, st.dictionaries(st.sampled_from(FIELDS), JSON)), max_size=8
)
ANSWERS = st.builds(
    ApiResponse,
    st.none() | st.integers(min_value=100, max_value=599),
    st.one_of(DOCUMENTS, JSON),
    st.none() | st.text(),
)
REFUND = Refund.from_row({"event_id": "re_1", "amount": 5, "uid": "cus_1", "email": "jane@example.com"})


@given(ANSWERS)
def test_any_response_has_an_outcome_and_a_result_that_survives_xcom_and_ledger(answer: ApiResponse) -> None:
    result = result_from(CALL, answer, [REFUND], "uid", 1)
    assert result.outcome is outcome_of(CALL, answer, REFUND.event_id)
    assert result.outcome in set(Outcome) - {Outcome.CHANGED, Outcome.PENDING}
    assert result.message or result.outcome in (Outcome.RECORDED, Outcome.NOT_REFERRED)
    travelled = json.loads(json.dumps(result.to_json()))
    assert Result.model_validate(travelled).to_json() == result.to_json()


@given(st.integers(min_value=100, max_value=599), st.none() | st.integers() | st.text() | st.lists(st.integers()))
def test_response_without_a_json_object_settles_nothing_except_204(status: int, payload: object) -> None:
    assert outcome_of(CALL, ApiResponse(status, payload), "re_1").settled == (status == 204)


@given(st.text(st.characters(codec=None)) | st.text("0123456789-: GMTSunNov+", max_size=30))
def test_any_retry_after_header_gives_a_short_wait(header: str) -> None:
    seconds = parse_retry_after(header)
    assert seconds is None or 0 <= seconds <= 120


@given(st.text(st.characters(codec=None)), st.text("abc 12", min_size=3).filter(str.strip), st.text())
def test_message_never_has_the_private_texts(before: str, private: str, after: str) -> None:
    text = masked(f"{before[:100]}<{private}>{after}", private) or ""
    assert f"<{' '.join(private.split())}>" not in text.replace("< ", "<").replace(" >", ">")
    assert len(text) <= 500
    assert text.isprintable() or all(ord(character) >= 0xA0 for character in text if not character.isprintable())


@given(st.text(), st.emails().filter(lambda email: email[0] != "'"))
def test_message_never_has_an_email(before: str, email: str) -> None:
    assert email not in (masked(f"{before[:400]} {email} was not found") or "")
