"""Amounts in minor and major units, by the currency."""

from __future__ import annotations

from decimal import Decimal

import pytest

from airflow_provider_firstpromoter.calls import (
    MANY_DECIMAL_CURRENCIES,
    ZERO_DECIMAL_CURRENCIES,
    Validation,
)
from tests.calls.warehouse_values import MANY_DIGITS, WarehouseInteger, reason, refund

# --- amounts in minor units ---


@pytest.mark.parametrize(
    ("held", "sent"),
    [
        (1999, 1999),
        (1, 1),
        ("1999", 1999),
        ("+1999", 1999),
        ("0001999", 1999),
        ("1999.00", 1999),
        ("1999.", 1999),
        (1999.0, 1999),
        (Decimal("1999"), 1999),
        (Decimal("1999.000"), 1999),
        (WarehouseInteger(1999), 1999),
        ("2e3", 2000),
        ("1.999E+3", 1999),
        (Decimal("2E+3"), 2000),
        (1e15, 10**15),
        (2**53 - 1, 9007199254740991),
        (str(2**53 - 1), 9007199254740991),
    ],
    ids=repr,
)
def test_minor_units_are_sent_unchanged(held: object, sent: int) -> None:
    assert refund(amount=held).amount == sent


@pytest.mark.parametrize("unit", ["minor", "major"])
@pytest.mark.parametrize(
    ("held", "complaint"),
    [
        (0, "must be above zero"),
        (-1999, "must be above zero"),
        ("-19.99", "must be above zero"),
        (-0.0, "must be above zero"),
        (Decimal("0.00"), "must be above zero"),
        (Decimal("0E+9"), "must be above zero"),
        (2**53, "too large to be exact"),
        ("1e999", "too large to be exact"),
        (1e300, "too large to be exact"),
        (Decimal("1E+60"), "too large to be exact"),
        (Decimal("1E+400"), "too large to be exact"),
        (MANY_DIGITS, "is not a number"),
        ("1e9999", "is not a number"),
        ("9" * 65, "too many digits"),
        (float("inf"), "is not a number"),
        (Decimal("Infinity"), "is not a number"),
        ("1,999", "is not a number"),
        ("19,99", "is not a number"),
        ("1_999", "is not a number"),
        ("$19", "is not a number"),
        ("0x7b", "is not a number"),
        (" 1999", "is not a number"),
        ("1999 ", "is not a number"),
        ("1999\n", "is not a number"),
        ("\u0661\u0662", "is not a number"),  # Arabic digits
        ("nan", "is not a number"),
        ("Infinity", "is not a number"),
        (True, "must be a number, not bool"),
        (b"1999", "must be a number, not bytes"),
        ([1999], "must be a number, not list"),
        (1999 + 0j, "must be a number, not complex"),
    ],
    ids=lambda value: repr(value)[:40] if not isinstance(value, int) or value < 2**60 else "number",
)
def test_invalid_amount_is_rejected(unit: str, held: object, complaint: str) -> None:
    how = Validation(amount_unit=unit, currency="USD")  # type: ignore[arg-type]
    assert reason(how, amount=held).startswith("amount ")
    assert complaint in reason(how, amount=held)


@pytest.mark.parametrize("held", [19.99, "19.99", Decimal("19.99"), "1999.5", "1e-3", Decimal("1E-70")], ids=repr)
def test_fraction_of_a_minor_unit_is_rejected_with_a_hint_at_major(held: object) -> None:
    assert reason(amount=held) == "amount must be a whole number of minor units; is amount_unit='major' meant?"


# --- amounts in major units ---


#: ISO 4217, table A.1, by the column "Minor unit".
ISO_EXPONENT_0 = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split()


ISO_EXPONENT_3_OR_4 = "BHD CLF IQD JOD KWD LYD OMR TND UYW".split()


MAJOR = Validation(amount_unit="major")


def test_currencies_without_two_decimals_are_those_of_iso_4217() -> None:
    assert sorted(ZERO_DECIMAL_CURRENCIES) == ISO_EXPONENT_0
    assert sorted(MANY_DECIMAL_CURRENCIES) == ISO_EXPONENT_3_OR_4


@pytest.mark.parametrize(
    ("held", "currency", "sent"),
    [
        ("19.99", "USD", 1999),
        (19.99, "USD", 1999),
        (0.29, "USD", 29),  # times 100 in floats: 28.999999999999996
        (1.15, "EUR", 115),  # times 100 in floats: 114.99999999999999
        (Decimal("19.99"), "EUR", 1999),
        (Decimal("19.990000"), "EUR", 1999),
        (20, "EUR", 2000),
        ("0.01", "EUR", 1),
        ("1e3", "EUR", 100_000),
        (Decimal("1.5E+2"), "EUR", 15_000),
        ("90071992547409.91", "USD", 2**53 - 1),
        (500, "JPY", 500),
        ("500.00", "JPY", 500),
        (Decimal("500.0"), "KRW", 500),
        (str(2**53 - 1), "JPY", 2**53 - 1),
        ("1.25", "KWD", 125),  # three decimals in ISO 4217, times 100 at FirstPromoter
        ("1.25", "BHD", 125),
        ("1.25", "CLF", 125),
        ("19.99", "usd", 1999),
        (500, "jpy", 500),
    ],
    ids=repr,
)
def test_major_units_become_minor_by_the_currency(held: object, currency: str, sent: int) -> None:
    assert refund(MAJOR, amount=held, currency=currency).amount == sent


@pytest.mark.parametrize("currency", ISO_EXPONENT_0)
def test_currencies_without_decimals_are_sent_in_whole_units(currency: str) -> None:
    assert refund(MAJOR, amount="500", currency=currency).amount == 500
    assert refund(amount=500, currency=currency).amount == 500
    assert "has more decimals than FirstPromoter takes" in reason(MAJOR, amount="500.5", currency=currency)


@pytest.mark.parametrize("currency", ISO_EXPONENT_3_OR_4)
def test_minor_units_of_three_decimal_currencies_are_rejected(currency: str) -> None:
    assert reason(amount=1250, currency=currency) == (
        f"amount in minor units of {currency} is ambiguous; give it with amount_unit='major'"
    )
    assert "ambiguous" in reason(Validation(currency=currency), amount=1250)
    assert refund(MAJOR, amount="1.25", currency=currency).amount == 125


@pytest.mark.parametrize(
    ("held", "currency"),
    [
        ("19.999", "USD"),
        (0.1 + 0.2, "USD"),
        ("19." + "0" * 50 + "1", "USD"),
        ("0.001", "KWD"),
        ("1.234", "KWD"),
        ("0.5", "JPY"),
        ("1e-3", "EUR"),
        ("1e-999", "EUR"),
    ],
    ids=repr,
)
def test_more_decimals_than_the_currency_has_are_rejected_not_rounded(held: object, currency: str) -> None:
    assert reason(MAJOR, amount=held, currency=currency) == (
        f"amount has more decimals than FirstPromoter takes for {currency}"
    )


def test_amount_too_large_only_in_minor_units_is_rejected() -> None:
    assert reason(MAJOR, amount="90071992547409.92", currency="USD") == "amount is too large to be exact"


def test_major_units_need_a_currency_from_the_row_or_the_connection() -> None:
    message = reason(MAJOR, amount="19.99")
    assert message == "amount in major units needs a currency, in the row or in the connection's extra"
    in_yen = Validation(amount_unit="major", currency="JPY")
    assert refund(in_yen, amount="500").amount == 500
    assert refund(in_yen, amount="19.99", currency="EUR").amount == 1999


def test_default_currency_of_the_account_is_not_in_the_body() -> None:
    assert "currency" not in refund(Validation(amount_unit="major", currency="EUR"), amount="19.99").body("uid")
