"""FirstPromoter's API from Airflow: a connection, its session, and one method per endpoint."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import requests
from airflow.providers.common.compat.sdk import AirflowException, BaseHook

from airflow_provider_firstpromoter.account import Account
from airflow_provider_firstpromoter.api import (
    BATCH_TIMEOUT,
    Batch,
    Transport,
    deny_commissions,
    describe_unreadable,
    find_commissions,
    follow_batch,
    read_batch,
    read_commissions,
    reversal_from,
)
from airflow_provider_firstpromoter.calls import Commission, Identity, Refund, Result
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, ReadError
from airflow_provider_firstpromoter.hooks.connection_test import try_connection
from airflow_provider_firstpromoter.hooks.tracking_call import send_refund

if TYPE_CHECKING:
    import logging


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
        from airflow_provider_firstpromoter.hooks.connection_ui import form_widgets

        return form_widgets()

    @cached_property
    def account(self) -> Account:
        """
        The account of the connection, read once: on the main thread, because a task talks to Airflow over one channel.

        :raises ConnectionSettingsError: names the connection and the field
        """
        return Account.from_connection(self.get_connection(self.firstpromoter_conn_id))

    @cached_property
    def transport(self) -> Transport:
        """The transport that makes the requests; its first use reads the connection."""
        return Transport(self.account, self.cancelled)

    def get_conn(self) -> requests.Session:
        """Return this thread's session; it sends the two headers that the API requires."""
        return self.transport.session()

    def track_refund(
        self,
        refund: Refund | Mapping[str, Any],
        identify_by: Sequence[Identity] = ("uid", "email"),
        recover_rewards: bool = True,
        *,
        alternatives: Sequence[Refund] = (),
        unmatched_before: bool = False,
        lost_before: bool = False,
    ) -> Result:
        """
        Send one refund: ``POST /track/refund``.

        A body carries one id. Where there are several, they are tried in the order of ``identify_by``, the next one
        only if FirstPromoter finds no referral for the one before.

        What a response alone does not prove is looked up in FirstPromoter's commissions, whatever ``recover_rewards``
        says: a 409 after this refund's own 204 or 404 (whether a 204 uses up the event_id is not documented), and a 204
        or 404 after an attempt whose response was lost. If a commission is found, the refund is ``already_recorded``;
        if none is, it is ``not_referred``; and if the commissions cannot be read, it is ``failed``, to be sent again.

        :param refund: a :class:`Refund`, or a mapping with the call's field names and the amount in minor units
        :param identify_by: which of ``uid`` and ``email`` count, in this order
        :param recover_rewards: whether the reward of a refund that FirstPromoter already had is looked up in its
            commissions; the reward of a refund whose response was lost always is
        :param alternatives: the same refund with other ids of the customer, tried after its own
        :param unmatched_before: whether an earlier run sent this refund and got a 204 or 404
        :param lost_before: whether an earlier run sent this refund and its response was lost
        :returns: the result of the refund; an API that does not respond is an outcome (``failed``), not an exception
        :raises AccessRefusedError: on a 401 or 403 of FirstPromoter
        :raises InvalidRowError: if a mapping cannot be sent as it is
        :raises SyncInterruptedError: if :attr:`cancelled` is set meanwhile
        """
        if not isinstance(refund, Refund):
            refund = Refund.from_row(refund)
        return send_refund(
            self.transport,
            (refund, *alternatives),
            identify_by,
            self.find_reversal,
            recover_rewards=recover_rewards,
            unmatched=unmatched_before,
            lost=lost_before,
            log=cast("logging.Logger", self.log),
        )

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
            for page in read_commissions(self.transport, **filters):
                if page.unreadable:
                    unreadable[page.number] = len(page.unreadable)
                yield from page.commissions
        finally:
            if unreadable:
                self.log.warning("%s", describe_unreadable(unreadable))

    def find_commissions(self, event_id: str) -> list[Commission]:
        """
        Look up the negative commissions with exactly this event_id: one request, or two if there are none.

        Only negative commissions are requested, because the API searches by the beginning of an event_id, and the
        event_ids of many sales can begin with a short one. Commissions without a sale_amount are found too.

        :returns: all tiers and splits of the refund; empty if FirstPromoter has none
        :raises UnreadableCommissionError: if FirstPromoter has one, but it is malformed
        :raises ReadError: if the API's response is not a page of commissions
        :raises AccessRefusedError: on 401 and 403
        :raises SyncInterruptedError: if :attr:`cancelled` is set meanwhile
        """
        found, unreadable = find_commissions(self.transport, event_id)
        if unreadable:
            self.log.warning("Refund %r was looked up: %s", event_id, describe_unreadable(unreadable))
        return found

    def find_reversal(self, event_id: str) -> dict[str, Any] | None:
        """
        Look up what FirstPromoter reversed for a refund.

        :returns: ``recorded_amount``, ``lead_id`` and ``commissions`` of a result; None if FirstPromoter has no
            negative commission with exactly this event_id
        :raises ReadError: if the commissions cannot be read, for whatever reason: also on 401 and 403, because an API
            key that may send refunds may lack the permission to read commissions
        :raises SyncInterruptedError: if :attr:`cancelled` is set meanwhile
        """
        try:
            return reversal_from(event_id, self.find_commissions(event_id))
        except AccessRefusedError as error:
            raise ReadError(str(error)) from None

    def deny_commissions(self, ids: Sequence[int], timeout: float = BATCH_TIMEOUT) -> Batch:
        """
        Deny commissions: ``POST /company/commissions/deny``, and follow the batch until it has ended.

        The call can be repeated: a commission that is denied already stays denied. FirstPromoter processes up to five
        commissions before it responds, and more as a batch, which is read until it has ended. Which commissions failed
        is known by reading them: ``iter_commissions(ids=ids)``. FirstPromoter does not document what denying the
        negative commission of a refund does to the promoter's balance, nor whether the promoter is notified.

        :param ids: 1 to 100 ids of commissions
        :param timeout: seconds for which the batch is followed
        :returns: the batch; ``ended`` is False if it was not over in time
        :raises EventsFailedError: if a response is not a batch
        :raises AccessRefusedError: on 401 and 403
        :raises SyncInterruptedError: if :attr:`cancelled` is set meanwhile
        """
        return follow_batch(self.transport, deny_commissions(self.transport, ids), timeout)

    def get_batch(self, batch_id: int) -> Batch:
        """
        Read a batch: ``GET /company/batch_processes/{id}``.

        :raises EventsFailedError: if the response is not a batch
        :raises AccessRefusedError: on 401 and 403
        :raises SyncInterruptedError: if :attr:`cancelled` is set meanwhile
        """
        return read_batch(self.transport, batch_id)

    def test_connection(self) -> tuple[bool, str]:
        """
        Try the connection by a read that changes nothing: ``GET /company/promoters?per_page=1``.

        :returns: whether it works, and one sentence for the user who pressed the button
        """
        try:
            return try_connection(self.transport)
        except AirflowException as error:
            # Airflow tests the connection under a temporary id, which would mean nothing to the user.
            problem = str(error).removeprefix(f"Connection {self.firstpromoter_conn_id!r}: ")
            return False, problem[:1].upper() + problem[1:]
