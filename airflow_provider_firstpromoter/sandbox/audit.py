"""Queries on what the sandbox received and recorded, to compare with what a client reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_firstpromoter.sandbox.batches import Batches
from airflow_provider_firstpromoter.sandbox.commissions import COUNTED
from airflow_provider_firstpromoter.sandbox.middleware import REFUND_PATH
from airflow_provider_firstpromoter.sandbox.store import Store


@dataclass(frozen=True)
class RefundRequest:
    """
    One ``POST /track/refund`` as the sandbox received it.

    :param body: the parsed JSON, or the text if it is not JSON
    :param status: the status of the response; None if no response was sent (yet)
    :param at: the time of arrival, in seconds of the machine's monotonic clock
    :param received_at: the time of arrival in UTC
    :param headers: some of the headers, with names in lower case; ``authorization`` has only the length of its value
    :param account: the value of the ``Account-ID`` header
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
    One refund that the sandbox recorded.

    :param amount_cents: negative, in the account's currency
    :param original_amount: negative, in the currency of the refund
    :param reward_amount: the negative commission, in ``reward_unit``
    :param reward_status: the status of the commission now: ``pending``, ``approved``, ``denied`` or ``destroyed``
    :param recorded_at: the time of recording in UTC
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
    reward_status: str
    promoter_id: int
    promoter_ref_id: str
    lead_email: str | None
    lead_uid: str | None
    recorded_at: str


@dataclass(frozen=True)
class Balance:
    """
    What a promoter has earned in one unit.

    :param amount: the sum of the commissions that are neither denied nor deleted; in cents if the unit is ``cash``
    """

    account: str
    promoter_id: int
    promoter_ref_id: str
    unit: str
    amount: int


class Audit:
    """
    Reports what the sandbox received and recorded.

    :param store: the data of the sandbox
    :param batches: changes commissions as time passes, which the reports on commissions have to show
    """

    def __init__(self, store: Store, batches: Batches) -> None:
        self.store = store
        self.batches = batches

    def refund_requests(self, *, after: int = 0, limit: int = -1) -> list[RefundRequest]:
        """
        List the refund calls that the sandbox received.

        :param after: the number of calls to skip
        :param limit: the largest number of calls to return; -1 is all
        :return: the calls, in the order of their arrival
        """
        rows = self.store.execute(
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

    def recorded(self, *, account: str | None = None, after: int = 0, limit: int = -1) -> list[RecordedRefund]:
        """
        List the refunds that the sandbox recorded.

        :param account: the account whose refunds to return; None is all accounts
        :param after: the number of refunds to skip
        :param limit: the largest number of refunds to return; -1 is all
        :return: the refunds, in the order in which they were recorded
        """
        self.batches.advance()
        rows = self.store.execute(
            """
            SELECT r.account, r.event_id, r.sale_event_id, r.amount_cents, r.original_amount, r.currency, r.quantity,
                   c.id AS reward_id, c.amount AS reward_amount, c.unit AS reward_unit,
                   CASE WHEN c.destroyed_at IS NULL THEN c.status ELSE 'destroyed' END AS reward_status,
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

    def balances(self, *, account: str | None = None) -> list[Balance]:
        """
        Add up the commissions of each promoter that are neither denied nor deleted.

        :param account: the account whose promoters to return; None is all accounts
        :return: one balance for each promoter and unit, in the order of the promoters' creation
        """
        self.batches.advance()
        rows = self.store.execute(
            f"""
            SELECT p.account, promoter_id, p.ref_id AS promoter_ref_id, sums.unit, amount
            FROM (
                SELECT promoter_id, unit, sum(amount) AS amount FROM commissions
                WHERE (:account IS NULL OR account = :account) AND {COUNTED} GROUP BY promoter_id, unit
            ) sums
            JOIN promoters p ON p.id = promoter_id
            ORDER BY promoter_id, sums.unit
            """,
            {"account": account},
        )
        return [Balance(**row) for row in rows]

    def request_times(self, *, account: str | None = None, path: str = "") -> list[float]:
        """
        List the times of all requests to the API, including rejected ones.

        :param account: the account id that the requests carry; None is all requests
        :param path: the end of the requests' path, such as ``/company/commissions``; an empty text is all paths
        :return: the time of each request's arrival, in seconds of the machine's monotonic clock
        """
        rows = self.store.execute(
            "SELECT at FROM requests WHERE (:account IS NULL OR account = :account) "
            "AND substr(path, -length(:path), length(:path)) = :path ORDER BY id",
            {"account": account, "path": path},
        )
        return [row["at"] for row in rows]

    def request_counts(self) -> dict[str, dict[str, int]]:
        """
        Count the requests by path and status.

        :return: for each ``METHOD path`` the number of responses by status; ``none`` means that no response was sent
        """
        counts: dict[str, dict[str, int]] = {}
        for row in self.store.execute(
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
