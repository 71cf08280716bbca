"""The calls about a lead itself, signup and cancellation: they have no event_id, and so no ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from airflow_provider_firstpromoter.calls.call import Identifier, TrackedLead, reasons
from airflow_provider_firstpromoter.calls.row import read_moment
from airflow_provider_firstpromoter.calls.values import canonical_text, read_flag
from airflow_provider_firstpromoter.exceptions import InvalidRowError


def _read_time(value: object) -> str | None:
    if canonical_text(value) is None:
        return None
    moment = read_moment(value)
    if moment is None:
        raise ValueError("is not a time; ISO 8601 such as 2026-01-31T12:00:00Z is")
    return moment.isoformat()


class Cancellation(TrackedLead):
    """A lead that has cancelled. To send it twice does no harm that is documented."""

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
