"""What is particular to one of FirstPromoter's tracking calls, and what the validated rows of all calls share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from airflow_provider_firstpromoter.calls.values import (
    Identity,
    Validation,
    canonical_text,
    read_currency,
    read_email,
    read_event_id,
    read_flag,
    read_identifier,
    read_minor_units,
    read_moment,
    read_number,
    read_quantity,
)
from airflow_provider_firstpromoter.exceptions import InvalidRowError

Identifier = Annotated[str | None, BeforeValidator(read_identifier)]


class TrackedLead(BaseModel):
    """
    What every call names: the customer, by at least one of two ids.

    :param uid: the lead's uid
    :param email: the lead's e-mail
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    #: How a field is written in the request's body, where that is not as it is read.
    wire: ClassVar[Mapping[str, type]] = {}
    #: The call's name: for errors, and FirstPromoter's own.
    call_name: ClassVar[str] = "event"

    uid: Identifier = Field(default=None, repr=False)
    email: Annotated[str | None, BeforeValidator(read_email)] = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _has_an_identity(self) -> Self:
        if self.uid is None and self.email is None:
            raise ValueError("neither uid nor email has a value")
        return self

    def identities(self, identify_by: Iterable[Identity] = ("uid", "email")) -> list[tuple[Identity, str]]:
        """The ids by which FirstPromoter can find the customer, in the order in which they are tried."""
        return [(name, value) for name in identify_by if (value := getattr(self, name)) is not None]

    def body(self, identity: Identity) -> dict[str, str | int | bool]:
        """
        Return the request's body: one of uid and email, absent fields left out.

        :param identity: which of the two ids goes in; the API's schema allows exactly one
        """
        return {
            name: self.wire.get(name, lambda value: value)(value)
            for name, value in self
            if value is not None and (name == identity or name not in ("uid", "email"))
        }


class TrackedEvent(TrackedLead):
    """
    One validated row of a call whose events have an id of their own, with FirstPromoter's field names.

    :param event_id: the event's own id, at most 255 characters; what makes it unique
    :param amount: positive, in minor units (whole units for zero-decimal currencies)
    :param currency: ISO 4217 code, where it may differ from the account's own
    :param quantity: how many items
    :param skip_email_notification: True keeps FirstPromoter from sending the promoter an e-mail
    """

    event_id: Annotated[str, BeforeValidator(read_event_id)]
    currency: Annotated[str | None, BeforeValidator(read_currency)] = None
    amount: Annotated[int, BeforeValidator(read_minor_units)]  # after currency, which its validator reads
    quantity: Annotated[int | None, BeforeValidator(read_quantity)] = None
    skip_email_notification: Annotated[bool | None, BeforeValidator(read_flag)] = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any], how: Validation | None = None) -> Self:
        """
        Read a row of a warehouse.

        :param row: a mapping whose keys are the call's columns, in any case; other keys are ignored
        :param how: the unit of the amounts, the default currency, and which identities count
        :raises InvalidRowError: if the row cannot be sent as it is; names the columns, not their values
        """
        how = how or Validation()
        row = {"event_id": None, "amount": None, **cls._known(row)}
        for identity in {"uid", "email"}.difference(how.identify_by):
            row.pop(identity, None)
        if canonical_text(row.get("skip_email_notification")) is None and how.skip_email_notification is not None:
            row["skip_email_notification"] = how.skip_email_notification
        try:
            return cls.model_validate(row, context=how)
        except ValidationError as error:
            raise InvalidRowError(event_id_from(row["event_id"]), reasons(error), cls.call_name) from None

    @classmethod
    def _known(cls, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row's columns of the call, by their lower-case names: some databases write them in capitals."""
        lowered = row
        if not row.keys() <= cls.model_fields.keys():
            lowered = {str(name).lower(): value for name, value in row.items()}
        return {name: lowered[name] for name in cls.model_fields if name in lowered}


def _read_time(value: object) -> str | None:
    if canonical_text(value) is None:
        return None
    moment = read_moment(value)
    if moment is None:
        raise ValueError("is not a time; ISO 8601 such as 2026-01-31T12:00:00Z is")
    return moment.isoformat()


class Cancellation(TrackedLead):
    """A lead that has cancelled. To send it twice does no harm that is documented: it needs no ledger."""

    call_name: ClassVar[str] = "cancellation"

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """
        Validate a mapping of the call's field names.

        :raises InvalidRowError: if it cannot be sent; names the fields, not their values
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InvalidRowError(None, reasons(error), cls.call_name, has_id=False) from None


class Signup(Cancellation):
    """
    A lead that has signed up.

    :param tid: the tracking id of the visit; it or ``ref_id`` is required
    :param ref_id: the promoter's referral id
    :param ip: the lead's address
    :param created_at: when it signed up; without a zone it is taken for UTC
    :param skip_email_notification: True keeps FirstPromoter from sending the promoter an e-mail
    """

    call_name: ClassVar[str] = "signup"

    tid: Identifier = None
    ref_id: Identifier = None
    ip: Identifier = Field(default=None, repr=False)
    created_at: Annotated[str | None, BeforeValidator(_read_time)] = None
    skip_email_notification: Annotated[bool | None, BeforeValidator(read_flag)] = None

    @model_validator(mode="after")
    def _names_its_promoter(self) -> Self:
        if self.tid is None and self.ref_id is None:
            raise ValueError("neither tid nor ref_id has a value")
        return self


@dataclass(frozen=True)
class Call:
    """
    One of FirstPromoter's tracking calls: everything in which it differs from the others.

    :param name: ``refund``; also FirstPromoter's word for the kind of event in a 409
    :param path: below the API's base URL
    :param model: a validated row; its fields are the call's columns
    :param id_columns: those that hold ids
    :param moment: a column that a query may carry for reports: when it happened; never sent
    :param sign: of the amounts of its commissions
    :param verb: what FirstPromoter did with the commissions, for the log: ``reversed``
    :param ledger_table: the ledger's default name
    :param counts_when_sent: whether what is sent late counts in a later month than it belongs to, as earnings do
    :param duplicates_within: further apart, two of one customer and amount are two, as those of a subscription are.
        None is no limit
    :param sale_column: names the event_id of the sale that the event belongs to; None if it is a sale itself
    """

    name: str
    path: str
    model: type[TrackedEvent]
    id_columns: tuple[str, ...]
    moment: str
    sign: Literal[-1, 1]
    verb: str
    ledger_table: str
    counts_when_sent: bool = False
    duplicates_within: timedelta | None = None
    sale_column: str | None = None

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The call's own field names: the columns that a query or a mapping may carry. Others are ignored."""
        return tuple(self.model.model_fields)

    @property
    def happened(self) -> str:
        """What became of the customer's money: ``refunded``."""
        return self.moment.removesuffix("_at")

    @property
    def plural(self) -> str:
        """The name of several of its events."""
        return f"{self.name}s"

    def counted(self, number: int) -> str:
        """Return a number of its events in words: ``1 refund``, ``2 refunds``."""
        return f"{number} {self.name if number == 1 else self.plural}"

    def read(self, row: Mapping[str, Any], how: Validation | None = None) -> TrackedEvent:
        """
        Validate a row.

        :raises InvalidRowError: if it cannot be sent as it is
        """
        return self.model.from_row(row, how)

    def known_columns(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row's columns of the call, by their lower-case names: some databases write them in capitals."""
        return self.model._known(row)

    def repeated_columns(self, columns: Iterable[str]) -> list[str]:
        """
        Return the columns of the call that occur more than once, in any case; empty if none does.

        ``SELECT r.*, s.*`` of two tables with an ``amount`` each would send whichever one the driver returns last.
        """
        counts = Counter(str(column).lower() for column in columns)
        return [name for name in (*self.columns, self.moment) if counts[name] > 1]

    def missing_columns(self, columns: Iterable[str], identify_by: Iterable[Identity] = ("uid", "email")) -> list[str]:
        """Return the columns that rows need and these do not have; empty if none is missing."""
        present = {str(column).lower() for column in columns}
        missing = [column for column in ("event_id", "amount") if column not in present]
        if present.isdisjoint(identify_by):
            missing.append(" or ".join(identify_by))
        return missing

    def portable(self, row: Mapping[str, Any]) -> dict[str, str | int | bool | None]:
        """
        Return the row in a form that fits into XCom: the call's columns, as texts, integers and booleans only.

        Validation treats the result as it treats the row. An id that is a whole Decimal becomes its digits. A value
        that validation refuses (a date or 12.5 as an id, bytes as a quantity) becomes another value that it refuses:
        a text could pass, and None would send the event by its other id or without the column.
        """
        return {
            name: portable_value(name, value, is_id=name in self.id_columns)
            for name, value in self.known_columns(row).items()
        }


def portable_value(name: str, value: object, *, is_id: bool) -> str | int | bool | None:
    """Return a value of a column as :meth:`Call.portable` does."""
    if isinstance(value, bool | int | str | None):
        return value
    try:
        if is_id:
            return read_identifier(value)
        if name == "skip_email_notification":
            return read_flag(value)
        if name in ("amount", "quantity", "mrr"):
            read_number(value)
    except ValueError:
        return False if is_id else "unusable"
    return canonical_text(value)


def reasons(error: ValidationError) -> str:
    """Return what is wrong in one line, by column, without any value."""
    return "; ".join(
        " ".join([*(str(part) for part in problem["loc"]), problem["msg"].removeprefix("Value error, ")])
        for problem in error.errors(include_input=False, include_url=False, include_context=False)
    )


def event_id_of(row: Mapping[str, Any]) -> str | None:
    """Return the row's event_id as it would be sent, or None where it has no usable one."""
    return event_id_from({str(name).lower(): value for name, value in row.items()}.get("event_id"))


def event_id_from(value: object) -> str | None:
    """Return the event_id that a value stands for, or None if it stands for none."""
    try:
        return read_identifier(value)
    except ValueError:
        return None
