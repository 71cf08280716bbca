"""What a sandbox is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from airflow_provider_firstpromoter.sandbox.money import DOLLARS_PER_UNIT


@dataclass(frozen=True)
class Account:
    """
    One FirstPromoter account, with books and a rate window of its own.

    :param id: what the ``Account-ID`` header has to say
    :param api_key: the bearer token; Airflow masks no secret of 5 characters or fewer, so it has to be longer
    :param currency: the currency of the account's books, an ISO 4217 code
    :raises ValueError: the id is empty, the key too short, or there is no rate for the currency
    """

    id: str = "sandbox-account"
    api_key: str = field(default="sandbox-api-key", repr=False)
    currency: str = "USD"

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("an account needs an id")
        if len(self.api_key) <= 5:
            raise ValueError(f"the key of account {self.id!r} must have more than 5 characters")
        if self.currency not in DOLLARS_PER_UNIT:
            raise ValueError(f"there is no rate for the currency {self.currency!r} of account {self.id!r}")


@dataclass(frozen=True)
class Settings:
    """
    How the sandbox behaves where FirstPromoter leaves it open, and where it listens.

    :param accounts: the accounts that it serves; the first is the one that methods mean when none is named
    :param requests_per_minute: the limit of an account in one window; 0 is no limit
    :param window_seconds: the length of the sliding window in seconds
    :param retry_after: whether a 429 carries ``Retry-After``, and in which of its two forms
    :param consume_event_id_on_204: whether the 204 for a lead that never bought uses up the event_id, which the
        contract leaves open
    :param commission_percent: the share of a sale that its promoter earns
    :param state: the SQLite file that keeps the books; None keeps them in memory
    :param seed: makes random faults the same again
    :param host: the address to listen on
    :param port: the port to listen on; 0 takes a free one
    :raises ValueError: there is no account, or one twice
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
            raise ValueError("a sandbox needs an account")
        if len(set(ids)) < len(ids):
            raise ValueError("an account is given twice")
