"""The sandbox as an object: what tests and the control endpoints use to set it up and to inspect it."""

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
    One FirstPromoter server with its data, faults and rate limit.

    ``base_url`` is the URL of the API once a server runs the sandbox, and empty before.

    :param settings: how the sandbox behaves
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

        :param account: the id of the account; None is the first account
        :param lead: see :class:`~airflow_provider_firstpromoter.sandbox.seeds.LeadSeed`
        :raises ValueError: if the lead has neither an e-mail address nor a uid, or another lead has the same one
        """
        self.add_leads([lead], account=account)

    def add_leads(self, leads: Iterable[LeadSeed], *, account: str | None = None) -> int:
        """
        Add many referred customers in one transaction.

        :return: the number of leads added
        :raises ValueError: if one lead is invalid, as in :meth:`add_lead`; then none is added
        """
        return seeds.add_leads(self.store, self._account(account).id, leads)

    def add_commission(self, *, account: str | None = None, **commission: Unpack[CommissionSeed]) -> int:
        """
        Add a commission without a call to the API, for example one with a date in the past.

        :param account: the id of the account; None is the first account
        :param commission: see :class:`~airflow_provider_firstpromoter.sandbox.seeds.CommissionSeed`
        :return: the id of the commission
        :raises ValueError: if the account has no such lead
        """
        return self.add_commissions([commission], account=account)[0]

    def add_commissions(self, commissions: Iterable[CommissionSeed], *, account: str | None = None) -> range:
        """
        Add many commissions in one transaction.

        :return: the ids of the commissions, in the order given
        :raises ValueError: if the account lacks the lead of one commission; then none is added
        """
        chosen = self._account(account)
        percent = self.settings.commission_percent
        return seeds.add_commissions(self.store, chosen.id, chosen.currency, percent, commissions)

    def change_commission(self, commission_id: int, **change: Unpack[CommissionChange]) -> None:
        """
        Approve, deny or pay a commission.

        :param change: ``status``, ``is_paid`` or both
        :raises ValueError: if there is no such commission
        """
        seeds.change_commission(self.store, commission_id, **change)

    def ban(self, promoter: str, *, account: str | None = None) -> None:
        """Ban a promoter; the API then treats its leads as unknown."""
        self.store.execute(
            "UPDATE promoters SET status = 'banned' WHERE account = ? AND ref_id = ?",
            (self._account(account).id, promoter),
        )

    def fault(self, kind: Kind, **options: Any) -> None:
        """
        Add a fault, which makes matching requests fail.

        :param kind: the kind of fault
        :param options: the other fields of :class:`~airflow_provider_firstpromoter.sandbox.faults.Fault`
        """
        self.faults.add(Fault(kind, **options))

    def clear_faults(self) -> None:
        """Remove all faults."""
        self.faults.clear()

    def refund_requests(self, *, after: int = 0, limit: int = -1) -> list[RefundRequest]:
        """
        List the refund calls that the sandbox received.

        :param after: the number of calls to skip
        :param limit: the largest number of calls to return; -1 is all
        :return: the calls, in the order of their arrival
        """
        return audit.refund_requests(self.store, after, limit)

    def recorded(self, *, account: str | None = None, after: int = 0, limit: int = -1) -> list[RecordedRefund]:
        """
        List the refunds that the sandbox recorded.

        :param account: the account whose refunds to return; None is all accounts
        :param after: the number of refunds to skip
        :param limit: the largest number of refunds to return; -1 is all
        :return: the refunds, in the order in which they were recorded
        """
        return audit.recorded(self.store, account, after, limit)

    def request_times(self, *, account: str | None = None, path: str = "") -> list[float]:
        """
        List the times of all requests to the API, including rejected ones.

        :param account: the account id that the requests carry; None is all requests
        :param path: the end of the requests' path, such as ``/company/commissions``; an empty text is all paths
        :return: the time of each request's arrival, in seconds of the machine's monotonic clock
        """
        return audit.request_times(self.store, account, path)

    def request_counts(self) -> dict[str, dict[str, int]]:
        """
        Count the requests by path and status.

        :return: for each ``METHOD path`` the number of responses by status; ``none`` means that no response was sent
        """
        return audit.request_counts(self.store)

    def reset(self) -> None:
        """Delete all data and faults, and reset the rate limit."""
        self.store.reset()
        self.faults.clear()
        self.limit.reset()

    def _account(self, name: str | None) -> Account:
        accounts = {account.id: account for account in self.settings.accounts}
        if (name or self.account_id) not in accounts:
            raise ValueError(f"there is no account {name!r}, only {', '.join(accounts)}")
        return accounts[name or self.account_id]
