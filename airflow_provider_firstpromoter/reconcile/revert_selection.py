"""Selects the refunds to revert: by event_id, by DAG run, or by time window. It never selects all refunds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import pendulum

from airflow_provider_firstpromoter.ledger import LedgerRecord, RefundLedger, first_sent_between, sent_by_run


@dataclass(frozen=True)
class Selection:
    """
    Which refunds to revert, in exactly one of three ways.

    :param event_ids: these refunds
    :param dag_id: with ``run_id``: the refunds that this DAG run sent and that are or may be recorded, in all its tasks
    :param run_id: with ``dag_id``, because runs of several DAGs can have the same one
    :param sent_from: the refunds that were first sent at this time or later
    :param sent_to: with ``sent_from``: and before this time
    """

    event_ids: tuple[str, ...] | None = None
    dag_id: str | None = None
    run_id: str | None = None
    sent_from: datetime | None = None
    sent_to: datetime | None = None

    @classmethod
    def of(
        cls, event_ids: Any = None, dag_id: Any = None, run_id: Any = None, sent_from: Any = None, sent_to: Any = None
    ) -> Selection:
        """
        Make a selection from an operator's parameters; empty ones count as absent.

        :raises ValueError: if they select nothing, or in more than one way, or a parameter cannot be used
        """
        selection = cls(
            _event_ids(event_ids),
            dag_id or None,
            run_id or None,
            _moment("sent_from", sent_from),
            _moment("sent_to", sent_to),
        )
        _check_ways(selection.event_ids, selection.dag_id, selection.run_id, selection.sent_from, selection.sent_to)
        if selection.sent_from and selection.sent_to and selection.sent_to <= selection.sent_from:
            raise ValueError(f"sent_to ({selection.sent_to}) is not after sent_from ({selection.sent_from})")
        return selection

    def records(self, ledger: RefundLedger) -> Iterator[LedgerRecord]:
        """
        Read the selected refunds from the ledger.

        :raises LedgerError: if the database cannot be read
        """
        if self.event_ids is not None:
            yield from ledger.find(set(self.event_ids)).values()
        elif self.dag_id is not None and self.run_id is not None:
            yield from sent_by_run(ledger, self.dag_id, self.run_id)
        elif self.sent_from is not None:
            yield from first_sent_between(ledger, self.sent_from, self.sent_to)

    def __str__(self) -> str:
        if self.event_ids is not None:
            return f"{len(set(self.event_ids))} event_ids"
        if self.run_id is not None:
            return f"run {self.run_id!r} of DAG {self.dag_id!r}"
        return f"first sent from {self.sent_from} to {self.sent_to or 'now'}"


def _check_ways(event_ids: Any, dag_id: Any, run_id: Any, sent_from: Any, sent_to: Any) -> None:
    """
    Require exactly one way to select refunds.

    :raises ValueError: if there is none, or more than one, or half of one
    """
    run, window = (dag_id, run_id), (sent_from, sent_to)
    ways = [event_ids is not None, any(one is not None for one in run), any(one is not None for one in window)]
    if sum(ways) != 1:
        raise ValueError(
            "Select the refunds to revert in one way: event_ids, or dag_id and run_id, or sent_from and sent_to. "
            f"{'Nothing is selected, and all refunds are never reverted' if not any(ways) else 'Several are given'}"
        )
    if ways[1] and None in run:
        raise ValueError("A DAG run is selected by dag_id and run_id together: other DAGs can have the same run_id")
    if ways[2] and sent_from is None:
        raise ValueError("A time window needs sent_from; without sent_to it lasts until now")


def _event_ids(value: Any) -> tuple[str, ...] | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"event_ids must be a list of texts, not {type(value).__name__}")
    if not all(isinstance(one, str | int) and not isinstance(one, bool) for one in value):
        raise ValueError("event_ids must be a list of texts")
    return tuple(map(str, value)) or None


def _moment(name: str, value: Any) -> datetime | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = pendulum.parse(value)
        except ValueError:
            raise ValueError(f"{name} ({value!r}) is not a time such as 2026-01-31T14:00:00+00:00") from None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise ValueError(f"{name} must be a time or its text, not {type(value).__name__}")
