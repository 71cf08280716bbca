"""``GET /company/commissions``: reading a commission, pages of them, and those of one event."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import ValidationError

from airflow_provider_firstpromoter.api.responses import describe_failure
from airflow_provider_firstpromoter.calls import Call, Commission, event_id_of
from airflow_provider_firstpromoter.exceptions import AccessRefusedError, ReadError, UnreadableCommissionError

if TYPE_CHECKING:
    from airflow_provider_firstpromoter.api.client import Client

CommissionStatus = Literal["pending", "approved", "denied"]

#: The number of commissions on a page; the API returns no more.
PAGE_SIZE = 100
#: The number of pages in a row without a further commission after which reading ends with an error.
MOST_PAGES_WITHOUT_NEWS = 10


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
    referral, campaign = as_object(item.get("referral")), as_object(item.get("promoter_campaign"))
    return Commission.model_validate(
        {
            **item,
            "promoter_id": campaign.get("promoter_id"),
            "lead_id": referral.get("id"),
            "lead_uid": referral.get("uid"),
            "lead_email": referral.get("email"),
        }
    )


def answered_commissions(payload: Mapping[str, Any]) -> tuple[Commission, ...]:
    """
    Read the commissions of a 200 in either shape: the older one has one ``reward``, the newer one ``commissions``.

    A commission without a usable id is left out: it cannot be told from others, and the next reconciliation finds it.
    """
    items = payload.get("commissions")
    reward, lead, promoter = (as_object(payload.get(name)) for name in ("reward", "lead", "promoter"))
    older = {
        **reward,
        "tier": reward.get("tier_level"),
        "sale_amount": reward.get("conversion_amount"),
        "promoter_id": promoter.get("id"),
        "promoter_ref": promoter.get("default_ref_id"),
        "lead_id": lead.get("id"),
        "lead_uid": lead.get("uid"),
        "lead_email": lead.get("email"),
    }
    found: list[Commission] = []
    for item in items if isinstance(items, list) and items else [older] if reward else []:
        try:
            found.append(Commission.model_validate(item) if item is older else listed_commission(item))
        except ValidationError:
            continue
    return tuple(found)


def as_object(value: Any) -> dict[str, Any]:
    """Return a JSON object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def read_commissions(client: Client, **filters: Any) -> Iterator[CommissionPage]:
    """
    Read an account's commissions, oldest first, until a page is empty: a page may be shorter than was asked for.

    Each page is requested when the caller reaches it. Commissions that are added meanwhile come last. An item that is
    not an object, or whose id is not a positive whole number, is skipped and counted, because one malformed commission
    must not keep all others from being read.

    :param filters: those of :func:`commission_filters`
    :raises ReadError: if the API's response is not a page of commissions, or its pages do not end
    """
    params = {**commission_filters(**filters), "sorting[created_at]": "asc", "per_page": str(PAGE_SIZE)}
    seen: deque[int] = deque(maxlen=2 * PAGE_SIZE)  # a commission can move to the next page between two requests
    pages: set[int] = set()  # one number a page, so that pages that begin again are noticed
    number, without_news = 1, 0
    while items := _page(client, {**params, "page": str(number)}):
        page = CommissionPage(number, [], [])
        ids = []
        for item in items:
            try:
                commission = listed_commission(item)
            except ValidationError:
                page.unreadable.append(event_id_of(item) if isinstance(item, dict) else None)
                continue
            ids.append(commission.id)
            if commission.id not in seen:
                seen.append(commission.id)
                page.commissions.append(commission)
        yield page
        without_news = 0 if page.commissions and hash(tuple(ids)) not in pages else without_news + 1
        pages.add(hash(tuple(ids)))
        if without_news == MOST_PAGES_WITHOUT_NEWS:
            raise ReadError(
                f"FirstPromoter's commissions could not be read: {without_news} pages up to page {number} "
                "repeat earlier ones or cannot be read"
            )
        number += 1


def find_commissions(client: Client, event_id: str, call: Call, log: logging.Logger) -> list[Commission]:
    """
    Look up the commissions of this call with exactly this event_id, in two requests.

    Only those with the call's sign are requested, because ``q`` finds every event_id that begins with this one, and the
    event_ids of many sales can begin with a short one. A filter leaves out commissions that lack its amount: where the
    first finds none, the other amount is tried.

    :param log: warned of other commissions that could not be read
    :returns: tiers and splits included
    :raises UnreadableCommissionError: if FirstPromoter has a commission with this event_id, but it is malformed
    """
    found: list[Commission] = []
    unreadable: dict[int, int] = {}
    for amount in ("sale_amount", "amount"):
        malformed = False
        for page in read_commissions(client, q=event_id, **sign_filter(call, amount)):
            found += [one for one in page.commissions if one.event_id == event_id and one.is_of(call)]
            malformed = malformed or event_id in page.unreadable
            if page.unreadable:
                unreadable[page.number] = max(unreadable.get(page.number, 0), len(page.unreadable))
        if found:
            break
        if malformed:
            raise UnreadableCommissionError(
                f"FirstPromoter has a commission of {call.name} {event_id!r}, but its id is not a positive whole number"
            )
    if unreadable:
        log.warning("%s %r was looked up: %s", call.name, event_id, describe_unreadable(unreadable))
    return found


def sign_filter(call: Call, amount: str = "sale_amount") -> dict[str, int]:
    """Return the filter that leaves out the commissions of calls with another sign."""
    return {f"{amount}_to": -1} if call.sign < 0 else {f"{amount}_from": 1}


def _page(client: Client, params: Mapping[str, str | list[str]]) -> list[Any]:
    try:
        response, attempts, _ = client.request("GET", "/company/commissions", params=params)
    except AccessRefusedError as error:
        raise AccessRefusedError(
            f"FirstPromoter's commissions could not be read: {error} "
            "An API key that may send events may lack the permission to read commissions."
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


def recorded_facts(commissions: Sequence[Commission]) -> dict[str, Any]:
    """Return the fields of a result that the commissions of its event tell."""
    first = min(commissions, key=lambda one: one.id)
    return {"recorded_amount": first.sale_amount, "lead_id": first.lead_id, "commissions": tuple(commissions)}


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
