"""Finds commissions that reverse a refund a second time, because something else tracks refunds too."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple


class Reversal(NamedTuple):
    """
    A refund of one lead that FirstPromoter reversed.

    :param event_id: None if the commission has none
    :param commission_id: of the refund's first commission; 0 if it was not read
    :param moment: when it was sent or, if it was not sent, when the commission was made; seconds since 1970
    :param original: the amount and currency that the customer was paid back, as one text; None if not known
    :param amount: the same in the account's currency, in minor units; None if not known
    """

    event_id: str | None
    commission_id: int
    moment: float
    original: str | None
    amount: int | None


def match_duplicates(sent: Iterable[Reversal], unsent: Iterable[Reversal]) -> Iterator[tuple[Reversal, Reversal]]:
    """
    Match reversals that were not sent with refunds that were, by their amount; all are of one lead.

    A refund that was sent has at most one duplicate, so that a customer who is refunded the same price several times,
    and each time twice, has as many duplicates as refunds. Of several refunds with the same amount, the one nearest in
    time is taken. Amounts are compared in the customer's currency where both sides have that, and otherwise in the
    account's currency.

    :returns: each duplicate with the refund that was sent
    """
    pools: dict[Hashable, list[tuple[float, str, Reversal]]] = {}
    for one in sorted(sent, key=lambda one: (one.moment, one.event_id)):
        for key in _keys_of_sent(one):
            pools.setdefault(key, []).append((one.moment, one.event_id or "", one))
    for one in sorted(unsent, key=lambda one: (one.moment, one.commission_id)):
        candidates = [near for key in _keys_of_unsent(one) for near in _nearest(pools.get(key, []), one.moment)]
        if not candidates:
            continue
        chosen = min(candidates, key=lambda other: (abs(other.moment - one.moment), other.event_id))
        for key in _keys_of_sent(chosen):
            pools[key].remove((chosen.moment, chosen.event_id or "", chosen))
        yield one, chosen


def _keys_of_sent(one: Reversal) -> list[Hashable]:
    keys: list[Hashable] = []
    if one.original is not None:
        keys.append(("original", one.original))
    elif one.amount is not None:
        keys.append(("amount, original unknown", one.amount))
    if one.amount is not None:
        keys.append(("amount", one.amount))
    return keys


def _keys_of_unsent(one: Reversal) -> list[Hashable]:
    if one.original is None:
        return [("amount", one.amount)]
    return [("original", one.original), ("amount, original unknown", one.amount)]


def _nearest(pool: list[tuple[float, str, Reversal]], moment: float) -> list[Reversal]:
    """Return the last reversal before a moment and the first one after it."""
    place = bisect_left(pool, moment, key=lambda entry: entry[0])
    return [entry[2] for entry in pool[max(place - 1, 0) : place + 1]]
