"""FirstPromoter's API from Airflow: a connection, its session, and one method per endpoint."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import AirflowException, BaseHook

from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.api import (
    BATCH_TIMEOUT,
    Batch,
    Client,
    deny_commissions,
    describe_unreadable,
    find_commissions,
    read_commissions,
)
from airflow_provider_firstpromoter.calls import (
    REFUND,
    SALE,
    Call,
    Cancellation,
    Commission,
    Identity,
    Refund,
    Result,
    Sale,
    Signup,
    TrackedEvent,
)
from airflow_provider_firstpromoter.hooks.connection_ui import form_widgets, try_connection
from airflow_provider_firstpromoter.hooks.tracking_call import track_event, track_lead

if TYPE_CHECKING:
    import logging

    import requests


class FirstPromoterHook(BaseHook):
    """
    Talks to FirstPromoter's API with the account of an Airflow connection.

    Safe to use from several threads once :attr:`account` has been read on the main thread.

    .. code-block:: python

        hook = FirstPromoterHook("firstpromoter_default")
        result = hook.track_refund({"event_id": "re_1", "amount": 1999, "uid": "cus_1"})
        result.rewards  # {"cash": -400}: negative, minor units

    :param firstpromoter_conn_id: an Airflow connection of type ``firstpromoter``
    """

    conn_name_attr = "firstpromoter_conn_id"
    default_conn_name = "firstpromoter_default"
    conn_type = "firstpromoter"
    hook_name = "FirstPromoter"

    def __init__(self, firstpromoter_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.firstpromoter_conn_id = firstpromoter_conn_id
        #: Set it to end every wait at once.
        self.cancelled = threading.Event()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the standard fields of the connection form, for Airflow before 3.2."""
        from airflow_provider_firstpromoter.get_provider_info import UI_FIELD_BEHAVIOUR

        return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields for the extra, for Airflow before 3.2; later versions read the provider info."""
        return form_widgets()

    @cached_property
    def account(self) -> Account:
        """
        The account of the connection, read once: on the main thread, because a task talks to Airflow over one channel.

        :raises ConnectionSettingsError: names the connection and the field
        """
        return Account.from_connection(self.get_connection(self.firstpromoter_conn_id))

    @cached_property
    def client(self) -> Client:
        """The client that makes the requests; its first use reads the connection."""
        return Client(self.account, self.cancelled)

    def get_conn(self) -> requests.Session:
        """Return this thread's session, with the headers that the API requires and for the connection's host only."""
        return self.client.transport.session()

    def track_refund(
        self,
        refund: Refund | Mapping[str, Any],
        identify_by: Sequence[Identity] = ("uid", "email"),
        recover_rewards: bool = True,
        **known: bool,
    ) -> Result:
        """
        Send one refund: ``POST /track/refund``.

        A body carries one id. Where there are several, they are tried in the order of ``identify_by``, the next one
        only if FirstPromoter finds no referral for the one before.

        What a response alone does not prove is looked up in FirstPromoter's commissions, whatever ``recover_rewards``
        says: a 409 after this refund's own 204 or 404 (whether a 204 uses up the event_id is not documented), a 409 in
        other words than FirstPromoter's, a 204 or 404 after an attempt whose response was lost, and a 200 without
        commissions. If a commission is found, the refund is recorded; if the commissions cannot be read, it is
        ``failed``, to be sent again.

        :param refund: a :class:`Refund`, or a mapping with the call's field names and the amount in minor units
        :param identify_by: which of ``uid`` and ``email`` count, in this order
        :param recover_rewards: whether the commissions of a refund that FirstPromoter already had are looked up; those
            of a refund whose response was lost always are
        :param known: ``unmatched``: whether an earlier request of this event got a 204 or 404. ``lost``: whether the
            response to one was lost
        :returns: the result of the refund; an API that does not respond is an outcome (``failed``), not an exception
        :raises AccessRefusedError: on a 401 or 403 of FirstPromoter
        :raises InvalidRowError: if a mapping cannot be sent as it is
        :raises SyncInterruptedError: if :attr:`cancelled` is set meanwhile
        """
        return self._track(REFUND, refund, identify_by, recover_rewards, **known)

    def track_sale(
        self,
        sale: Sale | Mapping[str, Any],
        identify_by: Sequence[Identity] = ("uid", "email"),
        recover_rewards: bool = True,
        **known: bool,
    ) -> Result:
        """
        Send one sale: ``POST /track/sale``, as :meth:`track_refund` sends a refund.

        :param sale: a :class:`Sale`, or a mapping with the call's field names and the amounts in minor units
        """
        return self._track(SALE, sale, identify_by, recover_rewards, **known)

    def _track(
        self,
        call: Call,
        row: TrackedEvent | Mapping[str, Any],
        identify_by: Sequence[Identity],
        recover_rewards: bool,
        **known: bool,
    ) -> Result:
        event = row if isinstance(row, TrackedEvent) else call.read(row)
        log = cast("logging.Logger", self.log)
        return track_event(self.client, call, [event], identify_by, recover_rewards=recover_rewards, log=log, **known)

    def track_signup(
        self, signup: Signup | Mapping[str, Any], identify_by: Sequence[Identity] = ("uid", "email")
    ) -> Result:
        """
        Send one signup: ``POST /track/signup``; it makes the customer a lead of the promoter. No ledger is kept of it.

        :param signup: a :class:`Signup`, or a mapping with the call's field names: ``uid`` or ``email``, ``tid`` or
            ``ref_id``, and optionally ``ip``, ``created_at`` and ``skip_email_notification``
        :returns: ``recorded``, ``already_recorded`` for a customer who is a lead already, or ``not_referred`` where
            FirstPromoter knows neither visit nor promoter
        :raises AccessRefusedError: on a 401 or 403 of FirstPromoter
        :raises InvalidRowError: if a mapping cannot be sent as it is
        :raises SyncInterruptedError: if :attr:`cancelled` is set meanwhile
        """
        return track_lead(self.client, signup if isinstance(signup, Signup) else Signup.read(signup), identify_by)

    def track_cancellation(
        self, cancellation: Cancellation | Mapping[str, Any], identify_by: Sequence[Identity] = ("uid", "email")
    ) -> Result:
        """
        Send one cancellation: ``POST /track/cancellation``. No ledger is kept of it; a second one does no known harm.

        :param cancellation: a :class:`Cancellation`, or a mapping with ``uid`` or ``email``
        :raises AccessRefusedError: on a 401 or 403 of FirstPromoter
        :raises InvalidRowError: if a mapping cannot be sent as it is
        :raises SyncInterruptedError: if :attr:`cancelled` is set meanwhile
        """
        lead = cancellation if isinstance(cancellation, Cancellation) else Cancellation.read(cancellation)
        return track_lead(self.client, lead, identify_by)

    def iter_commissions(self, **filters: Any) -> Iterator[Commission]:
        """
        Read the account's commissions, oldest first: ``GET /company/commissions``, one request per 100 commissions.

        Each page is requested when the caller reaches it. Commissions that are added meanwhile come last. Malformed
        commissions are skipped, with one warning that counts them.

        :param filters: those of :func:`airflow_provider_firstpromoter.api.commission_filters`
        :raises ReadError: if the API's response is not a page of commissions
        :raises AccessRefusedError: on 401 and 403
        :raises SyncInterruptedError: if :attr:`cancelled` is set meanwhile
        """
        unreadable: dict[int, int] = {}
        try:
            for page in read_commissions(self.client, **filters):
                if page.unreadable:
                    unreadable[page.number] = len(page.unreadable)
                yield from page.commissions
        finally:
            if unreadable:
                self.log.warning("%s", describe_unreadable(unreadable))

    def find_commissions(self, event_id: str, call: Call = REFUND) -> list[Commission]:
        """
        Look up the commissions of a call with exactly this event_id, in two requests.

        Only those with the call's sign are requested, because the API searches by the beginning of an event_id, and the
        event_ids of many sales can begin with a short one. Commissions without a sale_amount are found too.

        :param call: a sale and its refund can have the same event_id
        :returns: all tiers and splits; empty if FirstPromoter has none
        :raises UnreadableCommissionError: if FirstPromoter has one, but it is malformed
        :raises ReadError: if the API's response is not a page of commissions
        :raises AccessRefusedError: on 401 and 403
        :raises SyncInterruptedError: if :attr:`cancelled` is set meanwhile
        """
        return find_commissions(self.client, event_id, call, cast("logging.Logger", self.log))

    def deny_commissions(self, commissions: Sequence[int | Commission], timeout: float = BATCH_TIMEOUT) -> Batch:
        """
        Deny commissions: ``POST /company/commissions/deny``, and follow the batch until it has ended.

        The call can be repeated: a commission that is denied already stays denied. FirstPromoter processes up to five
        commissions before it responds, and more as a batch, which is read until it has ended. Which commissions failed
        is known by reading them: ``iter_commissions(ids=ids)``. FirstPromoter does not document what denying the
        negative commission of a refund does to the promoter's balance, nor whether the promoter is notified.

        :param commissions: 1 to 100 commissions as the hook has read them, or their ids. FirstPromoter's own words can
            name a customer: they are shown only where the commissions say which customers must be masked
        :param timeout: seconds for which the batch is followed
        :returns: the batch; ``ended`` is False if it was not over in time
        :raises EventsFailedError: if a response is not a batch
        :raises AccessRefusedError: on 401 and 403
        :raises SyncInterruptedError: if :attr:`cancelled` is set meanwhile
        """
        return deny_commissions(self.client, commissions, timeout)

    def test_connection(self) -> tuple[bool, str]:
        """
        Try the connection by a read that changes nothing: ``GET /company/promoters?per_page=1``.

        :returns: whether it works, and one sentence for the user who pressed the button
        """
        try:
            return try_connection(self.client)
        except AirflowException as error:
            # Airflow tests the connection under a temporary id, which would mean nothing to the user.
            problem = str(error).removeprefix(f"Connection {self.firstpromoter_conn_id!r}: ")
            return False, problem[:1].upper() + problem[1:]
