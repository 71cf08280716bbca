"""What a run says: the lines of its log, its metrics, and the error that ends the task."""

from __future__ import annotations

import logging
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from airflow.providers.common.compat.sdk import Stats

from airflow_provider_firstpromoter.calls import CALLS, Call, Outcome, Row, Summary, money_text, reward_text
from airflow_provider_firstpromoter.hooks import FirstPromoterHook

PROGRESS_EVERY_SECONDS = 10.0


class Progress:
    """
    Logs a line and reports to Airflow's Stats while a run goes on, and at its end.

    ``firstpromoter.refunds.<outcome>`` (``.sales.`` for sales) counts what this run sent or rejected;
    ``firstpromoter.requests`` counts retries too.

    :param summary: gets the requests and the seconds of the run
    """

    def __init__(self, hook: FirstPromoterHook, summary: Summary, log: logging.Logger) -> None:
        #: How many events are to be sent; None if that is not known.
        self.expected: int | None = None
        self._summary = summary
        self._log = log
        self._client = hook.client
        self._tags = {"conn_id": hook.firstpromoter_conn_id}
        self._counts_before: Counter[str] = Counter()
        self._sent_before = 0
        self._requests_before, self._waited_before = self._client.requests, self._client.rate_limiter.waited
        self._began = self._reported_at = time.monotonic()

    def report_if_due(self, outcomes: Counter[Outcome]) -> None:
        """Log a line, and update the metrics, every ten seconds."""
        now = time.monotonic()
        if now - self._reported_at < PROGRESS_EVERY_SECONDS:
            return
        self._reported_at = now
        self._report(outcomes)
        # Where none was answered since the last line, the API is down, and how much time is left is not known.
        is_moving, self._sent_before = self._summary.sent > self._sent_before, self._summary.sent
        rate = self._summary.sent / (now - self._began) if is_moving else None
        self._log.info("%s", progress(self._summary, self.expected, rate))

    def finish(self, outcomes: Counter[Outcome]) -> None:
        """Complete the summary and the metrics."""
        seconds = time.monotonic() - self._began
        self._summary.seconds = round(seconds, 3)
        self._report(outcomes)
        waited = self._client.rate_limiter.waited - self._waited_before
        for name, took in {"run": seconds, "rate_limit_wait": waited}.items():
            Stats.timing(f"firstpromoter.{name}", took * 1000, tags=self._tags)

    def _report(self, outcomes: Counter[Outcome]) -> None:
        self._summary.requests = self._client.requests - self._requests_before
        counts = Counter({f"{self._summary.kind}.{outcome.value}": count for outcome, count in outcomes.items()})
        counts["requests"] = self._summary.requests
        for name, count in (counts - self._counts_before).items():
            Stats.incr(f"firstpromoter.{name}", count, tags=self._tags)
        self._counts_before = counts


def report_mismatches(conn_id: str, count: int) -> None:
    """
    Report what a reconciliation found: ``firstpromoter.mismatches``, a gauge.

    :param conn_id: the FirstPromoter connection, its tag
    """
    Stats.gauge("firstpromoter.mismatches", count, tags={"conn_id": conn_id})


def announcement(pending: int, limit: int | None, requests_per_minute: int, call: Call, *, preview: bool) -> str:
    """
    Return the line that says what a run is about to send.

    :param pending: events to send
    """
    to_send = pending if limit is None else min(pending, limit)
    events = are_pending(pending, call)
    if preview:
        return f"{events}; a preview sends nothing"
    if not to_send:
        return f"No {call.name} is pending"
    which = "" if to_send == pending else f", of which this run sends {to_send}"
    seconds = (to_send - 1) // requests_per_minute * 60  # a minute's worth is sent without waiting
    rate = f"; at {requests_per_minute} requests a minute this takes at least {duration(seconds)}" if seconds else ""
    return f"{events}{which}{rate}"


def are_pending(count: int, call: Call) -> str:
    """Return ``1 refund is pending``, ``2 refunds are pending``."""
    return f"{call.counted(count)} {'is' if count == 1 else 'are'} pending"


def progress(summary: Summary, total: int | None, rate: float | None = None) -> str:
    """
    Return one line about a run under way.

    :param total: how many events are to be sent; None if that is not known
    :param rate: events a second so far; None or 0 where none was answered lately
    """
    parts = [f"{summary.sent} of {total} sent" if total is not None else f"{summary.sent} sent"]
    parts += [f"{count} {outcome}" for outcome, count in summary.outcomes.items() if count]
    if rate:
        parts.append(f"{rate * 60:.0f} a minute")
        if total is not None:
            parts.append(f"{duration((total - summary.sent) / rate)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return ``3 h 12 min``, ``4 min 10 s`` or ``7 s``."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def table(summary: Summary) -> str:
    """Return the table at the end of the log. Problems are not in it: each was logged when it was found."""
    lines: list[tuple[str, str]] = [
        (outcome.value, str(summary.outcomes[outcome])) for outcome in Outcome if summary.outcomes[outcome]
    ]
    which = [outcome.value for outcome in Outcome if outcome.needs_attention and summary.outcomes[outcome]]
    if which and summary.still_open:  # a part of the lines above it
        place = max(i for i, (name, _) in enumerate(lines) if name in which) + 1
        lines.insert(place, (f"  of the {' and '.join(which)}, reported before", str(summary.still_open)))
    lines.append(("sent in this try", str(summary.sent)))
    names = {
        "skipped": "settled before",
        "rechecked": "sent again, not_referred before",
        "repeated": "repeated rows",
        "left_pending": "left for the next run",
        "matched_by_email": "matched by e-mail, not by the row's uid",
        "rewards_unknown": "recorded, reward unknown",
        "without_sale_event_id": "recorded without sale_event_id",
    }
    lines += [(text, str(value)) for name, text in names.items() if (value := getattr(summary, name))]
    call = CALLS[summary.kind.removesuffix("s")]
    own = summary.currency
    lines += [(call.verb, reward_text(amount, unit, own)) for unit, amount in sorted(summary.rewards.items()) if amount]
    lines += [
        (call.happened, money_text(amount, own if currency == "account" else currency))
        for currency, amount in sorted(summary.amounts.items())
        if amount
    ]
    if summary.would_be_sent is not None:
        lines += _would_be_sent(summary.would_be_sent, own)
    lines += [("HTTP requests", str(summary.requests)), ("seconds", f"{summary.seconds:.1f}")]
    width = max(len(name) for name, _ in lines)
    title = "Preview: nothing was sent or written" if summary.preview else "Summary"
    text = [f"{title} (account {summary.account} at {summary.host})"]
    text += [f"  read: {summary.read}"] if summary.read else []
    text += [f"  {name:<{width}}  {value:>12}" for name, value in lines]
    if summary.would_be_sent is not None:
        text += [
            f"  would send {one['event_id']!r} by {one['identified_by']}: "
            + money_text(one["amount"], own if one["currency"] == "account" else one["currency"])
            + {True: "", None: "", False: "; FirstPromoter lists no commission of its sale"}[one.get("sale_found")]
            for one in summary.would_be_sent["sample"]
        ]
    text += [f"  warning: {warning}" for warning in summary.warnings]
    if summary.stopped_because:
        text.append(f"  stopped early: {summary.stopped_because}")
    return "\n".join(text)


def _would_be_sent(would: dict[str, object], own: str | None) -> list[tuple[str, str]]:
    lines = [("would be sent", str(would["events"]))]
    by_currency = would["by_currency"]
    assert isinstance(by_currency, dict)
    for currency, totals in by_currency.items():
        name = own if currency == "account" else currency
        lines += [(f"  {what}", money_text(totals[what], name)) for what in ("sum", "largest")]
    if would.get("rechecks_a_day") is not None:
        lines.append(("rechecks a day, at most", str(would["rechecks_a_day"])))
    return lines


def failure(
    summary: Summary,
    *outcomes: Outcome,
    new_only: bool = False,
    accept: Callable[[str], str] = "accept {}".format,
) -> str:
    """
    Return why a task fails: counts, the first event_ids, the commonest reason, and where the others are.

    :param outcomes: the outcomes that fail the task
    :param new_only: leave out problems that an earlier run has reported
    :param accept: returns the command that accepts the changed amount of an event_id
    """
    blamed = {outcome: summary.outcomes[outcome] for outcome in outcomes if summary.outcomes[outcome]}
    counts = " and ".join(f"{count} {outcome}" for outcome, count in blamed.items())
    named = [one for one in summary.problems if one.outcome in blamed and (one.new or not new_only)][:5]
    count = sum(blamed.values())
    if new_only and summary.still_open:
        count -= summary.still_open
        counts = f"{count} new of {counts}"
    text = f"{counts}: " + ", ".join(repr(one.event_id) if one.event_id else "one without event_id" for one in named)
    if count > len(named):
        text += f" and {count - len(named)} more"
    if new_only and summary.still_open:
        text += f" ({summary.still_open} reported before and still open)"
    if len(named) == 1:
        text += f": {named[0].reason}"
    else:
        reason, alike = summary.commonest_reason(blamed, new_only=new_only)
        if alike > 1:
            text += f": {'all' if alike == count else alike} of them: {reason}"
        if alike < count:
            text += ". The reasons are in this task's log, in XCom 'summary' and in the ledger's column 'message'"
    changed = [one for one in named if one.outcome is Outcome.CHANGED and one.event_id]
    # Another lead's reason has the command already, and is about no amount.
    commands = [command for one in changed if (command := accept(str(one.event_id))) not in (one.reason or "")]
    if commands:
        text += (
            f". A changed amount is not sent. If it is the total of several {summary.kind}, send each difference under "
            f"an event_id of its own; only if the recorded amount may stay as it is: {commands[0]}"
        )
    if summary.stopped_because:
        text += f". The run stopped early: {summary.stopped_because}"
    return text


def contradiction(row: Row, other: Row) -> str:
    """Return why a row is not sent beside another row of its event_id."""
    columns = [name for name in {**row.values, **other.values} if row.values.get(name) != other.values.get(name)]
    return f"another row of the query has this event_id and was sent; they differ in {', '.join(columns)}"


def other_lead(undo: str, accept: str) -> str:
    """
    Return why an event that is recorded needs attention: two customers can share an e-mail address.

    :param undo: the command that previews its revert
    :param accept: the command that accepts it as it is
    """
    return (
        "is recorded by its e-mail, and FirstPromoter's lead has another uid than the row: it may be another customer. "
        f"To undo it: {undo}, and the same with --max-reverted=1; to leave it: {accept}"
    )


def place_of(error: BaseException | None) -> str:
    """Return where an exception was raised: file and line of each call, without values."""
    frames = traceback.extract_tb(error.__traceback__) if error else []
    return "".join(f"\n  {Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames)
