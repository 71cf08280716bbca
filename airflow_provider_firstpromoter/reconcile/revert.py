"""One revert: selects refunds, reads their commissions, and reports or denies them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_firstpromoter.calls import parameter_time
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import (
    Ledger,
    LedgerRecord,
    RunKey,
    now,
)
from airflow_provider_firstpromoter.reconcile.denial import CommissionDenier
from airflow_provider_firstpromoter.reconcile.revert_check import CheckedEvent, Decision, check
from airflow_provider_firstpromoter.reconcile.revert_report import RevertReport
from airflow_provider_firstpromoter.reconcile.scaffold import LedgerRun


@dataclass(frozen=True)
class RevertSelection:
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
    ) -> RevertSelection:
        """
        Make a selection from an operator's parameters; empty ones count as absent.

        :raises ValueError: if they select nothing, or in more than one way, or a parameter cannot be used
        """
        selection = cls(
            _event_ids(event_ids),
            dag_id or None,
            run_id or None,
            parameter_time("sent_from", sent_from),
            parameter_time("sent_to", sent_to),
        )
        _check_ways(selection.event_ids, selection.dag_id, selection.run_id, selection.sent_from, selection.sent_to)
        if selection.sent_from and selection.sent_to and selection.sent_to <= selection.sent_from:
            raise ValueError(f"sent_to ({selection.sent_to}) is not after sent_from ({selection.sent_from})")
        return selection

    def records(self, ledger: Ledger) -> Iterator[LedgerRecord]:
        """
        Read the selected refunds from the ledger.

        :raises LedgerError: if the database cannot be read
        """
        if self.event_ids is not None:
            yield from ledger.find(set(self.event_ids)).values()
        elif self.dag_id is not None and self.run_id is not None:
            yield from ledger.sent_by_run(self.dag_id, self.run_id)
        elif self.sent_from is not None:
            yield from ledger.first_sent_between(self.sent_from, self.sent_to)

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
            "Select what to revert in one way: event_ids, or dag_id and run_id, or sent_from and sent_to. "
            f"{'Nothing is selected, and never all is reverted' if not any(ways) else 'Several are given'}"
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


class Revert(LedgerRun[RevertReport]):
    """
    Denies the negative commissions that the selected refunds made, or reports what it would deny.

    FirstPromoter is changed first and the ledger after it, call by call: a run that is killed in between leaves denied
    commissions that the ledger does not know, and the next run sees them as denied and only updates the ledger. Every
    call can be repeated, also by two runs at once.

    :param preview: True only reports; nothing is denied or written
    :param max_reverted: the number of refunds above which nothing is denied
    :param run: the task run that the ledger names as the one that reverted
    """

    KIND = "revert"

    def __init__(
        self,
        hook: FirstPromoterHook,
        ledger: Ledger,
        selection: RevertSelection,
        *,
        preview: bool = True,
        max_reverted: int = 0,
        run: RunKey | None = None,
        try_number: int = 1,
        log: logging.Logger | None = None,
    ) -> None:
        report = RevertReport(str(selection), preview, plural=ledger.call.plural)
        super().__init__(hook, ledger, report, run=run, try_number=try_number, writes=not preview, log=log)
        self.selection = selection
        self.max_reverted = max_reverted

    def _work(self) -> None:
        checked = self._check()
        if self.writes:
            self.report.raise_if_more_than(self.max_reverted)
            denied = [one.event_id for one in checked if one.decision is Decision.ALREADY_DENIED]
            self.ledger.mark_reverted(denied, self.run_key, now())
            CommissionDenier(self).deny([one for one in checked if one.decision is Decision.REVERT])
        for warning in self.report.incomplete:
            self.log.warning("%s", warning)

    def _check(self) -> list[CheckedEvent]:
        """Read the selected refunds and their commissions, and decide what to do with each."""
        records = {record.event_id: record for record in self.selection.records(self.ledger)}
        self.log.info("%s %s are selected (%s)", len(records), self.report.plural, self.selection)
        sent = [one for one in records.values() if one.first_sent_at is not None and not one.unresolved]
        found = self.reader.of_records(sent)
        moment = now()
        # A kill hides the sender. Who names the event_ids may say that the killed run was it.
        killed = self.history.unfinished() if self.selection.event_ids is not None else []
        checked = [
            check(record, found.get(event_id, []), self.ledger.call.sign, now=moment, killed=killed)
            for event_id, record in records.items()
        ]
        unknown = sorted(set(self.selection.event_ids or ()) - records.keys())
        checked += [CheckedEvent(one, Decision.NOT_RECORDED, notes=("the ledger has no row",)) for one in unknown]
        for refund in checked:
            self.report.add(refund)
        for record in self._sent_by_unknown(records.values()):
            if record.event_id not in records:
                note = f"the ledger has it as {record.outcome}, and which run sent it first is not known"
                self.report.add(CheckedEvent(record.event_id, Decision.SENDER_UNKNOWN, record.commissions, (note,)))
        return checked

    def _sent_by_unknown(self, selected: Iterable[LedgerRecord]) -> Iterator[LedgerRecord]:
        """Read what became recorded since the selected run began, and may be that run's because a kill hid it."""
        dag_id, run_id = self.selection.dag_id, self.selection.run_id
        if dag_id is None or run_id is None:
            return
        starts = [one.first_sent_at for one in selected if one.first_sent_at is not None]
        start = min([*starts, *filter(None, [self.history.first_start(dag_id, run_id)])], default=None)
        if start is not None:
            yield from self.ledger.sent_by_unknown(start)
