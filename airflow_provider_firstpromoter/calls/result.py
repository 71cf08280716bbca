"""The result of one row of a call: its outcome, and the commissions that FirstPromoter made for it."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from airflow_provider_firstpromoter.calls.call import Call, event_id_of
from airflow_provider_firstpromoter.calls.masking import MAX_MESSAGE_LENGTH
from airflow_provider_firstpromoter.calls.outcome import Outcome
from airflow_provider_firstpromoter.calls.values import UNSENDABLE

CommissionState = Literal["pending", "approved", "denied", "paid", "unknown"]


def _none_if_unreadable(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Read a field, or None if it has an unexpected type: the row is recorded all the same."""
    try:
        read = handler(value)
    except ValidationError:
        return None
    return None if isinstance(read, str) and UNSENDABLE.search(read) else read


def _no_bool(value: Any) -> Any:
    """Reject a bool, which pydantic would accept as 0 or 1."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number")
    return value


Number = Annotated[int | None, Field(ge=-(2**63), lt=2**63), WrapValidator(_none_if_unreadable)]
Word = Annotated[str | None, Field(max_length=64), WrapValidator(_none_if_unreadable)]
#: None for anything but a plain true or false: a 1 or a "yes" proves nothing.
Flag = Annotated[bool | None, BeforeValidator(lambda value: value if isinstance(value, bool) else None)]
Private = Annotated[str | None, WrapValidator(_none_if_unreadable), Field(exclude=True, repr=False)]
CommissionId = Annotated[int, Field(ge=1, lt=2**63), BeforeValidator(_no_bool)]
#: None for a text that cannot be sent as an event_id: no row can have it, and some databases could not store it.
EventId = Annotated[str | None, BeforeValidator(lambda value: event_id_of({"event_id": value}))]


class Commission(BaseModel):
    """
    One commission, as FirstPromoter lists it, as a response shows it, or as the ledger has stored it.

    Every field except the id is None if FirstPromoter's value is absent or cannot be used. Fields that are not named
    here are dropped, among them credentials. The lead's uid and e-mail are for Python only and never written anywhere.

    :param event_id: of the row that made the commission; a sale and its refund can have the same one
    :param amount: in ``unit``, minor units if that is ``cash``; negative for a refund
    :param tier: 1 for the promoter of the lead, 2 for the promoter who recruited that one
    :param sale_amount: minor units of the account currency; negative for a refund
    :param original_sale_amount: minor units of ``original_sale_currency``; negative for a refund
    :param created_at: ISO 8601
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    id: CommissionId
    event_id: EventId = None
    amount: Number = None
    unit: Word = None
    status: Word = None
    is_paid: Flag = None
    tier: Number = None
    is_split: Flag = None
    promoter_id: Number = None
    promoter_ref: Word = None
    lead_id: Number = None
    sale_amount: Number = None
    original_sale_amount: Number = None
    original_sale_currency: Word = None
    commission_type: Word = None
    created_at: Word = None
    lead_uid: Private = None
    lead_email: Private = None

    @property
    def state(self) -> CommissionState:
        """``unknown`` unless FirstPromoter says plainly what it is: then nothing may be concluded from it."""
        if self.is_paid:
            return "paid"
        if self.is_paid is None:
            return "unknown"
        match self.status:
            case "pending" | "approved" | "denied":
                return self.status
        return "unknown"

    @property
    def in_effect(self) -> bool:
        """Whether the commission counts for its promoter: it does unless it is denied."""
        return self.status != "denied"

    def is_of(self, call: Call) -> bool:
        """Return whether it can be of this call: those of refunds are negative, and those of sales positive."""
        return any(call.sign * (amount or 0) > 0 for amount in (self.amount, self.sale_amount))


class Result(BaseModel):
    """
    The result of one row: its outcome, and what FirstPromoter says about it.

    :param sent: whether this run sent it; False for what the ledger already had
    :param http_status: of the response that decided; None if there was none
    :param recorded_amount: as FirstPromoter recorded it: minor units of the account currency, negative for a refund
    :param firstpromoter_id: FirstPromoter's id of the event, from a 200
    :param lead_id: FirstPromoter's id of the customer
    :param commissions: those that FirstPromoter made for it, one for each tier or split
    :param message: the reason, in one sentence, for every outcome without a commission
    :param matched_by: the id by which FirstPromoter found the customer; None where it found none, or that is not known
    :param lead_differs: whether FirstPromoter found a lead by e-mail that has another uid than the row: the commissions
        may be another customer's
    :param reported_by: the task run that reports the commissions, as ``dag_id``, ``run_id``, ``task_id`` and
        ``map_index``; None where there is nothing to report, or it is not known by whom
    :param unmatched: whether one of the row's own requests got a 204 or 404: then a 409 alone does not
        prove that it is recorded
    :param lost: whether the response of one of its requests was lost: then a 204 or 404 alone does not prove that it
        is not recorded
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    event_id: str | None
    outcome: Outcome
    sent: bool = False
    http_status: int | None = None
    recorded_amount: int | None = None
    firstpromoter_id: int | None = None
    lead_id: int | None = None
    commissions: tuple[Commission, ...] = ()
    message: str | None = None
    matched_by: Literal["uid", "email"] | None = None
    lead_differs: bool = False
    reported_by: dict[str, str | int | None] | None = None
    unmatched: bool = Field(default=False, repr=False)
    lost: bool = Field(default=False, repr=False)

    @property
    def rewards(self) -> dict[str, int]:
        """The sums of the commissions in effect, by unit; ``cash`` is minor units of the account currency."""
        sums: Counter[str] = Counter()
        for one in self.commissions:
            if one.in_effect and one.amount is not None:
                sums[one.unit or "unknown"] += one.amount
        return dict(sums)

    def fitted(self) -> Result:
        """Return it with a message that fits into the ledger, so that XCom has the same one."""
        message = self.message and shortened(self.message, MAX_MESSAGE_LENGTH)
        return self if message == self.message else self.model_copy(update={"message": message})

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON for XCom: ids and amounts, no e-mails and no uids."""
        values = self.model_dump(
            mode="json", exclude={"unmatched": True, "lost": True, "commissions": {"__all__": {"event_id"}}}
        )
        return {**values, "rewards": self.rewards}


def shortened(text: str, length: int) -> str:
    """Return a text of at most so many characters; what is cut off is marked in ASCII, which any database holds."""
    return text if len(text) <= length else f"{text[: length - 3]}..."
