"""A refund that can be sent, and how it is read from a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from airflow_provider_firstpromoter.calls.values import (
    Identity,
    Validation,
    canonical_text,
    read_currency,
    read_event_id,
    read_flag,
    read_identifier,
    read_minor_units,
    read_number,
    read_quantity,
)

#: The refund call's own field names: the columns that a query or a mapping may carry. Others are ignored.
REFUND_COLUMNS = (
    "event_id",
    "amount",
    "currency",
    "uid",
    "email",
    "quantity",
    "sale_event_id",
    "skip_email_notification",
)
_REFUND_COLUMNS = frozenset(REFUND_COLUMNS)
IDENTIFIER_COLUMNS = ("event_id", "uid", "email", "sale_event_id")
#: Columns that a query may carry besides: for reports, never sent.
REPORT_COLUMNS = ("refunded_at",)


class InvalidRefund(ValueError):
    """
    A row that cannot be sent as it is.

    :param event_id: the row's event_id, or None where it has no usable one
    :param reason: what is wrong, by column; carries no value of the row
    """

    def __init__(self, event_id: str | None, reason: str) -> None:
        super().__init__(f"refund {event_id!r}: {reason}" if event_id else f"refund without event_id: {reason}")
        self.event_id = event_id
        self.reason = reason


Identifier = Annotated[str | None, BeforeValidator(read_identifier)]


class Refund(BaseModel):
    """
    One validated refund, with FirstPromoter's own field names.

    :param event_id: the refund's own id (Stripe: ``re_…``), at most 255 characters; what makes it unique
    :param amount: how much was refunded, positive, in minor units (whole units for zero-decimal currencies)
    :param currency: ISO 4217 code, where it may differ from the account's own
    :param uid: the lead's uid
    :param email: the lead's e-mail
    :param quantity: how many items were refunded
    :param sale_event_id: the event id of the sale that is refunded
    :param skip_email_notification: True keeps FirstPromoter from sending the promoter an e-mail
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    event_id: Annotated[str, BeforeValidator(read_event_id)]
    currency: Annotated[str | None, BeforeValidator(read_currency)] = None
    amount: Annotated[int, BeforeValidator(read_minor_units)]  # after currency, which its validator reads
    uid: Identifier = Field(default=None, repr=False)
    email: Identifier = Field(default=None, repr=False)
    quantity: Annotated[int | None, BeforeValidator(read_quantity)] = None
    sale_event_id: Identifier = None
    skip_email_notification: Annotated[bool | None, BeforeValidator(read_flag)] = None

    @model_validator(mode="after")
    def _has_an_identity(self) -> Refund:
        if self.uid is None and self.email is None:
            raise ValueError("neither uid nor email has a value")
        return self

    @classmethod
    def from_row(cls, row: Mapping[str, Any], how: Validation | None = None) -> Refund:
        """
        Read a row of a warehouse.

        :param row: a mapping whose keys are :data:`REFUND_COLUMNS`, in any case; other keys are ignored
        :param how: the unit of the amounts, the default currency, and which identities count
        :raises InvalidRefund: if the row cannot be sent as it is; names the columns, not their values
        """
        how = how or Validation()
        row = {"event_id": None, "amount": None, **known_columns(row)}
        for identity in {"uid", "email"}.difference(how.identify_by):
            row.pop(identity, None)
        if canonical_text(row.get("skip_email_notification")) is None and how.skip_email_notification is not None:
            row["skip_email_notification"] = how.skip_email_notification
        try:
            return cls.model_validate(row, context=how)
        except ValidationError as error:
            raise InvalidRefund(event_id_of(row), _reasons(error)) from None

    def identities(self, identify_by: Iterable[Identity] = ("uid", "email")) -> list[tuple[Identity, str]]:
        """The ids by which FirstPromoter can find the customer, in the order in which they are tried."""
        return [(name, value) for name in identify_by if (value := getattr(self, name)) is not None]

    def body(self, identity: Identity) -> dict[str, str | bool]:
        """
        Return the request's body: amount and quantity as strings, one of uid and email, absent fields left out.

        :param identity: which of the two ids goes in; the API's schema allows exactly one
        """
        body: dict[str, str | bool] = {
            "event_id": self.event_id,
            "amount": str(self.amount),
            identity: getattr(self, identity),
        }
        if self.currency is not None:
            body["currency"] = self.currency
        if self.quantity is not None:
            body["quantity"] = str(self.quantity)
        if self.sale_event_id is not None:
            body["sale_event_id"] = self.sale_event_id
        if self.skip_email_notification is not None:
            body["skip_email_notification"] = self.skip_email_notification
        return body


def _reasons(error: ValidationError) -> str:
    """Return what is wrong in one line, by column, without any value."""
    return "; ".join(
        " ".join([*(str(part) for part in problem["loc"]), problem["msg"].removeprefix("Value error, ")])
        for problem in error.errors(include_input=False, include_url=False, include_context=False)
    )


def known_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row's columns of the refund call, by their lower-case names: some databases write them in capitals."""
    lowered = row
    if not row.keys() <= _REFUND_COLUMNS:
        lowered = {str(name).lower(): value for name, value in row.items()}
    return {name: lowered[name] for name in REFUND_COLUMNS if name in lowered}


def repeated_columns(columns: Iterable[str]) -> list[str]:
    """
    Return the columns of the call that occur more than once, in any case; empty if none does.

    ``SELECT r.*, s.*`` of two tables with an ``amount`` each would send whichever one the driver returns last.
    """
    counts = Counter(str(column).lower() for column in columns)
    return [name for name in (*REFUND_COLUMNS, *REPORT_COLUMNS) if counts[name] > 1]


def missing_columns(columns: Iterable[str], identify_by: Iterable[Identity] = ("uid", "email")) -> list[str]:
    """Return the columns that rows need and these do not have; empty if none is missing."""
    present = {str(column).lower() for column in columns}
    missing = [column for column in ("event_id", "amount") if column not in present]
    if present.isdisjoint(identify_by):
        missing.append(" or ".join(identify_by))
    return missing


def event_id_of(row: Mapping[str, Any]) -> str | None:
    """Return the row's event_id as it would be sent, or None where it has no usable one."""
    return event_id_from(known_columns(row).get("event_id"))


def event_id_from(value: object) -> str | None:
    """Return the event_id that a value stands for, or None if it stands for none."""
    try:
        return read_identifier(value)
    except ValueError:
        return None


def portable(row: Mapping[str, Any]) -> dict[str, str | int | bool | None]:
    """
    Return the row in a form that fits into XCom: the call's columns, as texts, integers and booleans only.

    Validation treats the result as it treats the row. An id that is a whole Decimal becomes its digits. A value that
    validation refuses (a date or 12.5 as an id, bytes as a quantity) becomes another value that it refuses: a text
    could pass, and None would send the refund by its other id or without the column.
    """
    return {name: _portable(name, value) for name, value in known_columns(row).items()}


def _portable(name: str, value: object) -> str | int | bool | None:
    if isinstance(value, bool | int | str | None):
        return value
    try:
        if name in IDENTIFIER_COLUMNS:
            return read_identifier(value)
        if name == "skip_email_notification":
            return read_flag(value)
        if name in ("amount", "quantity"):
            read_number(value)
    except ValueError:
        return False if name in IDENTIFIER_COLUMNS else "unusable"
    return canonical_text(value)
