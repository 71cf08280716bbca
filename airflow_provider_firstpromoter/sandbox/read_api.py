"""The read API: pages of commissions and promoters."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from starlette.datastructures import QueryParams

from airflow_provider_firstpromoter.sandbox.middleware import COMMISSIONS_PATH
from airflow_provider_firstpromoter.sandbox.responses import CAMPAIGN_ID, Commission, Promoter
from airflow_provider_firstpromoter.sandbox.settings import Settings
from airflow_provider_firstpromoter.sandbox.store import COMMISSIONS_SQL, Store, timestamp

#: The last Unicode character: every text with a given prefix sorts before the prefix followed by this character.
LAST_CHARACTER = "\U0010ffff"


def _reject_fraction(value: str) -> str:
    if not value.removeprefix("-").isdecimal():
        raise ValueError("should be a whole number")
    return value


#: A whole number as text; pydantic by itself would take ``0.0`` for one.
SafeInteger = Annotated[int, BeforeValidator(_reject_fraction), Field(ge=-(2**53), le=2**53)]


def _reject_bare_number(value: str) -> str:
    """Reject a number, which pydantic would accept as a Unix time although the API takes only dates."""
    if "-" not in value.lstrip("-"):
        raise ValueError("should be a date such as 2026-01-31")
    return value


DateOrDatetime = Annotated[date | datetime, BeforeValidator(_reject_bare_number)]


class Page(BaseModel):
    """
    The page of a list that a request asks for.

    :param page: the number of the page, starting at 1
    :param per_page: the number of items on a page; numbers above 100 count as 100
    """

    page: int = Field(1, ge=1, le=10**9)
    per_page: int = Field(20, ge=1, le=10**9)

    @classmethod
    def of(cls, parameters: QueryParams) -> Self:
        """
        Read the parameters of a request.

        FastAPI could do it, but loses those with an alias before version 0.123.3, which is too new for Airflow 3.1.

        :raises RequestValidationError: if a value is invalid
        """
        values = {name: parameters.getlist(name) if name.endswith("[]") else parameters[name] for name in parameters}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = [{**problem, "loc": ("query", *problem["loc"])} for problem in error.errors()]
            raise RequestValidationError(problems) from None

    def limit_and_offset(self, largest: int = 100) -> dict[str, int]:
        """Return the parameters of ``LIMIT :limit OFFSET :offset`` for pages of at most so many items."""
        limit = min(self.per_page, largest)
        return {"limit": limit, "offset": (self.page - 1) * limit}


class CommissionQuery(Page):
    """
    The query parameters of ``GET /company/commissions``.

    :param q: the prefix of an event_id, or of a referral's e-mail address or uid
    :param refunded: selects negative commissions; FirstPromoter does not document the meaning of this filter
    """

    q: str = ""
    ids: list[SafeInteger] = Field([], alias="ids[]")
    status: Literal["pending", "approved", "denied"] | None = Field(None, alias="filters[status]")
    created_from: DateOrDatetime | None = Field(None, alias="filters[created_at][from]")
    created_to: DateOrDatetime | None = Field(None, alias="filters[created_at][to]")
    sale_from: SafeInteger | None = Field(None, alias="filters[sale_amount][from]")
    sale_to: SafeInteger | None = Field(None, alias="filters[sale_amount][to]")
    amount_from: SafeInteger | None = Field(None, alias="filters[amount][from]")
    amount_to: SafeInteger | None = Field(None, alias="filters[amount][to]")
    refunded: bool | None = Field(None, alias="filters[refunded]")
    promoter_id: SafeInteger | None = Field(None, alias="filters[promoter_id]")
    campaign_id: SafeInteger | None = Field(None, alias="filters[campaign_id]")
    order: Literal["asc", "desc"] = Field("desc", alias="sorting[created_at]")

    def conditions(self) -> list[tuple[str, str, Any]]:
        """Return, for each filter in use, its SQL, the name of its parameter and the parameter's value."""
        filters: list[tuple[str, str, Any]] = [
            ("status = :status", "status", self.status),
            ("created_at >= :created_from", "created_from", _range_start(self.created_from)),
            ("created_at < :created_to", "created_to", _range_end(self.created_to)),
            ("sale_amount >= :sale_from", "sale_from", self.sale_from),
            ("sale_amount <= :sale_to", "sale_to", self.sale_to),
            ("amount >= :amount_from", "amount_from", self.amount_from),
            ("amount <= :amount_to", "amount_to", self.amount_to),
            ("(sale_amount < 0) = :refunded", "refunded", self.refunded),
            ("promoter_id = :promoter_id", "promoter_id", self.promoter_id),
            (f":campaign_id = {CAMPAIGN_ID}", "campaign_id", self.campaign_id),
            ("id IN (SELECT value FROM json_each(:ids))", "ids", json.dumps(self.ids) if self.ids else None),
            (f"id IN ({SEARCH_SQL})", "q", self.q or None),
        ]
        return [condition for condition in filters if condition[2] is not None]


#: Selects the commissions that ``q`` matches; each part of the union uses an index.
SEARCH_SQL = f"""
    SELECT id FROM commissions WHERE account = :account
        AND event_id COLLATE NOCASE >= :q AND event_id COLLATE NOCASE < :q || '{LAST_CHARACTER}'
    UNION SELECT id FROM commissions WHERE lead_id IN (
        SELECT id FROM leads WHERE account = :account
            AND email COLLATE NOCASE >= :q AND email COLLATE NOCASE < :q || '{LAST_CHARACTER}'
        UNION SELECT id FROM leads WHERE account = :account AND uid >= :q AND uid < :q || '{LAST_CHARACTER}'
    )
"""


def list_commissions(store: Store, account: str, query: CommissionQuery, settings: Settings) -> list[Commission]:
    """Return the commissions on a page; only an empty page is certainly the last one."""
    conditions = [*query.conditions(), *_lag_conditions(store, account, settings)]
    # The plus keeps SQLite from scanning the whole account by date where the filter selects only a few ids.
    account_column = "+account" if query.q or query.ids else "account"
    where = " AND ".join([f"{account_column} = :account", *(sql for sql, _, _ in conditions)])
    # The subquery reads only an index, so that even the last pages of a million commissions are fast.
    rows = store.execute(
        f"""
        {COMMISSIONS_SQL} WHERE c.id IN (
            SELECT id FROM commissions WHERE {where}
            ORDER BY created_at {query.order}, id {query.order} LIMIT :limit OFFSET :offset
        )
        ORDER BY c.created_at {query.order}, c.id {query.order}
        """,
        {
            "account": account,
            **query.limit_and_offset(settings.listing_page_size),
            **{name: value for _, name, value in conditions},
        },
    )
    return [Commission.of(row) for row in rows]


def _lag_conditions(store: Store, account: str, settings: Settings) -> list[tuple[str, str, Any]]:
    """Return the conditions, as :meth:`CommissionQuery.conditions` does, that omit what a lagging listing lacks."""
    conditions: list[tuple[str, str, Any]] = []
    if settings.listing_lag_seconds:
        until = timestamp(datetime.now(UTC) - timedelta(seconds=settings.listing_lag_seconds))
        conditions.append(("(after_request IS NULL OR created_at <= :listed_until)", "listed_until", until))
    if settings.listing_lag_requests:
        # A commission is listed by this request only if that many earlier ones have come since it was created.
        first = store.fetch_one(
            "SELECT id FROM requests WHERE method = 'GET' AND account = ? AND path = ? "
            "ORDER BY id DESC LIMIT 1 OFFSET ?",
            (account, COMMISSIONS_PATH, settings.listing_lag_requests),
        )
        conditions.append(
            ("(after_request IS NULL OR after_request < :first_request)", "first_request", first["id"] if first else 0)
        )
    return conditions


def list_promoters(store: Store, account: str, page: Page) -> list[Promoter]:
    """Return the promoters on a page, in the order of their creation."""
    rows = store.execute(
        "SELECT * FROM promoters WHERE account = :account ORDER BY id LIMIT :limit OFFSET :offset",
        {"account": account, **page.limit_and_offset()},
    )
    return [Promoter.of(row) for row in rows]


def _range_start(moment: date | datetime | None) -> str | None:
    if moment is None:
        return None
    return timestamp(moment) if isinstance(moment, datetime) else moment.isoformat()


def _range_end(moment: date | datetime | None) -> str | None:
    """Return the exclusive end of a range that includes the given moment or, for a date, the whole day."""
    if moment is None:
        return None
    if isinstance(moment, datetime):
        return timestamp(moment + timedelta(milliseconds=1))
    return (moment + timedelta(days=1)).isoformat()
