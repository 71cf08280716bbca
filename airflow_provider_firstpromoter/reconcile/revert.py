"""One revert: selects events, reads their commissions, decides about each, and reports or denies them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_firstpromoter.api import MOST_IDS, Batch
from airflow_provider_firstpromoter.calls import Commission, Outcome, batches
from airflow_provider_firstpromoter.exceptions import EventsFailedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger, LedgerRecord, RunKey, now
from airflow_provider_firstpromoter.parameters import parameter_time
from airflow_provider_firstpromoter.reconcile.compare import compare_amounts, created_at
from airflow_provider_firstpromoter.reconcile.reading import CommissionReader
from airflow_provider_firstpromoter.reconcile.revert_report import CheckedEvent, Decision, RevertReport
from airflow_provider_firstpromoter.reconcile.scaffold import LedgerRun

#: The number of calls in a row that deny nothing after which the rest is left for a retry.
MOST_USELESS_CALLS = 3
#: The number of processing errors of a call that are kept.
MOST_ERRORS = 3
#: The number of event_ids that a printed command names.
MOST_PRINTED = 20
#: A commission that was made by more than this before or after the ledger's account sent the event was made by
#: something else. The ledger has the time of the response, which retries can delay, and clocks differ.
TOLERANCE = timedelta(hours=1)
#: For so long after its start, a run that was killed may have sent an event.
LONGEST_RUN = timedelta(days=7)


@dataclass(frozen=True)
class RevertSelection:
    """
    Which events to revert, in exactly one of three ways.

    :param event_ids: these
    :param dag_id: with ``run_id``: those that this DAG run sent and that are or may be recorded, in all its tasks
    :param run_id: with ``dag_id``, because runs of several DAGs can have the same one
    :param sent_from: those that were first sent at this time or later
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
        ids, dag_id, run_id = _event_ids(event_ids), dag_id or None, run_id or None
        start, end = parameter_time("sent_from", sent_from), parameter_time("sent_to", sent_to)
        ways = [ids is not None, bool(dag_id or run_id), bool(start or end)]
        if sum(ways) != 1:
            raise ValueError(
                "Select what to revert in one way: event_ids, or dag_id and run_id, or sent_from and sent_to. "
                f"{'Several are given' if any(ways) else 'Nothing is selected, and never all is reverted'}"
            )
        if ways[1] and not (dag_id and run_id):
            raise ValueError("A DAG run is selected by dag_id and run_id together: other DAGs can have the same run_id")
        if ways[2] and start is None:
            raise ValueError("A time window needs sent_from; without sent_to it lasts until now")
        if start and end and end <= start:
            raise ValueError(f"sent_to ({end}) is not after sent_from ({start})")
        return cls(ids, dag_id, run_id, start, end)

    def records(self, ledger: Ledger) -> Iterator[LedgerRecord]:
        """Read the selected events from the ledger."""
        if self.event_ids is not None:
            yield from ledger.find(set(self.event_ids)).values()
        elif self.dag_id is not None and self.run_id is not None:
            yield from ledger.sent_by_run(self.dag_id, self.run_id)
        elif self.sent_from is not None:
            yield from ledger.first_sent_between(self.sent_from, self.sent_to)

    def options(self) -> list[str]:
        """Return the selection as options of the command ``revert``; empty if it names too many event_ids."""
        ids = [f"--event-id={one}" for one in self.event_ids or ()]
        if self.run_id is not None:
            return [f"--dag-id={self.dag_id}", f"--run-id={self.run_id}"]
        window = {"--sent-from": self.sent_from, "--sent-to": self.sent_to}
        times = [f"{name}={time.isoformat()}" for name, time in window.items() if time]
        return times or (ids if len(ids) <= MOST_PRINTED else [])

    def __str__(self) -> str:
        if self.event_ids is not None:
            count = len(set(self.event_ids))
            return f"{count} event_id{'s' if count > 1 else ''}"
        if self.run_id is not None:
            return f"run {self.run_id!r} of DAG {self.dag_id!r}"
        return f"first sent from {self.sent_from} to {self.sent_to or 'now'}"


def _event_ids(value: Any) -> tuple[str, ...] | None:
    if value is None or value == "":
        return None
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if not is_list or any(isinstance(one, bool) or not isinstance(one, str | int) for one in value):
        raise ValueError("event_ids must be a list of texts")
    return tuple(map(str, value)) or None


class Revert(LedgerRun[RevertReport]):
    """
    Denies the commissions that the selected events made, or reports what it would deny.

    FirstPromoter is changed first and the ledger after it, call by call: a run that is killed in between leaves denied
    commissions that the ledger does not know, and the next run sees them as denied and only updates the ledger. Every
    call can be repeated, also by two runs at once.

    :param preview: True only reports; nothing is denied or written
    :param max_reverted: the number of events above which nothing is denied
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
        reader = CommissionReader(hook, ledger.call, log)
        report = RevertReport(str(selection), preview, call=ledger.call)
        super().__init__(reader, ledger, report, run=run, try_number=try_number, writes=not preview)
        if options := selection.options():
            report.preview_command = self.command("revert", *options)
        self.selection = selection
        self.max_reverted = max_reverted

    def _work(self) -> None:
        checked = self._check()
        if self.writes:
            self.report.raise_if_more_than(self.max_reverted)
            denied = [one.event_id for one in checked if one.decision is Decision.ALREADY_DENIED]
            self.ledger.mark_reverted(denied, self.run_key, now())
            self.report.written_only = len(denied)
            self._deny([one for one in checked if one.decision is Decision.REVERT])
        for warning in self.report.incomplete:
            self.log.warning("%s", warning)

    def _check(self) -> list[CheckedEvent]:
        """Read the selected events and their commissions, and decide what to do with each."""
        records = {record.event_id: record for record in self.selection.records(self.ledger)}
        self.log.info("Selected (%s): %s", self.selection, self.report.call.counted(len(records)))
        sent = [one for one in records.values() if one.first_sent_at is not None and not one.unresolved]
        found, moment = self.reader.of_records(sent), now()
        # A kill hides the sender. Who names the event_ids may say that the killed run was it.
        killed = self.history.unfinished() if self.selection.event_ids is not None else []
        checked = [
            check(record, found.get(event_id, []), self.ledger.call.sign, now=moment, killed=killed)
            for event_id, record in records.items()
        ]
        unknown = sorted(set(self.selection.event_ids or ()) - records.keys())
        checked += [CheckedEvent(one, Decision.NOT_RECORDED, notes=("the ledger has no row",)) for one in unknown]
        for event in checked:
            self.report.add(event)
        for record in self._sent_by_unknown(records.values()):
            if record.event_id not in records:
                note = f"the ledger has it as {record.outcome}, and which run sent it first is not known"
                self.report.add(CheckedEvent(record.event_id, Decision.SENDER_UNKNOWN, record.commissions, (note,)))
        unresolved = [one.last_sent_at for one in records.values() if one.unresolved and one.last_sent_at]
        if unresolved:
            self.report.reconcile_command = self.command("reconcile", f"--created-from={min(unresolved):%Y-%m-%d}")
        return checked

    def _sent_by_unknown(self, selected: Iterable[LedgerRecord]) -> Iterator[LedgerRecord]:
        """Read what became recorded since the selected run began, and may be that run's because a kill hid it."""
        dag_id, run_id = self.selection.dag_id, self.selection.run_id
        if dag_id is None or run_id is None:
            return
        starts = [self.history.first_start(dag_id, run_id), *(one.first_sent_at for one in selected)]
        if start := min(filter(None, starts), default=None):
            yield from self.ledger.sent_by_unknown(start)

    def _deny(self, events: Sequence[CheckedEvent]) -> None:
        """Deny the commissions of these events; one that cannot be reverted is counted as failed."""
        useless_calls = 0
        groups = calls(events)
        for group in groups:
            useless_calls = 0 if self._deny_group(group) else useless_calls + 1
            if useless_calls == MOST_USELESS_CALLS:
                break
        if rest := [event for group in groups for event in group]:
            self.warn(f"{useless_calls} calls in a row denied nothing: the rest is left for a retry")
            for event in rest:
                self.report.add_failed(event.event_id)

    def _deny_group(self, group: list[CheckedEvent]) -> int:
        """
        Deny the commissions of some events in one call, and record in the ledger which ones are denied then.

        :returns: the number of events that are denied
        """
        # A payout can have come since the events were checked.
        before = self._read_again(group)
        deniable = [part for one in before if one.left_alone is None for part in one.deniable]
        for commissions in batches(deniable, MOST_IDS):
            self._deny_commissions(commissions)
        after = {one.event_id: one for one in self._read_again(group)}
        denied = [one for one in before if after[one.event_id].denied]
        # Only what FirstPromoter shows as denied is recorded.
        self.ledger.mark_reverted([one.event_id for one in denied], self.run_key, now())
        for one in denied:
            self.report.add_reverted(one)
        for event_id in after.keys() - {one.event_id for one in denied}:
            if (reason := after[event_id].left_alone) is not None:
                self.warn(f"{event_id!r} is {reason} meanwhile and is left alone")
                self.report.counts[Decision.REVERT] -= 1
                self.report.counts[reason] += 1
            else:
                self.report.add_failed(event_id)
        self.log.info("Reverted: %s of %s", self.report.reverted, self.report.call.counted(self.report.to_revert))
        return len(denied)

    def _deny_commissions(self, commissions: list[Commission]) -> None:
        """Warn of a batch that did not deny everything. Its error texts are logged, and decide nothing."""
        self.report.calls += 1
        try:
            batch: Batch = self.reader.call(lambda: self.hook.deny_commissions(commissions))
        except EventsFailedError as error:
            self.warn(str(error))
            return
        errors = batch.processing_errors
        if batch.status == "completed" and not batch.failed_count and not errors:
            return
        counts = f"{batch.processed_count} of {batch.total} processed, {batch.failed_count} failed"
        more = f"; and {len(errors) - MOST_ERRORS} more" if len(errors) > MOST_ERRORS else ""
        shown = "".join(f"; {text}" for text in errors[:MOST_ERRORS])
        status = batch.status if batch.ended else f"{batch.status}, and was not followed any longer"
        self.warn(f"Batch {batch.id} is {status}: {counts}{shown}{more}")

    def _read_again(self, group: Sequence[CheckedEvent]) -> list[CheckedEvent]:
        """Return the events with their commissions as they are now; one of which some are not listed is looked up."""
        current = self.reader.by_ids([part.id for one in group for part in one.commissions])
        absent = [one.event_id for one in group if any(part.id not in current for part in one.commissions)]
        looked_up = dict(self.reader.look_up(absent))
        return [
            replace(
                one,
                commissions=looked_up[one.event_id] or ()
                if one.event_id in looked_up
                else [current[part.id] for part in one.commissions],
            )
            for one in group
        ]


def calls(events: Sequence[CheckedEvent]) -> Iterator[list[CheckedEvent]]:
    """Yield the events in groups of at most a hundred commissions; all commissions of an event are in one group."""
    group: list[CheckedEvent] = []
    for event in events:
        if group and sum(len(one.commissions) for one in (*group, event)) > MOST_IDS:
            yield group
            group = []
        group.append(event)
    if group:
        yield group


def check(
    record: LedgerRecord,
    commissions: Sequence[Commission] | None,
    sign: int,
    *,
    now: datetime,
    killed: Sequence[datetime] = (),
) -> CheckedEvent:
    """
    Decide what a revert does with an event of the ledger.

    :param commissions: None if they cannot be read
    :param sign: of their amounts
    :param now: aware; replaces times that cannot be read
    :param killed: when runs began whose end is not known, and which may have sent it
    """

    def decided(decision: Decision, *notes: str) -> CheckedEvent:
        return CheckedEvent(record.event_id, decision, commissions or (), notes)

    if record.unresolved:
        return decided(Decision.UNRESOLVED, f"the ledger has it as {record.outcome}, and its response is not known")
    if not record.recorded and record.outcome is not Outcome.REVERTED:
        return decided(Decision.NOT_RECORDED, f"the ledger has it as {record.outcome}")
    if record.first_sent_at is None:
        return decided(Decision.NOT_OURS, "the ledger has adopted it and never sent it")
    if commissions is None:
        return decided(Decision.UNREADABLE, "its commissions could not be read; the log says why")
    if not commissions:
        return decided(Decision.NOT_FOUND)
    made_at = min(created_at(one, now) for one in commissions)
    during_a_killed_run = any(start - TOLERANCE <= made_at <= start + LONGEST_RUN for start in killed)
    if not _made_by_us(record, made_at) and not (record.sent_by == RunKey() and during_a_killed_run):
        return decided(Decision.NOT_OURS, "its commission was not made when this ledger sent it")
    event = decided(Decision.REVERT, *_notes(record, commissions, sign))
    if event.left_alone is not None:
        return replace(event, decision=event.left_alone)
    if event.denied:
        reverted = record.outcome is Outcome.REVERTED
        return replace(event, decision=Decision.ALREADY_REVERTED if reverted else Decision.ALREADY_DENIED)
    return event


def _made_by_us(record: LedgerRecord, made_at: datetime) -> bool:
    """
    Return whether a request of this ledger's account can have made the commission.

    A 200 says that the request itself made it. A 409 can be due to a commission that another tool made: it is ours only
    if it was made when the event was last sent or, where a response was lost, since it was first sent.
    """
    if record.http_status == 200:
        return True
    first = record.first_sent_at if record.lost else record.last_sent_at
    if first is None or record.last_sent_at is None:
        return False
    return first - TOLERANCE <= made_at <= record.last_sent_at + TOLERANCE


def _notes(record: LedgerRecord, commissions: Sequence[Commission], sign: int) -> list[str]:
    """Return what is unusual: several commissions, or commissions that differ from the ledger."""
    notes = []
    if len(commissions) > 1:
        notes.append(f"in_parts: {len(commissions)} commissions, of tiers or splits")
    amounts = compare_amounts(record, commissions, sign)
    if not amounts.equal:
        notes.append(f"differs: amount {amounts.ledger} in the ledger, {amounts.firstpromoter} in FirstPromoter")
    known = {one.id: one for one in record.commissions}
    both = [(known[one.id], one) for one in commissions if one.id in known]
    for name, what in (("promoter_id", "promoter"), ("amount", "reward")):
        if any(getattr(ours, name) not in (None, getattr(theirs, name)) for ours, theirs in both):
            notes.append(f"differs: another {what} than in the ledger")
    return notes
