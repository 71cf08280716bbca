"""What FirstPromoter answered for one refund: outcome, reward, lead, promoter."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from airflow_provider_firstpromoter.refunds.outcome import Outcome
from airflow_provider_firstpromoter.refunds.values import UNSENDABLE


def _none_if_unreadable(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """An answer with a field of an unexpected type is still an answer: the refund is recorded."""
    try:
        read = handler(value)
    except ValidationError:
        return None
    return None if isinstance(read, str) and UNSENDABLE.search(read) else read


Number = Annotated[int | None, Field(ge=-(2**63), lt=2**63), WrapValidator(_none_if_unreadable)]
Word = Annotated[str | None, Field(max_length=64), WrapValidator(_none_if_unreadable)]
Private = Annotated[str | None, WrapValidator(_none_if_unreadable), Field(exclude=True, repr=False)]


class _Received(BaseModel):
    """An allow-list: what FirstPromoter answers besides these fields is dropped, credentials first of all."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Reward(_Received):
    """
    The negative commission that a refund makes.

    :param amount: negative; in ``unit``, minor units of the account's currency when that is ``cash``
    :param conversion_amount: the refund's amount, negative, minor units of the account's currency
    """

    id: Number = None
    status: Word = None
    amount: Number = None
    unit: Word = None
    created_at: Word = None
    conversion_amount: Number = None
    tier_level: Number = None
    split_type: Word = None


class Lead(_Received):
    """The customer. The e-mail and uid are for Python only and never written anywhere."""

    id: Number = None
    state: Word = None
    email: Private = None
    uid: Private = None


class Promoter(_Received):
    """The affiliate. The e-mail is for Python only and never written anywhere."""

    id: Number = None
    status: Word = None
    default_ref_id: Word = None
    email: Private = None


class Result(BaseModel):
    """
    What became of one refund.

    :param sent: whether this run asked FirstPromoter; False for what the ledger already knew
    :param http_status: of the answer that decided; None if there was none
    :param recorded_amount: as FirstPromoter recorded it: negative, minor units of the account's currency
    :param refund_id: FirstPromoter's id of the refund
    :param message: why, in a sentence, for whatever has no reward
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    event_id: str | None
    outcome: Outcome
    sent: bool = False
    http_status: int | None = None
    recorded_amount: int | None = None
    refund_id: int | None = None
    reward: Reward | None = None
    lead: Lead | None = None
    promoter: Promoter | None = None
    message: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for XCom and the ledger: ids, no e-mails."""
        return self.model_dump(mode="json")
