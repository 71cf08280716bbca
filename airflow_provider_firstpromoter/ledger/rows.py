"""The values of the ledger's columns, for each kind of change."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_provider_firstpromoter.calls import Outcome, Result, Row
from airflow_provider_firstpromoter.ledger.records import LedgerRecord, LedgerWrite, RunKey


def ledger_row(account: str, write: LedgerWrite, run: RunKey) -> dict[str, Any]:
    """Return the row of a result."""
    result = write.result
    return {
        "account": account,
        "event_id": result.event_id,
        "outcome": result.outcome,
        "http_status": result.http_status,
        "message": result.message,
        "row_amount": write.row_amount,
        **_sent_columns(write),
        "recorded_amount": result.recorded_amount,
        "firstpromoter_id": result.firstpromoter_id,
        **reward_columns(result),
        "promoter_id": result.commissions[0].promoter_id if result.commissions else None,
        "promoter_ref": result.commissions[0].promoter_ref if result.commissions else None,
        "lead_id": result.lead_id,
        "details": result.to_details(),
        "fingerprint": write.fingerprint,
        "row_digest": write.row_digest,
        **run._asdict(),
        "first_sent_at": write.at if result.sent else None,
        "refunded_at": write.refunded_at,
        "judged_at": write.at,
        "last_seen_at": write.seen_at,
        "changed_amount": None,
        "reported_at": None,
        "reported_run_id": None,
        "accepted_at": None,
        "reverted_at": None,
        "reverted_run_id": None,
    }


def _sent_columns(write: LedgerWrite) -> dict[str, Any]:
    """Return what was sent last and when: a row that validation refuses does not end that."""
    before, refund = write.sent_before, write.refund
    last = refund or before
    return {
        "sent_amount": refund.amount if refund else before and before.sent_amount,
        "sent_currency": refund.currency if refund else before and before.sent_currency,
        "sale_event_id": last and last.sale_event_id,
        "last_sent_at": write.at if write.result.sent else before and before.last_sent_at,
    }


def changed_row(account: str, record: LedgerRecord, amount: str, seen_at: datetime) -> dict[str, Any]:
    """Return the columns for the new amount of a recorded refund's row: not reported and not accepted yet."""
    return {
        "account": account,
        "event_id": record.event_id,
        "outcome": record.outcome,
        "changed_amount": amount,
        "last_seen_at": seen_at,
        "reported_at": None,
        "reported_run_id": None,
        "accepted_at": None,
    }


def renewed_row(
    account: str, record: LedgerRecord, row: Row, fingerprint: str | None, row_digest: str | None
) -> dict[str, Any]:
    """Return the columns by which the same content of the row is recognised next time."""
    return {
        "account": account,
        "event_id": record.event_id,
        "outcome": record.outcome,
        "row_amount": row.amount,
        "fingerprint": fingerprint,
        "row_digest": row_digest,
    }


def reward_row(account: str, record: LedgerRecord, result: Result) -> dict[str, Any]:
    """Return the columns of a reward that FirstPromoter's commissions show."""
    first = result.commissions[0] if result.commissions else None
    return {
        "account": account,
        "event_id": record.event_id,
        "outcome": record.outcome,
        "recorded_amount": record.recorded_amount or result.recorded_amount,
        **reward_columns(result),
        "promoter_id": record.promoter_id or (first and first.promoter_id),
        "lead_id": record.lead_id or result.lead_id,
        "details": record.details if record.reward_id else result.to_details(),
    }


def recovered_row(account: str, record: LedgerRecord, result: Result, at: datetime) -> dict[str, Any]:
    """Return the columns that say that a refund which was sent turned out to be recorded."""
    return {
        **reward_row(account, record, result),
        "outcome": result.outcome,
        # What the rejected row says now was not sent: it is compared with what is recorded.
        "row_amount": None if record.outcome is Outcome.REJECTED else record.row_amount,
        "http_status": result.http_status,
        "message": result.message,
        "recorded_amount": result.recorded_amount,
        "details": result.model_copy(update={"lost": record.lost}).to_details(),
        "fingerprint": None,
        "row_digest": None,
        "judged_at": at,
        "last_seen_at": None,
        "reported_at": None,
        "reported_run_id": None,
    }


def reward_columns(result: Result) -> dict[str, Any]:
    """Return the columns that describe the commissions of a result together."""
    by_unit = {one.unit: one for one in reversed(result.commissions)}
    first = by_unit.get("cash") or (result.commissions[0] if result.commissions else None)
    known = [one.amount for one in result.commissions if first and one.unit == first.unit and one.amount is not None]
    return {
        "reward_id": first and first.id,
        "reward_status": first and ("paid" if first.is_paid else first.status),
        "reward_amount": sum(known) if known else None,
        "reward_unit": first and first.unit,
    }
