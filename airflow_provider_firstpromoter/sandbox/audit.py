"""Queries on what the sandbox received and recorded, to compare with what a client reports."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_firstpromoter.sandbox.batches import Batches
from airflow_provider_firstpromoter.sandbox.middleware import TRACK_PATH
from airflow_provider_firstpromoter.sandbox.store import COUNTED, Store


@dataclass(frozen=True)
class TrackingRequest:
    """
    One tracking call as the sandbox received it.

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
class RecordedCommission:
    """
    One commission of an event that the sandbox recorded, as it is now.

    :param amount: negative for a refund
    """

    id: int
    promoter_id: int
    promoter_ref_id: str
    tier: int
    amount: int
    unit: str
    status: str


@dataclass(frozen=True)
class RecordedEvent:
    """
    One refund or sale that the sandbox recorded.

    :param kind: ``refund`` or ``sale``
    :param amount_cents: in the account's currency; negative for a refund
    :param original_amount: in the currency of the event; negative for a refund
    :param recorded_at: the time of recording in UTC
    :param commissions: all commissions that it made so far; the attributes ``reward_...`` and ``promoter_...`` are
        those of the first
    """

    account: str
    kind: str
    event_id: str
    sale_event_id: str | None
    amount_cents: int
    original_amount: int
    currency: str
    quantity: int
    lead_email: str | None
    lead_uid: str | None
    recorded_at: str
    commissions: tuple[RecordedCommission, ...]

    @property
    def reward_id(self) -> int:
        """The id of the first commission."""
        return self.commissions[0].id

    @property
    def reward_amount(self) -> int:
        """The sum of the commissions in the unit of the first."""
        return sum(each.amount for each in self.commissions if each.unit == self.reward_unit)

    @property
    def reward_unit(self) -> str:
        """The unit of the first commission."""
        return self.commissions[0].unit

    @property
    def reward_status(self) -> str:
        """The status of the first commission."""
        return self.commissions[0].status

    @property
    def promoter_id(self) -> int:
        """The promoter of the first commission."""
        return self.commissions[0].promoter_id

    @property
    def promoter_ref_id(self) -> str:
        """The referral id of the promoter of the first commission."""
        return self.commissions[0].promoter_ref_id


@dataclass(frozen=True)
class Balance:
    """
    What a promoter has earned in one unit.

    :param amount: the sum of the commissions that are not denied; in cents if the unit is ``cash``
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

    def refund_requests(self, *, after: int = 0, limit: int = -1) -> list[TrackingRequest]:
        """List the refund calls; see :meth:`tracking_requests`."""
        return self.tracking_requests("refund", after=after, limit=limit)

    def sale_requests(self, *, after: int = 0, limit: int = -1) -> list[TrackingRequest]:
        """List the sale calls; see :meth:`tracking_requests`."""
        return self.tracking_requests("sale", after=after, limit=limit)

    def tracking_requests(self, call: str, *, after: int = 0, limit: int = -1) -> list[TrackingRequest]:
        """
        List the requests of a tracking call that the sandbox received.

        :param call: ``refund``, ``sale``, ``signup`` or ``cancellation``
        :param after: the number of requests to skip
        :param limit: the largest number of requests to return; -1 is all
        :return: the requests, in the order of their arrival
        """
        rows = self.store.execute(
            "SELECT * FROM requests WHERE path = ? AND method = 'POST' ORDER BY id LIMIT ? OFFSET ?",
            (TRACK_PATH + call, limit, after),
        )
        return [
            TrackingRequest(
                body=_body(row["body"]),
                status=row["status"],
                at=row["at"],
                received_at=row["received_at"],
                headers=json.loads(row["headers"]),
                account=row["account"],
            )
            for row in rows
        ]

    def recorded(
        self, kind: str | None = "refund", *, account: str | None = None, after: int = 0, limit: int = -1
    ) -> list[RecordedEvent]:
        """
        List the refunds or the sales that the sandbox recorded, and that have a commission.

        :param kind: ``refund`` or ``sale``; None is both
        :param account: the account whose events to return; None is all accounts
        :param after: the number of events to skip
        :param limit: the largest number of events to return; -1 is all
        :return: the events, in the order in which they were recorded
        """
        self.batches.advance()
        selected = """
            SELECT e.id, e.account, e.kind, e.event_id, sale_event_id, amount_cents, original_amount, currency,
                   quantity, l.email AS lead_email, l.uid AS lead_uid, recorded_at
            FROM events e JOIN leads l ON l.id = lead_id
            WHERE (:account IS NULL OR e.account = :account) AND (:kind IS NULL OR kind = :kind)
                AND EXISTS (SELECT 1 FROM commissions WHERE event = e.id)
            ORDER BY e.id LIMIT :limit OFFSET :after
        """
        parameters = {"kind": kind, "account": account, "after": after, "limit": limit}
        commissions: defaultdict[int, list[RecordedCommission]] = defaultdict(list)
        for row in self.store.execute(
            f"""
            WITH selected AS ({selected})
            SELECT event, c.id, promoter_id, ref_id AS promoter_ref_id, tier, amount, c.unit, c.status
            FROM selected JOIN commissions c ON event = selected.id JOIN promoters p ON p.id = promoter_id ORDER BY c.id
            """,
            parameters,
        ):
            commissions[row.pop("event")].append(RecordedCommission(**row))
        return [
            RecordedEvent(commissions=tuple(commissions[row.pop("id")]), **row)
            for row in self.store.execute(selected, parameters)
        ]

    def balances(self, *, account: str | None = None) -> list[Balance]:
        """
        Add up the commissions of each promoter that are not denied: what sales earned, less what refunds reversed.

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
