"""The values of the ledger's columns, for each kind of change."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_provider_firstpromoter.calls import Outcome, Result, Row
from airflow_provider_firstpromoter.ledger.records import LedgerRecord, LedgerWrite, RunKey


def ledger_row(account: str, write: LedgerWrite, run: RunKey) -> dict[str, Any]:
    """Return the row of a result."""
    result = write.result
    reward, lead, promoter = result.reward, result.lead, result.promoter
    return {
        "account": account,
        "event_id": result.event_id,
        "outcome": result.outcome,
        "http_status": result.http_status,
        "message": result.message,
        "row_amount": write.row_amount,
        **_sent_columns(write),
        "recorded_amount": result.recorded_amount,
        "refund_id": result.refund_id,
        **_reward_columns(reward),
        "promoter_id": promoter.id if promoter else None,
        "promoter_ref": promoter.default_ref_id if promoter else None,
        "lead_id": lead.id if lead else None,
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
    lead, promoter = result.lead, result.promoter
    return {
        "account": account,
        "event_id": record.event_id,
        "outcome": record.outcome,
        "recorded_amount": record.recorded_amount or result.recorded_amount,
        **_reward_columns(result.reward),
        "promoter_id": record.promoter_id or (promoter.id if promoter else None),
        "lead_id": record.lead_id or (lead.id if lead else None),
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


def _reward_columns(reward: Any) -> dict[str, Any]:
    return {
        "reward_id": reward.id if reward else None,
        "reward_status": reward.status if reward else None,
        "reward_amount": reward.amount if reward else None,
        "reward_unit": reward.unit if reward else None,
    }
