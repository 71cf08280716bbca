"""``POST /company/commissions/deny`` and ``GET /company/batch_processes/{id}``: denying commissions, in batches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from airflow_provider_firstpromoter.api.rate_limit import sleep
from airflow_provider_firstpromoter.api.responses import describe_failure
from airflow_provider_firstpromoter.calls import Number, Word, masked
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, EventsFailedError

if TYPE_CHECKING:
    from airflow_provider_firstpromoter.api.transport import Transport

#: The most commissions in one call. FirstPromoter documents no limit; a page of commissions has as many.
MOST_IDS = 100
#: Seconds for which a batch is followed.
BATCH_TIMEOUT = 600.0
#: Seconds before a batch is read for the first time. Each further wait is longer by half, up to the second number.
FIRST_POLL, LONGEST_POLL = 0.5, 10.0
#: The statuses with which a batch has ended.
ENDED = ("completed", "failed", "stopped")


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


class Batch(BaseModel):
    """
    The state of a call that changes commissions, as FirstPromoter reports it. Fields other than these are dropped.

    Up to five commissions are processed before the response. More are a batch that FirstPromoter processes afterwards.
    The counts and texts do not say which commissions failed: read the commissions to find out.

    :param status: ``pending``, ``in_progress``, ``completed``, ``failed`` or ``stopped``
    :param processing_errors: FirstPromoter's own words; they can name a customer, so mask them before they are logged
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    id: Number = None
    status: Word
    total: Number = None
    selected_total: Number = None
    processed_count: Number = None
    failed_count: Number = None
    processing_errors: Annotated[list[str], BeforeValidator(_texts)] = []

    @property
    def ended(self) -> bool:
        """Whether FirstPromoter processes no more commissions of the batch."""
        return self.status in ENDED


def deny_commissions(transport: Transport, ids: Sequence[int]) -> Batch:
    """
    Deny commissions. A commission that is denied already stays denied, so the call can be repeated.

    :param ids: 1 to 100 ids of commissions
    :returns: the batch as it is after the first response
    :raises ValueError: if there are no ids or more than 100
    :raises EventsFailedError: if the response is not a batch
    :raises AccessRefusedError: on 401 and 403
    """
    if not 1 <= len(ids) <= MOST_IDS:
        raise ValueError(f"1 to {MOST_IDS} commissions can be denied in one call, not {len(ids)}")
    return _batch(transport, "POST", "/company/commissions/deny", json={"ids": list(ids)})


def read_batch(transport: Transport, batch_id: int) -> Batch:
    """
    Read a batch.

    :raises EventsFailedError: if the response is not a batch
    :raises AccessRefusedError: on 401 and 403
    """
    return _batch(transport, "GET", f"/company/batch_processes/{int(batch_id)}")


def follow_batch(transport: Transport, batch: Batch, timeout: float = BATCH_TIMEOUT) -> Batch:
    """
    Read a batch repeatedly until it has ended.

    :param timeout: seconds after which the batch is returned although it has not ended
    :raises EventsFailedError: if a response is not a batch
    :raises SyncInterruptedError: if the transport is cancelled meanwhile
    """
    until, seconds = time.monotonic() + timeout, FIRST_POLL
    while not batch.ended and batch.id is not None and (left := until - time.monotonic()) > 0:
        sleep(min(seconds, left), transport.cancelled)
        batch = read_batch(transport, batch.id)
        seconds = min(seconds * 1.5, LONGEST_POLL)
    return batch


def _batch(transport: Transport, method: str, path: str, json: Mapping[str, Any] | None = None) -> Batch:
    try:
        response, attempts, _ = transport.request(method, path, json=json)
    except AccessRefusedError as error:
        raise AccessRefusedError(
            f"The commissions could not be denied: {error} "
            "An API key that may send refunds may lack the permission to change commissions."
        ) from None
    if response.status in (200, 202) and isinstance(response.payload, dict):
        try:
            batch = Batch.model_validate(response.payload)
        except ValidationError:
            batch = None
        if batch is not None and batch.status and (batch.ended or batch.id is not None):
            return batch
    said = masked(response.message, transport.account.api_key.get_secret_value())
    why = f"{response.status}: {said}" if said else describe_failure(response, attempts)
    raise EventsFailedError(f"FirstPromoter's response to {method} {path} is not a batch of commissions: {why}")
