"""The call that denies commissions, and the batches in which it is carried out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airflow_provider_firstpromoter.sandbox.errors import ApiError
from airflow_provider_firstpromoter.sandbox.faults import Fault
from airflow_provider_firstpromoter.sandbox.responses import BatchProcess
from airflow_provider_firstpromoter.sandbox.settings import Settings
from airflow_provider_firstpromoter.sandbox.store import Row, Store, timestamp

#: The largest number of commissions that a call carries out before it responds.
MOST_AT_ONCE = 5


class DenyBody(BaseModel):
    """The body of the call."""

    model_config = ConfigDict(strict=True)

    ids: Annotated[list[Annotated[int, Field(ge=-(2**53), le=2**53)]], Field(min_length=1)]


class Batches:
    """
    Carries out ``POST /company/commissions/deny``.

    FirstPromoter documents that up to five commissions are processed at once (200, ``completed``), that more are a
    batch (202), and the fields and statuses of both. The following is not documented and is a choice of the sandbox:

    - A batch is ``pending`` until its first commission is processed, and processes them in the order of the request.
    - ``action_label`` is ``commission/deny``, after the ``referral/delete`` of a documented example.
    - ``processed_count`` counts successes and ``failed_count`` failures; ``progress`` is the percentage of both.
    - A commission that does not exist, belongs to another account or is paid fails with an entry in
      ``processing_errors``, and the others are processed. A commission that already has the status succeeds.
    - A call with an id twice processes it once. A call without ids is answered with 422.
    - A denied commission no longer counts towards its promoter's balance, and its event_id stays used.

    :param store: the data of the sandbox
    :param settings: returns the sandbox's settings, some of which can change while it runs
    """

    def __init__(self, store: Store, settings: Callable[[], Settings]) -> None:
        self.store = store
        self.settings = settings

    def start(self, account: str, raw: bytes, fault: Fault | None = None) -> tuple[int, BatchProcess]:
        """
        Start a batch, and complete it if it has at most five commissions.

        :param account: the id of the account that sends the call
        :param raw: the body of the request
        :param fault: a fault of kind ``batch_errors``, ``batch_failed`` or ``batch_stopped``
        :return: the status and the body of the response
        :raises ApiError: 422 if the body has no list of ids
        """
        ids = _parse_ids(raw)
        ends_early = fault is not None and fault.kind != "batch_errors" and len(ids) > MOST_AT_ONCE
        with self.store.transaction():
            batch_id = self.store.insert(
                "batches",
                account=account,
                ids=json.dumps(ids),
                failing=json.dumps(fault.ids if fault else []),
                failing_message=fault.message if fault else "",
                end_status=fault.kind.removeprefix("batch_") if fault and ends_early else "completed",
                end_after=min(fault.after, len(ids)) if fault and ends_early else len(ids),
                started_at=time.time(),
                created_at=timestamp(),
                updated_at=timestamp(),
            )
            batch = self._fetch(batch_id)
            if len(ids) <= MOST_AT_ONCE:
                return 200, BatchProcess.of(self._process(batch, len(ids)))
        return 202, BatchProcess.of(batch)

    def poll(self, account: str, batch_id: int) -> BatchProcess:
        """
        Return a batch after it has progressed.

        :raises ApiError: 404 if the account has no such batch
        """
        with self.store.transaction():
            sql = "UPDATE batches SET polls = polls + 1 WHERE id = ? AND account = ? RETURNING id"
            if self.store.fetch_one(sql, (batch_id, account)) is None:
                raise ApiError(404, "Batch process not found", code="not_found")
            self.advance()
            return BatchProcess.of(self._fetch(batch_id))

    def advance(self) -> None:
        """Process the commissions of all batches whose turn has come by now, and make the commissions that are due."""
        self.store.insert_due_commissions()
        for row in self.store.execute("SELECT id FROM batches WHERE status IN ('pending', 'in_progress')"):
            with self.store.transaction():
                batch = self._fetch(row["id"])
                if batch["status"] in ("pending", "in_progress"):  # else another thread has ended it meanwhile
                    self._process(batch, self._due(batch))

    def _due(self, batch: Row) -> int:
        """Return the number of commissions that the batch must have processed by now."""
        settings, total = self.settings(), len(json.loads(batch["ids"]))
        if settings.batch_polls:
            return min(total * int(batch["polls"]) // settings.batch_polls, total)
        elapsed = time.time() - batch["started_at"]
        return total if elapsed >= settings.batch_seconds else max(0, int(total * elapsed / settings.batch_seconds))

    def _process(self, batch: Row, until: int) -> Row:
        """Process the batch's commissions up to that number, end the batch if it is due, and return it."""
        done, end = batch["processed_count"] + batch["failed_count"], batch["end_after"]
        chosen = json.loads(batch["ids"])[done : min(until, end)]
        reasons = [self._apply(batch, commission_id) for commission_id in chosen]
        errors = [reason for reason in reasons if reason is not None]
        if chosen or until >= end:
            changed = {
                "processed_count": batch["processed_count"] + len(chosen) - len(errors),
                "failed_count": batch["failed_count"] + len(errors),
                "processing_errors": json.dumps(json.loads(batch["processing_errors"]) + errors),
                "status": batch["end_status"] if until >= end else "in_progress",
                "updated_at": timestamp(),
            }
            columns = ", ".join(f"{column} = ?" for column in changed)
            self.store.execute(f"UPDATE batches SET {columns} WHERE id = ?", (*changed.values(), batch["id"]))
        return self._fetch(batch["id"])

    def _apply(self, batch: Row, commission_id: int) -> str | None:
        """Carry out the action for one commission; return the reason if it fails."""
        if commission_id in json.loads(batch["failing"]):
            return f"Commission {commission_id}: {batch['failing_message']}"
        commission = self.store.fetch_one(
            "SELECT * FROM commissions WHERE id = ? AND account = ?",
            (commission_id, batch["account"]),
        )
        if commission is None:
            return f"Commission {commission_id}: not found"
        if commission["is_paid"]:
            return f"Commission {commission_id}: is paid"
        self.store.update_commission(commission, status="denied")
        return None

    def _fetch(self, batch_id: int) -> Row:
        batch = self.store.fetch_one("SELECT * FROM batches WHERE id = ?", (batch_id,))
        assert batch
        return batch


def _parse_ids(raw: bytes) -> list[int]:
    try:
        return list(dict.fromkeys(DenyBody.model_validate_json(raw).ids))
    except ValidationError:
        raise ApiError(422, "ids must be a list of commission ids", code="unprocessable_entity") from None
