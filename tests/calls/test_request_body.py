"""The refund call's request body, by the vendor's OpenAPI page: what is sent satisfies it to the letter."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from airflow_provider_firstpromoter.calls import Refund, Validation

#: https://docs.firstpromoter.com, "Tracking refunds and negative commissions": properties, required and oneOf are
#: the page's own. Stricter than it: no other field, no empty text, and amount and quantity are whole and positive.
TEXT = {"type": "string", "minLength": 1}
POSITIVE_NUMBER = {"type": "string", "pattern": r"^[1-9][0-9]*\Z"}
REFUND_BODY = {
    "type": "object",
    "required": ["event_id", "amount"],
    "additionalProperties": False,
    "properties": {
        "email": TEXT,
        "uid": TEXT,
        "event_id": TEXT,
        "amount": POSITIVE_NUMBER,
        "currency": {"type": "string", "pattern": r"^[A-Z]{3}\Z"},
        "quantity": POSITIVE_NUMBER,
        "sale_event_id": TEXT,
        "skip_email_notification": {"type": "boolean"},
    },
    "oneOf": [{"required": ["email"]}, {"required": ["uid"]}],
}
CONTRACT = Draft202012Validator(REFUND_BODY)
BODY = {"event_id": "re_1", "amount": "1999", "uid": "cus_1"}


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in BODY.items() if name != field}


@pytest.mark.parametrize(
    "body",
    [
        {**BODY, "amount": 1999},
        {**BODY, "amount": "0"},
        {**BODY, "amount": "-1999"},
        {**BODY, "amount": "19.99"},
        {**BODY, "quantity": 1},
        {**BODY, "email": "jane@example.com"},
        {**BODY, "email": None},
        {**BODY, "currency": None},
        {**BODY, "currency": "eur"},
        {**BODY, "event_id": 1},
        {**BODY, "skip_email_notification": "true"},
        {**BODY, "skip_email_notification": 1},
        {**BODY, "note": "x"},
        without("event_id"),
        without("amount"),
        without("uid"),
    ],
    ids=str,
)
def test_validator_refuses_what_the_contract_refuses(body: dict[str, Any]) -> None:
    assert not CONTRACT.is_valid(body)


IDS = st.one_of(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Z"]), max_size=252).map(lambda text: f"id_{text}"),
    st.integers(),
    st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1).map(Decimal),
    st.integers(min_value=-(10**6), max_value=10**6).map(float),
    st.uuids(),
)
AMOUNTS = st.one_of(
    st.integers(min_value=1, max_value=2**53 - 1),
    st.integers(min_value=1, max_value=10**9).map(float),
    st.integers(min_value=1, max_value=10**12).map(str),
    st.integers(min_value=1, max_value=10**12).map(lambda number: f"{number}.00"),
    st.integers(min_value=1, max_value=10**12).map(lambda number: Decimal(number) * 100),
    st.integers(min_value=1, max_value=10**9).map(lambda number: Decimal(number).scaleb(3)),
)
#: Rows that can be sent, in all the forms that drivers give them; NULLs are columns that say nothing.
ROWS = st.fixed_dictionaries(
    {"event_id": IDS, "amount": AMOUNTS, "uid": IDS, "email": st.emails()},
    optional={
        "currency": st.sampled_from([None, "", "EUR", "eur", "JPY", "jpy", "XAF"]),
        "quantity": st.one_of(st.none(), st.integers(1, 10**6), st.integers(1, 99).map(str), st.just(float("nan"))),
        "sale_event_id": st.none() | IDS,
        "skip_email_notification": st.sampled_from([None, True, False, 0, 1, 1.0, "true", "0", Decimal(1)]),
        "note": st.text(),
    },
)


@given(ROWS, st.sampled_from([(), ("uid",), ("email",)]), st.sampled_from([None, True, False]))
def test_every_body_satisfies_the_contract(row: dict[str, object], null: tuple[str, ...], skip: bool | None) -> None:
    refund = Refund.from_row({**row, **dict.fromkeys(null)}, Validation(skip_email_notification=skip))
    identities = refund.identities()
    assert len(identities) == 2 - len(null)
    for identity, _ in identities:
        body = refund.body(identity)
        CONTRACT.validate(body)
        assert int(str(body["amount"])) == Decimal(str(row["amount"]))
        if skip is not None:
            assert "skip_email_notification" in body


@given(ROWS, st.sampled_from(["EUR", "JPY", "KWD"]))
def test_every_body_from_major_units_satisfies_the_contract(row: dict[str, object], own: str) -> None:
    body = Refund.from_row({**row, "amount": "1.00"}, Validation("major", own)).body("uid")
    CONTRACT.validate(body)
    currency = str(row.get("currency") or own).upper()
    assert body["amount"] == ("1" if currency in ("JPY", "XAF") else "100")
