"""The report's tables for a terminal: views in so few columns that 80 characters are enough. The CSV has them all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from airflow_provider_firstpromoter.calls import Outcome

if TYPE_CHECKING:
    from rich.table import Table

    from airflow_provider_firstpromoter.ledger.views import View

Row = Mapping[str, str]

EMPTY = ("", "0")
#: Columns are as wide as their longest text, up to the length of Stripe's ids. Only these share the rest of the line.
WIDEST = 27
FLEXIBLE = ("problem", "status", "error", "promoter_ref")


def table_of(view: View, rows: Iterable[Row]) -> Table:
    """
    Return a view's rows as a table, without the columns that are empty or 0 in every row.

    :param rows: at least one; the view's columns by name, as texts
    """
    from rich.table import Table
    from rich.text import Text

    shown = [SHORTENED.get(view.name, _without_account)(row) for row in rows]
    table = Table(show_lines=view.name == "last_runs")
    used = [name for name in shown[0] if any(row[name] not in EMPTY for row in shown)]
    for name in used:
        lines = [name, *(line for row in shown for line in row[name].split("\n"))]
        width = None if name in FLEXIBLE else min(max(map(len, lines)), WIDEST)
        table.add_column(name, width=width, overflow="fold")
    for row in shown:
        table.add_row(*(Text(row[name]) for name in used))  # as Text: ids and reasons are not markup
    return table


def _problem(row: Row) -> Row:
    return {
        "event_id": row["event_id"],
        "since": _to_the_minute(row["since"]),
        "problem": _joined(": ", row["problem"], row["reason"]),
    }


def _refund(row: Row) -> Row:
    return {
        "event_id": row["event_id"],
        "sent": _joined(" ", row["sent_amount"], row["sent_currency"]),
        "reward": _joined(" ", row["reward_amount"], row["reward_unit"]),
        "status": _joined(": ", row["status"], row["message"]),
    }


def _run(row: Row) -> Row:
    counts = (*(outcome.value for outcome in Outcome), "still_open", "mismatches")
    sums = json.loads(row["rewards"] or "{}")
    results = [f"{row[name]} {name}" for name in counts if row[name] not in EMPTY]
    results += [f"{amount} {unit} reversed" for unit, amount in sums.items()]
    results.append(f"{row['requests'] or 0} requests")
    return {
        "run": "\n".join((_to_the_minute(row["started_at"]), row["dag_id"], row["task_id"])),
        "result": "\n".join(results),
        "error": row["stopped_because"] or row["error"] or ("" if row["ended_at"] else "running, or killed"),
    }


def _without_account(row: Row) -> Row:
    return {name: cell for name, cell in row.items() if name != "account"}


def _to_the_minute(time: str) -> str:
    return time[: len("2026-11-25 17:23")]


def _joined(by: str, *texts: str) -> str:
    return by.join(filter(None, texts))


SHORTENED: Mapping[str, Callable[[Row], Row]] = {"open": _problem, "status": _refund, "last_runs": _run}
