"""``POST /company/commissions/deny`` and ``GET /company/batch_processes/{id}``: denying commissions, in batches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from airflow_provider_firstpromoter.api.rate_limit import sleep
from airflow_provider_firstpromoter.api.responses import describe_failure
from airflow_provider_firstpromoter.calls import Commission, Number, Word, masked
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, EventsFailedError

if TYPE_CHECKING:
    from airflow_provider_firstpromoter.api.client import Client

#: The most commissions in one call. FirstPromoter documents no limit; a page of commissions has as many.
MOST_IDS = 100
#: The most texts of a batch that are kept.
MOST_ERRORS = 20
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
    :param processing_errors: FirstPromoter's own words, masked; none if the customers they can name are not known
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


def deny_commissions(client: Client, commissions: Sequence[int | Commission], timeout: float = BATCH_TIMEOUT) -> Batch:
    """
    Deny commissions, and read the batch repeatedly until it has ended.

    :param commissions: 1 to 100 of them, or their ids
    :param timeout: seconds after which the batch is returned although it has not ended
    :raises EventsFailedError: if a response is not a batch
    """
    if not 1 <= len(commissions) <= MOST_IDS:
        raise ValueError(f"1 to {MOST_IDS} commissions can be denied in one call, not {len(commissions)}")
    ids: list[int] = []
    private: tuple[str | None, ...] | None = ()
    for one in commissions:
        if isinstance(one, Commission):
            ids.append(one.id)
            private = None if private is None else (*private, one.lead_uid, one.lead_email)
        else:
            ids.append(one)
            private = None
    batch = _batch(client, "POST", "/company/commissions/deny", private, {"ids": ids})
    until, seconds = time.monotonic() + timeout, FIRST_POLL
    while not batch.ended and batch.id is not None and (left := until - time.monotonic()) > 0:
        sleep(min(seconds, left), client.cancelled)
        batch = _batch(client, "GET", f"/company/batch_processes/{batch.id}", private)
        seconds = min(seconds * 1.5, LONGEST_POLL)
    return batch


def _batch(
    client: Client,
    method: str,
    path: str,
    private: tuple[str | None, ...] | None,
    json: Mapping[str, Any] | None = None,
) -> Batch:
    try:
        response, attempts, _ = client.request(method, path, json=json, private=private)
    except AccessRefusedError as error:
        raise AccessRefusedError(
            f"The commissions could not be denied: {error} "
            "An API key that may send events may lack the permission to change commissions."
        ) from None
    if response.status in (200, 202) and isinstance(response.payload, dict):
        try:
            batch = Batch.model_validate(response.payload)
        except ValidationError:
            batch = None
        if batch is not None and batch.status and (batch.ended or batch.id is not None):
            errors = [] if response.private is None else batch.processing_errors[:MOST_ERRORS]
            shown = [text for one in errors if (text := masked(one, *(response.private or ())))]
            return batch.model_copy(update={"processing_errors": shown})
    said = response.said()
    why = (
        f"{response.status}{f': {said}' if said else ''}" if response.message else describe_failure(response, attempts)
    )
    raise EventsFailedError(f"FirstPromoter's response to {method} {path} is not a batch of commissions: {why}")
