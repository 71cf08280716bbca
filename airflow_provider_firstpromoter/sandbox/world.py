"""A sandbox in the hand: what tests, the demo and the control endpoints do to it and ask of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_firstpromoter.sandbox.api import Door, make_api
from airflow_provider_firstpromoter.sandbox.books import Books, now
from airflow_provider_firstpromoter.sandbox.faults import Fault, Faults, Kind
from airflow_provider_firstpromoter.sandbox.front import REFUND, Front
from airflow_provider_firstpromoter.sandbox.limits import RateLimit
from airflow_provider_firstpromoter.sandbox.settings import Settings
from airflow_provider_firstpromoter.sandbox.tracking import Tracking


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
class Recorded:
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


class Sandbox:
    """
    :param settings: how it behaves
    :param base_url: where it can be reached, once it is served
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.base_url = ""
        self.books = Books(settings.state)
        self.faults = Faults(settings.seed)
        self.limit = RateLimit(settings.requests_per_minute, settings.window_seconds)
        tracking = Tracking(self.books, settings.commission_percent, settings.unbought_uses_event_id)
        self.api = make_api(Door(settings, self.limit), tracking)
        self.app = Front(self.api, self.books, self.faults)

    @property
    def account_id(self) -> str:
        """The id of the first account."""
        return self.settings.accounts[0].id

    @property
    def api_key(self) -> str:
        """The key of the first account."""
        return self.settings.accounts[0].api_key

    def add_lead(
        self,
        *,
        email: str | None = None,
        uid: str | None = None,
        promoter: str = "ref1",
        bought: bool = True,
        unit: str = "cash",
        account: str | None = None,
    ) -> None:
        """
        Add a referred customer.

        :param promoter: the referral id of whoever referred it; made on the spot, earning in ``unit``
        :param bought: a refund of a lead that never bought is answered with 204
        :param account: an account's id; None is the first
        :raises ValueError: neither e-mail nor uid
        """
        lead = {"email": email, "uid": uid, "promoter": promoter, "bought": bought, "unit": unit}
        self.add_leads([lead], account=account)

    def add_leads(self, leads: Iterable[Mapping[str, Any]], *, account: str | None = None) -> int:
        """
        Add many customers at once, as :meth:`add_lead` does one.

        :param leads: each with some of ``email, uid, promoter, bought, unit``
        :return: how many there were
        :raises ValueError: neither e-mail nor uid in one of them; then none is added
        """
        account = account or self.account_id
        promoters: dict[str, int] = {}
        moment = now()
        count = 0

        def rows() -> Iterable[tuple[Any, ...]]:
            nonlocal count
            for lead in leads:
                email, uid, ref_id = lead.get("email"), lead.get("uid"), lead.get("promoter", "ref1")
                if email is None and uid is None:
                    raise ValueError("a lead needs an e-mail address or a uid")
                if ref_id not in promoters:
                    promoters[ref_id] = self.books.promoter(account, ref_id, lead.get("unit", "cash"))["id"]
                bought = moment if lead.get("bought", True) else None
                count += 1
                yield account, email, uid, promoters[ref_id], moment, bought

        self.books.many(
            "INSERT INTO leads (account, email, uid, promoter_id, created_at, customer_since) VALUES (?,?,?,?,?,?)",
            rows(),
        )
        return count

    def ban(self, promoter: str, *, account: str | None = None) -> None:
        """Ban a promoter: its leads are then as good as unknown."""
        self.books.all(
            "UPDATE promoters SET status = 'banned' WHERE account = ? AND ref_id = ?",
            (account or self.account_id, promoter),
        )

    def fault(self, kind: Kind, **how: Any) -> None:
        """
        Let requests go wrong.

        :param kind: what goes wrong
        :param how: the further fields of :class:`~airflow_provider_firstpromoter.sandbox.faults.Fault`
        """
        self.faults.add(Fault(kind, **how))

    def clear_faults(self) -> None:
        """Let everything go well again."""
        self.faults.clear()

    def refund_requests(self, *, after: int = 0, limit: int = -1) -> list[RefundRequest]:
        """
        :param after: how many to pass over
        :param limit: how many to return at most; -1 is all
        :return: the refund calls in the order in which they came
        """
        rows = self.books.all(
            "SELECT * FROM requests WHERE path = ? AND method = 'POST' ORDER BY id LIMIT ? OFFSET ?",
            (REFUND, limit, after),
        )
        return [
            RefundRequest(
                _body(row["body"]),
                row["status"],
                row["at"],
                row["received_at"],
                json.loads(row["headers"]),
                row["account"],
            )
            for row in rows
        ]

    def recorded(self, *, account: str | None = None, after: int = 0, limit: int = -1) -> list[Recorded]:
        """
        :param account: only those of this account; None is all
        :return: the refunds in the books, in the order in which they were recorded
        """
        rows = self.books.all(
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
        return [Recorded(**row) for row in rows]

    def request_counts(self) -> dict[str, dict[str, int]]:
        """:return: how often each ``METHOD path`` was answered with each status; ``none`` is no answer"""
        counts: dict[str, dict[str, int]] = {}
        for row in self.books.all(
            "SELECT method || ' ' || path AS call, coalesce(status, 'none') AS status, count(*) AS n "
            "FROM requests GROUP BY 1, 2"
        ):
            counts.setdefault(row["call"], {})[str(row["status"])] = row["n"]
        return counts

    def reset(self) -> None:
        """Forget everything: books, faults, and the requests that count towards the limit."""
        self.books.reset()
        self.faults.clear()
        self.limit.reset()


def _body(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")
