"""``GET /company/commissions``: reading a commission, pages of them, and those of one refund."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import ValidationError

from airflow_provider_firstpromoter.api.responses import describe_failure
from airflow_provider_firstpromoter.calls import Commission, event_id_of
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, ReadError, UnreadableCommissionError

if TYPE_CHECKING:
    from airflow_provider_firstpromoter.api.transport import Transport

CommissionStatus = Literal["pending", "approved", "denied"]

#: The number of commissions on a page; the API returns no more.
PAGE_SIZE = 100
#: The number of full pages in a row without a further commission after which reading ends with an error.
MOST_PAGES_WITHOUT_NEWS = 10
#: The filters that select negative commissions. The second finds those that have no sale_amount.
NEGATIVE: tuple[dict[str, int], ...] = ({"sale_amount_to": -1}, {"amount_to": -1})


class CommissionPage(NamedTuple):
    """
    One page of commissions.

    :param number: the number of the page, starting at 1
    :param commissions: the commissions on the page that were on no page before
    :param unreadable: the event_id of each item on the page that could not be read; None where it has none
    """

    number: int
    commissions: list[Commission]
    unreadable: list[str | None]


def listed_commission(item: Any) -> Commission:
    """
    Read a commission as ``GET /company/commissions`` and the newer shape of a 200 show it.

    :raises ValidationError: if it is not an object, or its id is not a positive whole number
    """
    if not isinstance(item, dict):
        return Commission.model_validate(item)
    referral, campaign = (_object(item.get(name)) for name in ("referral", "promoter_campaign"))
    return Commission.model_validate(
        {
            **item,
            "promoter_id": campaign.get("promoter_id"),
            "lead_id": referral.get("id"),
            "lead_uid": referral.get("uid"),
            "lead_email": referral.get("email"),
        }
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def read_commissions(transport: Transport, **filters: Any) -> Iterator[CommissionPage]:
    """
    Read an account's commissions, oldest first, one request per page of 100.

    Each page is requested when the caller reaches it. Commissions that are added meanwhile come last. An item that is
    not an object, or whose id is not a positive whole number, is skipped and counted, because one malformed commission
    must not keep all others from being read.

    :param filters: those of :func:`commission_filters`
    :raises ReadError: if the API's response is not a page of commissions, or its pages do not end
    :raises AccessRefusedError: on 401 and 403
    """
    params = {**commission_filters(**filters), "sorting[created_at]": "asc", "per_page": str(PAGE_SIZE)}
    seen: deque[int] = deque(maxlen=2 * PAGE_SIZE)  # a commission can move to the next page between two requests
    number, without_news = 1, 0
    while True:
        items = _page(transport, {**params, "page": str(number)})
        page = CommissionPage(number, [], [])
        for item in items:
            try:
                commission = listed_commission(item)
            except ValidationError:
                page.unreadable.append(event_id_of(item) if isinstance(item, dict) else None)
                continue
            if commission.id not in seen:
                seen.append(commission.id)
                page.commissions.append(commission)
        yield page
        if len(items) < PAGE_SIZE:
            return
        without_news = 0 if page.commissions else without_news + 1
        if without_news == MOST_PAGES_WITHOUT_NEWS:
            raise ReadError(
                f"FirstPromoter's commissions could not be read: {without_news} full pages up to page {number} "
                "repeat earlier ones or cannot be read"
            )
        number += 1


def find_commissions(transport: Transport, event_id: str) -> tuple[list[Commission], dict[int, int]]:
    """
    Look up the negative commissions with exactly this event_id: one request, or two if there are none.

    Only negative commissions are requested, because ``q`` finds every event_id that begins with this one, and the
    event_ids of many sales can begin with a short one.

    :returns: the commissions, tiers and splits included, and the numbers of other commissions that could not be read,
        by page
    :raises UnreadableCommissionError: if FirstPromoter has a commission with this event_id, but it is malformed
    :raises ReadError: as :func:`read_commissions`
    :raises AccessRefusedError: on 401 and 403
    """
    found: list[Commission] = []
    unreadable: dict[int, int] = {}
    malformed = False
    for negative in NEGATIVE:
        for page in read_commissions(transport, q=event_id, **negative):
            found += [one for one in page.commissions if one.event_id == event_id and one.is_reversal]
            malformed = malformed or event_id in page.unreadable
            if page.unreadable:
                unreadable[page.number] = max(unreadable.get(page.number, 0), len(page.unreadable))
        if found:
            return found, unreadable
        if malformed:
            raise UnreadableCommissionError(
                f"FirstPromoter has a commission of refund {event_id!r}, but its id is not a positive whole number"
            )
    return [], unreadable


def _page(transport: Transport, params: Mapping[str, str | list[str]]) -> list[Any]:
    try:
        response, attempts, _ = transport.request("GET", "/company/commissions", params=params)
    except AccessRefusedError as error:
        raise AccessRefusedError(
            f"FirstPromoter's commissions could not be read: {error} "
            "An API key that may send refunds may lack the permission to read commissions."
        ) from None
    if response.status != 200 or not isinstance(response.payload, list):
        raise ReadError(f"FirstPromoter's commissions could not be read: {describe_failure(response, attempts)}")
    return response.payload


def describe_unreadable(counts: Mapping[int, int]) -> str:
    """
    Describe in one sentence how many commissions could not be read, without any of their values.

    :param counts: the number of unreadable commissions by page; pages without any are left out
    """
    pages = [f"{count} commission{'s' * (count > 1)} on page {page}" for page, count in list(counts.items())[:5]]
    more = len(counts) - len(pages)
    return (
        f"{', '.join(pages)}{f' and others on {more} more pages' if more else ''} could not be read and "
        "were skipped: each is not an object, or its id is not a positive whole number"
    )


def reversal_from(event_id: str, commissions: Iterable[Commission]) -> dict[str, Any] | None:
    """
    Return what a refund reversed, according to the commissions of its event_id.

    Tiers and splits make several commissions of one event.

    :param commissions: may contain commissions of other events, and of a sale with the same event_id
    :returns: ``recorded_amount``, ``lead_id`` and ``commissions`` of a result; None if the refund has no negative
        commission
    """
    found = tuple(one for one in commissions if one.event_id == event_id and one.is_reversal)
    if not found:
        return None
    first = min(found, key=lambda one: one.id)
    return {"recorded_amount": first.sale_amount, "lead_id": first.lead_id, "commissions": found}


def commission_filters(
    *,
    created_from: Any = None,
    created_to: Any = None,
    status: CommissionStatus | None = None,
    refunded: bool | None = None,
    amount_from: int | None = None,
    amount_to: int | None = None,
    sale_amount_from: int | None = None,
    sale_amount_to: int | None = None,
    promoter_id: int | None = None,
    campaign_id: int | None = None,
    q: str | None = None,
    ids: Sequence[int] | None = None,
) -> dict[str, str | list[str]]:
    """
    Return the query parameters of ``GET /company/commissions``.

    A filter by an amount leaves out the commissions that have no such amount.

    :param created_from: a date or a time; the API compares dates
    :param created_to: likewise; that day is included
    :param amount_from: minor units if the commission is in ``cash``, as for the other amounts
    :param q: searches event_ids, e-mail addresses and uids; what it finds need not be equal to it
    :param ids: the ids of commissions
    """
    given = {
        "q": q,
        "filters[status]": status,
        "filters[refunded]": None if refunded is None else str(refunded).lower(),
        "filters[created_at][from]": _date(created_from),
        "filters[created_at][to]": _date(created_to),
        "filters[amount][from]": amount_from,
        "filters[amount][to]": amount_to,
        "filters[sale_amount][from]": sale_amount_from,
        "filters[sale_amount][to]": sale_amount_to,
        "filters[promoter_id]": promoter_id,
        "filters[campaign_id]": campaign_id,
    }
    filters: dict[str, str | list[str]] = {name: str(value) for name, value in given.items() if value is not None}
    if ids is not None:
        filters["ids[]"] = [str(one) for one in ids]
    return filters


def _date(value: Any) -> str | None:
    """Return a date, a datetime, a pendulum time or a text as a date of the API."""
    if value is None or isinstance(value, str):
        return value
    return str(value.date() if hasattr(value, "date") and callable(value.date) else value)
