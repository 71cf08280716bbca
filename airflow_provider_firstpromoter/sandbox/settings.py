"""The settings of a sandbox and its accounts."""

from __future__ import annotations

from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from airflow_provider_firstpromoter.sandbox.money import DOLLARS_PER_UNIT

#: A misspelt field raises an error, also over HTTP.
FORBID_UNKNOWN_FIELDS = ConfigDict(extra="forbid")

Seconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


@plain_dataclass(frozen=True)
class Account:
    """
    One FirstPromoter account, with its own data and rate limit.

    :param id: the value of the ``Account-ID`` header
    :param api_key: the bearer token; it must have more than 5 characters, because Airflow does not mask shorter secrets
    :param currency: the currency of the account, an ISO 4217 code
    :param further_keys: other API keys of the account, all of which are valid
    :raises ValueError: if the id is empty, the key is too short, or the sandbox has no exchange rate for the currency
    """

    id: str = "sandbox-account"
    api_key: str = field(default="sandbox-api-key", repr=False)
    currency: str = "USD"
    further_keys: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("an account must have an id")
        if any(len(key) <= 5 for key in (self.api_key, *self.further_keys)):
            raise ValueError(f"the API key of account {self.id!r} must have more than 5 characters")
        if self.currency not in DOLLARS_PER_UNIT:
            raise ValueError(f"there is no exchange rate for the currency {self.currency!r} of account {self.id!r}")


@dataclass(frozen=True, config=FORBID_UNKNOWN_FIELDS)
class Behaviour:
    """
    How the sandbox behaves where FirstPromoter's contract leaves this open; all of it can change while it runs.

    :raises ValueError: if a value is not allowed
    """

    shape: Literal["older", "newer"] = Field(
        default="older", description="the shape of a refund's 200: one reward with lead and promoter, or commissions"
    )
    lead_first: bool = Field(
        default=False,
        description="look for the lead of a refund before its event_id, and answer 404 or 204 where others answer 409",
    )
    consume_event_id_on_204: bool = Field(
        default=False, description="mark the event_id as used when a lead without a sale is answered with 204"
    )
    unreferred_status: Literal[404, 204] = Field(
        default=404, description="the status for a customer who is no lead, or whose promoter is banned"
    )
    conflict_message: str = Field(
        default="The '{kind}' event with the id '{event_id}' already exists.", description="the message of a 409"
    )
    commission_percent: Count = Field(default=20, description="the percentage of a sale that its promoter earns")
    tier_percent: Count = Field(default=5, description="the percentage of a sale that each parent promoter earns")
    tier_delay_seconds: Seconds = Field(
        default=0.0, description="the seconds after which the commissions of parent promoters are made"
    )
    tier_delay_requests: Count = Field(
        default=0, description="the number of requests after which the commissions of parent promoters are made"
    )
    listing_lag_seconds: Seconds = Field(
        default=0.0, description="the seconds for which the list of commissions omits a new commission"
    )
    listing_lag_requests: Count = Field(
        default=0, description="the number of requests for the list of commissions that omit a new commission"
    )
    listing_page_size: int = Field(
        default=100, ge=1, le=100, description="the most commissions on a page, whatever number is asked for"
    )
    batch_seconds: Seconds = Field(default=0.5, description="the seconds that a batch of more than 5 commissions takes")
    batch_polls: Count = Field(
        default=0,
        description="complete a batch after this number of requests for it, and not by time; 0 is by time",
    )


@dataclass(frozen=True, config=FORBID_UNKNOWN_FIELDS)
class Settings(Behaviour):
    """
    Where the sandbox listens, and how it behaves.

    :raises ValueError: if there is no account, two accounts have the same id, or a value is not allowed
    """

    accounts: tuple[Account, ...] = (Account(),)
    requests_per_minute: Count = Field(default=400, description="the requests per account and window; 0 is no limit")
    window_seconds: Seconds = Field(default=60.0, description="the length of the sliding window of the rate limit")
    retry_after: Literal["none", "seconds", "date"] = Field(
        default="none", description="the form of a 429's Retry-After header"
    )
    seed: int = Field(default=0, description="the seed of random faults; the same seed repeats the same faults")
    host: str = Field(default="127.0.0.1", description="the address to listen on")
    port: int = Field(default=0, description="the port to listen on; 0 selects a free port")
    state: Path | None = None

    def __post_init__(self) -> None:
        ids = [account.id for account in self.accounts]
        if not ids:
            raise ValueError("a sandbox must have an account")
        if len(set(ids)) < len(ids):
            raise ValueError("an account id is given twice")
