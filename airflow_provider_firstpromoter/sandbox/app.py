"""The sandbox as an object: what tests and the control endpoints use to set it up and to inspect it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, Unpack

from airflow_provider_firstpromoter.sandbox import seeds
from airflow_provider_firstpromoter.sandbox.api import make_api
from airflow_provider_firstpromoter.sandbox.audit import Audit
from airflow_provider_firstpromoter.sandbox.auth import Authenticator, RateLimit
from airflow_provider_firstpromoter.sandbox.batches import Batches
from airflow_provider_firstpromoter.sandbox.faults import Fault, Faults, Kind
from airflow_provider_firstpromoter.sandbox.middleware import FaultMiddleware
from airflow_provider_firstpromoter.sandbox.seeds import CommissionChange, CommissionSeed, LeadSeed
from airflow_provider_firstpromoter.sandbox.settings import Account, Behaviour, Settings
from airflow_provider_firstpromoter.sandbox.store import Store
from airflow_provider_firstpromoter.sandbox.tracking import Tracking


class Sandbox(Audit):
    """
    One FirstPromoter server with its data, faults and rate limit.

    ``base_url`` is the URL of the API once a server runs the sandbox, and empty before.

    :param settings: how the sandbox behaves
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = self._first_settings = settings
        store = Store(settings.state)
        super().__init__(store, Batches(store, self._current_settings))
        self.base_url = ""
        self.faults = Faults(settings.seed)
        self.limit = RateLimit(settings.requests_per_minute, settings.window_seconds)
        tracking = Tracking(store, self._current_settings)
        authenticator = Authenticator(settings, self.limit)
        self.api = make_api(authenticator, tracking, self.batches, store, self._current_settings)
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
        Approve, deny or pay a commission, as somebody does it in FirstPromoter.

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

    def change_settings(self, **change: Any) -> None:
        """
        Change how the sandbox behaves while it runs; :meth:`reset` restores the settings with which it started.

        :param change: fields of :class:`~airflow_provider_firstpromoter.sandbox.settings.Behaviour`
        :raises ValueError: if there is no such setting, or a value is not allowed
        """
        unknown = change.keys() - {field.name for field in fields(Behaviour)}
        if unknown:
            raise ValueError(f"these settings do not exist or cannot change: {', '.join(sorted(unknown))}")
        self.settings = replace(self.settings, **change)

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

    def reset(self) -> None:
        """Delete all data and faults, reset the rate limit, and restore the settings that have been changed."""
        self.settings = self._first_settings
        self.store.reset()
        self.faults.clear()
        self.limit.reset()

    def _current_settings(self) -> Settings:
        return self.settings

    def _account(self, name: str | None) -> Account:
        accounts = {account.id: account for account in self.settings.accounts}
        if (name or self.account_id) not in accounts:
            raise ValueError(f"there is no account {name!r}, only {', '.join(accounts)}")
        return accounts[name or self.account_id]
