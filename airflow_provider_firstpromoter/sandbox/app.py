"""A sandbox in the hand: what tests, the demo and the control endpoints do to it and ask of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Unpack

from airflow_provider_firstpromoter.sandbox import audit, seeds
from airflow_provider_firstpromoter.sandbox.api import make_api
from airflow_provider_firstpromoter.sandbox.audit import RecordedRefund, RefundRequest
from airflow_provider_firstpromoter.sandbox.auth import Authenticator
from airflow_provider_firstpromoter.sandbox.faults import Fault, Faults, Kind
from airflow_provider_firstpromoter.sandbox.limits import RateLimit
from airflow_provider_firstpromoter.sandbox.middleware import FaultMiddleware
from airflow_provider_firstpromoter.sandbox.seeds import CommissionChange, CommissionSeed, LeadSeed
from airflow_provider_firstpromoter.sandbox.settings import Account, Settings
from airflow_provider_firstpromoter.sandbox.store import Store
from airflow_provider_firstpromoter.sandbox.tracking import Tracking


class Sandbox:
    """
    :param settings: how it behaves
    :param base_url: where it can be reached, once it is served
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.base_url = ""
        self.store = Store(settings.state)
        self.faults = Faults(settings.seed)
        self.limit = RateLimit(settings.requests_per_minute, settings.window_seconds)
        tracking = Tracking(self.store, settings.commission_percent, settings.consume_event_id_on_204)
        self.api = make_api(Authenticator(settings, self.limit), tracking, self.store)
        self.app = FaultMiddleware(self.api, self.store, self.faults)

    @property
    def account_id(self) -> str:
        """The id of the first account."""
        return self.settings.accounts[0].id

    @property
    def api_key(self) -> str:
        """The key of the first account."""
        return self.settings.accounts[0].api_key

    def add_lead(self, *, account: str | None = None, **lead: Unpack[LeadSeed]) -> None:
        """
        Add a referred customer.

        :param account: an account's id; None is the first
        :param lead: see :class:`~airflow_provider_firstpromoter.sandbox.seeds.LeadSeed`
        :raises ValueError: it has neither e-mail nor uid, or one that is taken
        """
        self.add_leads([lead], account=account)

    def add_leads(self, leads: Iterable[LeadSeed], *, account: str | None = None) -> int:
        """
        Add many customers at once, or none of them.

        :return: how many there were
        :raises ValueError: as :meth:`add_lead` does
        """
        return seeds.add_leads(self.store, self._account(account).id, leads)

    def add_commission(self, *, account: str | None = None, **commission: Unpack[CommissionSeed]) -> int:
        """
        Add a commission of the past.

        :param commission: see :class:`~airflow_provider_firstpromoter.sandbox.seeds.CommissionSeed`
        :return: its id
        :raises ValueError: it is of nobody known
        """
        return self.add_commissions([commission], account=account)[0]

    def add_commissions(self, commissions: Iterable[CommissionSeed], *, account: str | None = None) -> range:
        """
        Add many commissions at once, or none of them.

        :return: their ids, in the order given
        :raises ValueError: one of them is of nobody known
        """
        chosen = self._account(account)
        percent = self.settings.commission_percent
        return seeds.add_commissions(self.store, chosen.id, chosen.currency, percent, commissions)

    def change_commission(self, commission_id: int, **change: Unpack[CommissionChange]) -> None:
        """
        Approve, deny or pay a commission.

        :param change: ``status``, ``is_paid`` or both
        :raises ValueError: there is no such commission
        """
        seeds.change_commission(self.store, commission_id, **change)

    def ban(self, promoter: str, *, account: str | None = None) -> None:
        """Ban a promoter: its leads are then as good as unknown."""
        self.store.execute(
            "UPDATE promoters SET status = 'banned' WHERE account = ? AND ref_id = ?",
            (self._account(account).id, promoter),
        )

    def fault(self, kind: Kind, **options: Any) -> None:
        """
        Let requests go wrong.

        :param kind: what goes wrong
        :param options: the further fields of :class:`~airflow_provider_firstpromoter.sandbox.faults.Fault`
        """
        self.faults.add(Fault(kind, **options))

    def clear_faults(self) -> None:
        """Let everything go well again."""
        self.faults.clear()

    def refund_requests(self, *, after: int = 0, limit: int = -1) -> list[RefundRequest]:
        """
        :param after: how many to pass over
        :param limit: how many to return at most; -1 is all
        :return: the refund calls in the order in which they came
        """
        return audit.refund_requests(self.store, after, limit)

    def recorded(self, *, account: str | None = None, after: int = 0, limit: int = -1) -> list[RecordedRefund]:
        """
        :param account: only those of this account; None is all
        :return: the refunds in the books, in the order in which they were recorded
        """
        return audit.recorded(self.store, account, after, limit)

    def request_times(self, *, account: str | None = None, path: str = "") -> list[float]:
        """
        :param account: only requests in the name of this account; None is all
        :param path: only requests whose path ends so, such as ``/company/commissions``; an empty text is all
        :return: when each request to the API came, refused ones too, in seconds of the machine's monotonic clock
        """
        return audit.request_times(self.store, account, path)

    def request_counts(self) -> dict[str, dict[str, int]]:
        """:return: how often each ``METHOD path`` was answered with each status; ``none`` is no answer"""
        return audit.request_counts(self.store)

    def reset(self) -> None:
        """Forget everything: books, faults, and the requests that count towards the limit."""
        self.store.reset()
        self.faults.clear()
        self.limit.reset()

    def _account(self, name: str | None) -> Account:
        accounts = {account.id: account for account in self.settings.accounts}
        if (name or self.account_id) not in accounts:
            raise ValueError(f"there is no account {name!r}, only {', '.join(accounts)}")
        return accounts[name or self.account_id]
