"""What the sandbox saw and recorded: the independent witness to what a client says it did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_firstpromoter.sandbox.middleware import REFUND_PATH
from airflow_provider_firstpromoter.sandbox.store import Store


@dataclass(frozen=True)
class RefundRequest:
    """
    One ``POST /track/refund`` as it came.

    :param body: the parsed JSON, or the text if it is none
    :param status: that was answered; None if no answer went out (yet)
    :param at: when it came, in seconds of the machine's monotonic clock
    :param received_at: when it came, in UTC
    :param headers: some of them, in lower case; of ``authorization`` only the length
    :param account: what the ``Account-ID`` header said
    """

    body: Any
    status: int | None
    at: float
    received_at: str
    headers: Mapping[str, str]
    account: str | None


@dataclass(frozen=True)
class RecordedRefund:
    """
    One refund in the books.

    :param amount_cents: negative, in the account's currency
    :param original_amount: negative, in the currency of the refund
    :param reward_amount: the negative commission, in ``reward_unit``
    :param recorded_at: in UTC
    """

    account: str
    event_id: str
    sale_event_id: str | None
    amount_cents: int
    original_amount: int
    currency: str
    quantity: int
    reward_id: int
    reward_amount: int
    reward_unit: str
    promoter_id: int
    promoter_ref_id: str
    lead_email: str | None
    lead_uid: str | None
    recorded_at: str


def refund_requests(store: Store, after: int, limit: int) -> list[RefundRequest]:
    """
    :param after: how many to pass over
    :param limit: how many to return at most; -1 is all
    :return: the refund calls in the order in which they came
    """
    rows = store.execute(
        "SELECT * FROM requests WHERE path = ? AND method = 'POST' ORDER BY id LIMIT ? OFFSET ?",
        (REFUND_PATH, limit, after),
    )
    return [
        RefundRequest(
            body=_body(row["body"]),
            status=row["status"],
            at=row["at"],
            received_at=row["received_at"],
            headers=json.loads(row["headers"]),
            account=row["account"],
        )
        for row in rows
    ]


def recorded(store: Store, account: str | None, after: int, limit: int) -> list[RecordedRefund]:
    """
    :param account: only those of this account; None is all
    :param after: how many to pass over
    :param limit: how many to return at most; -1 is all
    :return: the refunds in the books, in the order in which they were recorded
    """
    rows = store.execute(
        """
        SELECT r.account, r.event_id, r.sale_event_id, r.amount_cents, r.original_amount, r.currency, r.quantity,
               c.id AS reward_id, c.amount AS reward_amount, c.unit AS reward_unit,
               p.id AS promoter_id, p.ref_id AS promoter_ref_id,
               l.email AS lead_email, l.uid AS lead_uid, r.recorded_at
        FROM refunds r
        JOIN commissions c ON c.id = r.commission_id
        JOIN promoters p ON p.id = c.promoter_id
        JOIN leads l ON l.id = r.lead_id
        WHERE :account IS NULL OR r.account = :account
        ORDER BY r.id LIMIT :limit OFFSET :after
        """,
        {"account": account, "after": after, "limit": limit},
    )
    return [RecordedRefund(**row) for row in rows]


def request_times(store: Store, account: str | None, path: str) -> list[float]:
    """
    :param account: only requests in the name of this account; None is all
    :param path: only requests whose path ends so; an empty text is all
    :return: when each request to the API came, refused ones too, in seconds of the machine's monotonic clock
    """
    rows = store.execute(
        "SELECT at FROM requests WHERE (:account IS NULL OR account = :account) "
        "AND substr(path, -length(:path), length(:path)) = :path ORDER BY id",
        {"account": account, "path": path},
    )
    return [row["at"] for row in rows]


def request_counts(store: Store) -> dict[str, dict[str, int]]:
    """:return: how often each ``METHOD path`` was answered with each status; ``none`` is no answer"""
    counts: dict[str, dict[str, int]] = {}
    for row in store.execute(
        "SELECT method || ' ' || path AS call, coalesce(status, 'none') AS status, count(*) AS n "
        "FROM requests GROUP BY 1, 2"
    ):
        counts.setdefault(row["call"], {})[str(row["status"])] = row["n"]
    return counts


def _body(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return raw.decode("utf-8", "replace")
