"""The settings of a sandbox and its accounts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic requires this one below Python 3.12

from airflow_provider_firstpromoter.sandbox.money import DOLLARS_PER_UNIT

Shape = Literal["older", "newer"]

#: A misspelt field raises an error, also over HTTP.
FORBID_UNKNOWN_FIELDS = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Account:
    """
    One FirstPromoter account, with its own data and rate limit.

    :param id: the value of the ``Account-ID`` header
    :param api_key: the bearer token; it must have more than 5 characters, because Airflow does not mask shorter secrets
    :param currency: the currency of the account, an ISO 4217 code
    :raises ValueError: if the id is empty, the key is too short, or the sandbox has no exchange rate for the currency
    """

    id: str = "sandbox-account"
    api_key: str = field(default="sandbox-api-key", repr=False)
    currency: str = "USD"

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("an account must have an id")
        if len(self.api_key) <= 5:
            raise ValueError(f"the API key of account {self.id!r} must have more than 5 characters")
        if self.currency not in DOLLARS_PER_UNIT:
            raise ValueError(f"there is no exchange rate for the currency {self.currency!r} of account {self.id!r}")


@dataclass(frozen=True)
class Settings:
    """
    Where the sandbox listens, and how it behaves where FirstPromoter's contract leaves this open.

    :param accounts: the accounts of the sandbox; methods that are called without an account use the first one
    :param requests_per_minute: the number of requests that each account may send in one window; 0 is no limit
    :param window_seconds: the length of the sliding window in seconds
    :param retry_after: whether a 429 has a ``Retry-After`` header, and in which form
    :param consume_event_id_on_204: whether a refund of a lead without a sale, which is answered with 204, marks its
        event_id as used
    :param lead_first: whether a refund looks for its lead before its event_id; then a refund whose event_id is used is
        answered with 404 or 204, not with 409, if the request names an unknown lead or a lead without a sale
    :param shape: the shape of a refund's 200: ``older``, with one ``reward``, as its page documents, or ``newer``,
        with a list of ``commissions``, as FirstPromoter's sale call answers since 2025
    :param listing_lag_seconds: the seconds for which ``GET /company/commissions`` omits a commission that a sale or a
        refund created
    :param listing_lag_requests: the number of requests for ``GET /company/commissions`` that omit such a commission
        after it was created; with both lags, both must have passed
    :param batch_seconds: the seconds that a batch of more than five commissions takes; FirstPromoter documents no time
    :param batch_polls: if above 0, a batch is completed by this number of requests for it, and not by time
    :param commission_percent: the percentage of a sale that its promoter earns
    :param state: the SQLite file that stores the data; None stores it in memory
    :param seed: the seed of random faults; the same seed repeats the same faults
    :param host: the address to listen on
    :param port: the port to listen on; 0 selects a free port
    :raises ValueError: if there is no account, two accounts have the same id, or a lag or duration is negative
    """

    accounts: tuple[Account, ...] = (Account(),)
    requests_per_minute: int = 400
    window_seconds: float = 60.0
    retry_after: Literal["none", "seconds", "date"] = "none"
    consume_event_id_on_204: bool = False
    lead_first: bool = False
    shape: Shape = "older"
    listing_lag_seconds: float = 0.0
    listing_lag_requests: int = 0
    batch_seconds: float = 0.5
    batch_polls: int = 0
    commission_percent: int = 20
    state: Path | None = None
    seed: int = 0
    host: str = "127.0.0.1"
    port: int = 0

    def __post_init__(self) -> None:
        ids = [account.id for account in self.accounts]
        if not ids:
            raise ValueError("a sandbox must have an account")
        if len(set(ids)) < len(ids):
            raise ValueError("an account id is given twice")
        if self.shape not in get_args(Shape):
            raise ValueError(f"there is no shape {self.shape!r}, only {', '.join(get_args(Shape))}")
        for name in ("listing_lag_seconds", "listing_lag_requests", "batch_seconds", "batch_polls"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")


@with_config(FORBID_UNKNOWN_FIELDS)
class SettingsChange(TypedDict, total=False):
    """The settings that can change while the sandbox runs; :class:`Settings` explains them."""

    consume_event_id_on_204: bool
    lead_first: bool
    shape: Shape
    listing_lag_seconds: float
    listing_lag_requests: int
    batch_seconds: float
    batch_polls: int
