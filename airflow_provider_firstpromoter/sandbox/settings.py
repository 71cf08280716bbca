"""The settings of a sandbox and its accounts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from airflow_provider_firstpromoter.sandbox.money import DOLLARS_PER_UNIT


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
    :param commission_percent: the percentage of a sale that its promoter earns
    :param state: the SQLite file that stores the data; None stores it in memory
    :param seed: the seed of random faults; the same seed repeats the same faults
    :param host: the address to listen on
    :param port: the port to listen on; 0 selects a free port
    :raises ValueError: if there is no account, or two accounts have the same id
    """

    accounts: tuple[Account, ...] = (Account(),)
    requests_per_minute: int = 400
    window_seconds: float = 60.0
    retry_after: Literal["none", "seconds", "date"] = "none"
    consume_event_id_on_204: bool = False
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
