"""Reads the values of warehouse rows exactly: ids, amounts, currencies, flags."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from numbers import Integral, Real
from typing import Literal, NamedTuple, TypeAlias
from uuid import UUID

from pydantic import ValidationInfo

AmountUnit: TypeAlias = Literal["minor", "major"]
Identity: TypeAlias = Literal["uid", "email"]
#: Currencies without decimals: ISO 4217, exponent 0. FirstPromoter takes these in whole units.
ZERO_DECIMAL_CURRENCIES = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())
#: ISO 4217, exponent 3 or 4. FirstPromoter wants these times 100 too: their "minor unit" is ambiguous.
MANY_DECIMAL_CURRENCIES = frozenset("BHD IQD JOD KWD LYD OMR TND CLF UYW".split())
#: In minor units; the largest whole number that every JSON reader keeps exact.
MAX_AMOUNT = 2**53 - 1
MAX_ID_LENGTH = 255
MAX_AMOUNT_LENGTH = 64
#: The default context would round a long fraction away instead of refusing it.
_EXACTLY = Context(prec=2 * MAX_AMOUNT_LENGTH)
_EXACTLY_LONG = Context(prec=4 * MAX_ID_LENGTH)
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d{1,3})?", re.ASCII)
UNSENDABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
#: What programs write where there is no id, in lower case: such a value identifies no customer, or all of them.
PLACEHOLDERS = {
    *r"null none nil nan nat undefined n/a #n/a <na> <null> (null) [null] \n {} []".split(),
    "[object object]",
}
_JSON_TEXT = re.compile(r"""(["']).*\1|b(["']).*\2|[\[{]\s*".*[\]}]""", re.DOTALL)
_EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+")


class Validation(NamedTuple):
    """How rows are to be read: passed to pydantic as its context."""

    amount_unit: AmountUnit = "minor"
    #: The account's own currency, for rows that name none.
    currency: str | None = None
    #: For rows that do not say it.
    skip_email_notification: bool | None = None
    identify_by: tuple[Identity, ...] = ("uid", "email")


def canonical_text(value: object) -> str | None:
    """
    Return the canonical text of a value, the same from a driver and from XCom; None if it has none (NULL, NaN, '').

    :param value: what a database driver or XCom gave: a text, number, bool, UUID, bytes
    """
    if value is None:
        return None
    if type(value) is str:  # nearly always, and to ask for the abstract kinds of numbers below takes long
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        if value.is_nan():
            return None
        return format(value, "f") if abs(value.adjusted()) <= MAX_AMOUNT_LENGTH else str(value)
    if isinstance(value, Integral):
        # Python refuses to write very long ones in decimal; validation rejects them anyway.
        return str(int(value)) if int(value).bit_length() < 2**12 else hex(int(value))
    if isinstance(value, Real):
        return None if math.isnan(value) else repr(float(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    return str(value) or None


def read_identifier(value: object) -> str | None:
    """Return a text or a whole number as text: never trimmed, padded or changed in case."""
    if isinstance(value, bool):
        raise ValueError("must be text or a whole number")
    if not isinstance(value, str | Integral | Real | Decimal | UUID | None):
        raise ValueError(f"must be text or a whole number, not {type(value).__name__}")
    text = canonical_text(value)
    if text is None or not text.strip():
        return None
    if isinstance(value, Decimal):
        text = _whole_digits(value)
    elif not isinstance(value, str | int) and isinstance(value, Real) and not isinstance(value, Integral):
        text = str(read_whole(value))
    if len(text) > MAX_ID_LENGTH:
        raise ValueError(f"has {len(text)} characters; at most {MAX_ID_LENGTH} can be sent")
    if text != text.strip():
        raise ValueError("has white space at an end; trim it in the query")
    if UNSENDABLE.search(text):
        raise ValueError("has a control character or half a surrogate pair")
    if text.lower() in PLACEHOLDERS:
        raise ValueError("is a placeholder, not an id; make it NULL in the query: NULLIF(column, 'undefined')")
    if _JSON_TEXT.fullmatch(text):
        raise ValueError("is JSON, not an id; read it as text in the query: ->> instead of ->, or ::string")
    return text


def read_email(value: object) -> str | None:
    """Return an e-mail address: an id with one ``@`` and no white space."""
    email = read_identifier(value)
    if email is not None and not _EMAIL.fullmatch(email):
        raise ValueError("must be one e-mail address, with one @ and no white space; make others NULL in the query")
    return email


def _whole_digits(number: Decimal) -> str:
    """Return the digits of a whole number, however long: unlike a float, a Decimal is exact."""
    if not number.is_finite() or number != number.to_integral_value(context=_EXACTLY_LONG):
        raise ValueError("must be a whole number")
    if number.adjusted() >= MAX_ID_LENGTH:
        raise ValueError(f"has more than {MAX_ID_LENGTH} digits")
    return format(number.quantize(Decimal(1), context=_EXACTLY_LONG), "f")


def read_event_id(value: object) -> str:
    event_id = read_identifier(value)
    if event_id is None:
        raise ValueError("is missing")
    return event_id


def read_number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | Integral | Real | Decimal | None):
        raise ValueError(f"must be a number, not {type(value).__name__}")
    text = canonical_text(value)
    if text is None or not text.strip():
        return None
    if not _NUMBER.fullmatch(text):
        raise ValueError("is not a number")
    if len(text) > MAX_AMOUNT_LENGTH:
        raise ValueError("has too many digits")
    return Decimal(text)


def read_whole(value: object) -> int | None:
    number = read_number(value)
    if number is None:
        return None
    if abs(number) > MAX_AMOUNT:
        # Checked first: a float this large is no longer exact, and 1e999 as an int would take all memory.
        raise ValueError("is too large to be exact")
    if number != int(number):
        raise ValueError("must be a whole number")
    return int(number)


def read_quantity(value: object) -> int | None:
    quantity = read_whole(value)
    if quantity is not None and quantity < 1:
        raise ValueError("must be at least 1, or left out")
    return quantity


def read_currency(value: object) -> str | None:
    """Return a currency code in upper case, the only case that ISO 4217 has."""
    text = canonical_text(value)
    if text is None or not text.strip():
        return None
    if not re.fullmatch(r"[A-Za-z]{3}", text):
        raise ValueError("must be a three-letter currency code")
    return text.upper()


def read_flag(value: object) -> str | bool | None:
    """Return a boolean, also from 0 or 1 (databases without a boolean type); a text is left for pydantic to read."""
    if isinstance(value, str | None):
        return value or None
    whole = read_whole(int(value) if isinstance(value, bool) else value)
    if whole not in (0, 1, None):
        raise ValueError("must be true or false")
    return None if whole is None else bool(whole)


def read_minor_units(value: object, info: ValidationInfo) -> int:
    """Return an amount in minor units; it must be above zero."""
    number = read_number(value)
    if number is None:
        raise ValueError("is missing")
    if number <= 0:
        raise ValueError("must be above zero; leave reversed and failed rows out of the query")
    return _in_minor_units(number, info)


def read_recurring_amount(value: object, info: ValidationInfo) -> int | None:
    """Return an optional amount in minor units, by the same rules; zero is allowed."""
    number = read_number(value)
    if number is None:
        return None
    if number < 0:
        raise ValueError("must not be below zero")
    return _in_minor_units(number, info)


def _in_minor_units(number: Decimal, info: ValidationInfo) -> int:
    how = info.context or Validation()
    if number > MAX_AMOUNT:
        raise ValueError("is too large to be exact")
    currency = info.data.get("currency") or how.currency
    if how.amount_unit == "minor":
        if currency in MANY_DECIMAL_CURRENCIES:
            raise ValueError(f"in minor units of {currency} is ambiguous; give it with amount_unit='major'")
        if number != int(number):
            raise ValueError("must be a whole number of minor units; is amount_unit='major' meant?")
        return int(number)
    if currency is None:
        raise ValueError("in major units needs a currency, in the row or in the connection's extra")
    minor = number if currency in ZERO_DECIMAL_CURRENCIES else _EXACTLY.multiply(number, Decimal(100))
    if minor != int(minor):
        raise ValueError(f"has more decimals than FirstPromoter takes for {currency}")
    if minor > MAX_AMOUNT:
        raise ValueError("is too large to be exact")
    return int(minor)


def amount_text(value: object) -> str | None:
    """Return the text of an amount for storage; None if it is not a number, because it could be an e-mail address."""
    text = canonical_text(value)
    return text if text and len(text) <= MAX_AMOUNT_LENGTH and _NUMBER.fullmatch(text) else None


def same_amount(one: str | None, other: str | None) -> bool:
    """Whether two texts are the same number: ``10.5`` and ``10.50`` are."""
    if one == other:
        return True
    if one is None or other is None or not (_NUMBER.fullmatch(one) and _NUMBER.fullmatch(other)):
        return False
    return Decimal(one) == Decimal(other)


def money_text(minor: int, currency: str | None) -> str:
    """
    Return an amount as people write it: ``-1,380.00 USD``, ``1,999 JPY``.

    :param minor: in minor units
    :param currency: None if it is not known, and with it its decimals
    """
    if currency is None:
        return f"{minor:,} minor units of the account currency"
    return f"{minor:,} {currency}" if currency in ZERO_DECIMAL_CURRENCIES else f"{Decimal(minor) / 100:,.2f} {currency}"


def reward_text(amount: int, unit: str | None, currency: str | None) -> str:
    """Return a sum of commissions: money of the account's currency if the unit is ``cash``, else a number of it."""
    return money_text(amount, currency) if unit == "cash" else f"{amount:,} {unit or 'unknown'}"


def read_moment(value: object) -> datetime | None:
    """
    Read a time.

    :param value: a datetime, a date, or ISO 8601 text; without a zone it is taken for UTC
    :returns: aware, UTC; None for anything else
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return None
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except (OverflowError, ValueError):
        return None
