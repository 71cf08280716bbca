"""Looks up the commissions of single refunds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from airflow_provider_firstpromoter.calls import Commission
from airflow_provider_firstpromoter.exceptions import ReadError, UnreadableCommissionError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.reconcile.staging import RefundPair

#: The number of failed lookups in a row after which the API is taken to be down.
MOST_FAILED_LOOKUPS = 3


class Lookups:
    """Looks up refunds of the ledger in FirstPromoter, and counts the failures in a row."""

    def __init__(self, hook: FirstPromoterHook, log: logging.Logger) -> None:
        self.hook = hook
        self.log = log
        self._failed_in_a_row = 0

    def commissions_of(self, pairs: Iterable[RefundPair]) -> Iterator[tuple[RefundPair, list[Commission] | None]]:
        """
        Look up refunds one after the other.

        :returns: each refund with its negative commissions, or with None if they cannot be read
        :raises ReadError: if several lookups in a row fail
        :raises AccessRefusedError: on 401 and 403
        """
        for pair in pairs:
            assert pair.event_id is not None
            try:
                yield pair, self.hook.find_commissions(pair.event_id)
            except UnreadableCommissionError as error:
                self.log.warning("%s", error)
                yield pair, None
            except ReadError as error:
                self._failed_in_a_row += 1
                if self._failed_in_a_row == MOST_FAILED_LOOKUPS:
                    raise
                self.log.warning("Refund %r could not be looked up: %s", pair.event_id, error)
                yield pair, None
            else:
                self._failed_in_a_row = 0
