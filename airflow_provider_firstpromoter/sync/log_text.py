"""A run in words: for the log, and for the error that ends the task."""

from __future__ import annotations

from airflow_provider_firstpromoter.refunds import Outcome, Summary


def progress(summary: Summary, total: int | None, rate: float | None = None) -> str:
    """
    One line of a run under way.

    :param total: how many refunds there are; None if that is not known
    :param rate: refunds a second so far
    """
    done = summary.outcomes.total() + summary.repeated
    parts = [f"{done} of {total} done" if total is not None else f"{done} done"]
    parts += [f"{count} {outcome}" for outcome, count in summary.outcomes.items() if count]
    if rate:
        parts.append(f"{rate * 60:.0f} a minute")
        if total is not None:
            parts.append(f"{duration((total - done) / rate)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """``3 h 12 min``, ``4 min 10 s`` or ``7 s``."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def table(summary: Summary) -> str:
    """The log's last table."""
    lines: list[tuple[str, str]] = [
        (outcome.value, str(summary.outcomes[outcome])) for outcome in Outcome if summary.outcomes[outcome]
    ]
    for name in ("sent", "skipped", "rechecked", "repeated", "left_pending", "rewards_unknown"):
        if (value := getattr(summary, name)) or name in ("sent", "skipped"):
            lines.append((name, str(value)))
    lines += [(f"reversed, {unit}", str(amount)) for unit, amount in sorted(summary.reversed.items())]
    lines += [(f"refunded, {currency}", str(amount)) for currency, amount in sorted(summary.refunded.items())]
    if summary.without_sale_event_id:
        lines.append(("without sale_event_id", str(summary.without_sale_event_id)))
    lines += [("requests", str(summary.requests)), ("seconds", f"{summary.seconds:.1f}")]
    width = max(len(name) for name, _ in lines)
    text = ["Preview: nothing was sent or written" if summary.preview else "Summary"]
    text += [f"  {name:<{width}}  {value:>12}" for name, value in lines]
    text += [f"  {problem.outcome}: {problem.event_id!r}: {problem.reason}" for problem in summary.problems]
    text += [f"  warning: {warning}" for warning in summary.warnings]
    if summary.stopped_because:
        text.append(f"  stopped early: {summary.stopped_because}")
    return "\n".join(text)


def failure(summary: Summary, *outcomes: Outcome) -> str:
    """
    Why a task fails, with the first event_ids.

    :param outcomes: those that are to blame
    """
    counts = " and ".join(f"{summary.outcomes[outcome]} {outcome}" for outcome in outcomes if summary.outcomes[outcome])
    named = [problem for problem in summary.problems if problem.outcome in outcomes][:5]
    text = f"{counts}: " + "; ".join(f"{problem.event_id!r}: {problem.reason}" for problem in named)
    more = sum(summary.outcomes[outcome] for outcome in outcomes) - len(named)
    if more > 0:
        text += f"; and {more} more"
    if summary.stopped_because:
        text += f". The run stopped early: {summary.stopped_because}"
    return text
