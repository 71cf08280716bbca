"""Finds commissions that record an event a second time, because something else tracks it too."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator
from datetime import timedelta
from typing import NamedTuple


class Recorded(NamedTuple):
    """
    An event of one lead that FirstPromoter has recorded.

    :param event_id: None if the commission has none
    :param commission_id: of its first commission; 0 if it was not read
    :param moment: when it was sent or, if it was not sent, when the commission was made; seconds since 1970
    :param original: the amount and currency that the customer paid or was paid back, as one text; None if not known
    :param amount: the same in the account's currency, in minor units; None if not known
    """

    event_id: str | None
    commission_id: int
    moment: float
    original: str | None
    amount: int | None


def match_duplicates(
    sent: Iterable[Recorded], unsent: Iterable[Recorded], within: timedelta | None = None
) -> Iterator[tuple[Recorded, Recorded]]:
    """
    Match events that were not sent with events that were, by their amount; all are of one lead.

    One that was sent has at most one duplicate, so that a customer who is refunded the same price several times,
    and each time twice, has as many duplicates as refunds. Of several with the same amount, the one nearest in
    time is taken. Amounts are compared in the customer's currency where both sides have that, and otherwise in the
    account's currency.

    :param within: further apart they are no duplicates; None is no limit
    :returns: each duplicate with the event that was sent
    """
    pools: dict[Hashable, list[tuple[float, str, Recorded]]] = {}
    for one in sorted(sent, key=lambda one: (one.moment, one.event_id)):
        for key in _keys_of_sent(one):
            pools.setdefault(key, []).append((one.moment, one.event_id or "", one))
    for one in sorted(unsent, key=lambda one: (one.moment, one.commission_id)):
        candidates = [near for key in _keys_of_unsent(one) for near in _nearest(pools.get(key, []), one.moment)]
        if within is not None:
            candidates = [near for near in candidates if abs(near.moment - one.moment) <= within.total_seconds()]
        if not candidates:
            continue
        chosen = min(candidates, key=lambda other: (abs(other.moment - one.moment), other.event_id))
        for key in _keys_of_sent(chosen):
            pools[key].remove((chosen.moment, chosen.event_id or "", chosen))
        yield one, chosen


def _keys_of_sent(one: Recorded) -> list[Hashable]:
    keys: list[Hashable] = []
    if one.original is not None:
        keys.append(("original", one.original))
    elif one.amount is not None:
        keys.append(("amount, original unknown", one.amount))
    if one.amount is not None:
        keys.append(("amount", one.amount))
    return keys


def _keys_of_unsent(one: Recorded) -> list[Hashable]:
    if one.original is None:
        return [("amount", one.amount)]
    return [("original", one.original), ("amount, original unknown", one.amount)]


def _nearest(pool: list[tuple[float, str, Recorded]], moment: float) -> list[Recorded]:
    """Return the last event before a moment and the first one after it."""
    place = bisect_left(pool, moment, key=lambda entry: entry[0])
    return [entry[2] for entry in pool[max(place - 1, 0) : place + 1]]
