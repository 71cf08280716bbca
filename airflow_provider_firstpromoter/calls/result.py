"""The result of one refund: its outcome, and the reward, lead and promoter of FirstPromoter's response."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from airflow_provider_firstpromoter.calls.outcome import Outcome
from airflow_provider_firstpromoter.calls.values import UNSENDABLE

#: What :meth:`Result.to_details` contains if, and only if, a response was lost: quotes within values are escaped.
LOST_IN_DETAILS = '"lost":true'
#: The same if there is a reward.
REWARD_IN_DETAILS = '"reward":{'


def _none_if_unreadable(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Read a field, or None if it has an unexpected type: the refund is recorded all the same."""
    try:
        read = handler(value)
    except ValidationError:
        return None
    return None if isinstance(read, str) and UNSENDABLE.search(read) else read


Number = Annotated[int | None, Field(ge=-(2**63), lt=2**63), WrapValidator(_none_if_unreadable)]
Word = Annotated[str | None, Field(max_length=64), WrapValidator(_none_if_unreadable)]
Private = Annotated[str | None, WrapValidator(_none_if_unreadable), Field(exclude=True, repr=False)]


class _Received(BaseModel):
    """An allow-list of a response's fields: all others are dropped, among them credentials."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Reward(_Received):
    """
    The negative commission that a refund creates.

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
    The result of one refund: its outcome, and what FirstPromoter's response says about it.

    :param sent: whether this run sent it; False for what the ledger already had
    :param http_status: of the response that decided; None if there was none
    :param recorded_amount: as FirstPromoter recorded it: negative, minor units of the account's currency
    :param refund_id: FirstPromoter's id of the refund
    :param message: the reason, in one sentence, for every outcome without a reward
    :param reversed_by: the task run that reversed the commission, as ``dag_id``, ``run_id``, ``task_id`` and
        ``map_index``; None where no commission was reversed, or it is not known by whom
    :param unmatched: whether one of the refund's own requests got a 204 or 404: then a 409 alone does not
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
    refund_id: int | None = None
    reward: Reward | None = None
    lead: Lead | None = None
    promoter: Promoter | None = None
    message: str | None = None
    reversed_by: dict[str, str | int | None] | None = None
    unmatched: bool = Field(default=False, repr=False)
    lost: bool = Field(default=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON for XCom: ids, no e-mails."""
        return self.model_dump(mode="json", exclude={"unmatched", "lost"})

    def to_details(self) -> str:
        """Return the JSON text that the ledger keeps, from which :meth:`from_details` restores the result."""
        return self.model_dump_json(exclude={"reversed_by"})

    @classmethod
    def from_details(cls, text: str) -> Result:
        """Read what :meth:`to_details` wrote."""
        return cls.model_validate_json(text)
