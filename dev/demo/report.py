"""What the demo prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from rich.table import Table

from dev.demo.claims import Claim
from dev.demo.stage import BOTH_CALLS, CURRENCY, DAG, Run, Stage
from dev.demo.warehouse import Row
from dev.terminal import console, print_claim, step

COLOURS = {"success": "green", "failed": "red", "upstream_failed": "red", "skipped": "magenta"}
#: In the order of the example DAG.
TASKS = ("find_refunds", "track_refunds", "rewards_per_promoter", "everything_sent")
#: What an analyst asks, the arguments of the ledger's report that answers it, and the columns that are shown here.
QUESTIONS = (
    (
        "What happened last week?",
        f"--view last_runs --since {date.today() - timedelta(days=7)}",
        "started_at recorded not_referred rejected requests rewards",
    ),
    ("Which rows need attention?", "--view open", "event_id problem reason last_seen_at"),
)
OUTCOMES = ("recorded", "already_recorded", "not_referred", "rejected")


def run_with_progress(stage: Stage, title: str) -> Run:
    """Run the DAG, show the number of requests meanwhile, and print it at the end."""
    command = f"airflow dags test {DAG}"
    with step(command) as status:
        run = stage.run_dag(title, lambda count: status.update(f"{command} ... {count} requests at the sandbox"))
    console.print(f"  The sandbox received [bold]{len(run.requests)}[/] requests to /track/refund.")
    return run


def print_kinds(rows: Sequence[Row], run: Run) -> None:
    """Print what is in the warehouse, and the outcome of each kind of refund."""
    outcomes = {row.event_id: row.outcome for row in run.ledger_rows if not row.is_nameless}
    nameless = ", ".join({row.outcome for row in run.ledger_rows if row.is_nameless})

    def outcome_of(row: Row) -> str:
        if not row.is_queried:
            return "- (the query leaves it out)"
        return outcomes.get(str(row.event_id), f"{nameless}, by its content")

    table = Table("In the warehouse", "Rows", "In the ledger", title="Refunds by kind")
    table.columns[1].justify = "right"
    for kind, count in Counter(row.kind for row in rows).most_common():
        table.add_row(kind, str(count), ", ".join(sorted({outcome_of(row) for row in rows if row.kind == kind})))
    console.print(table)


def print_rejected(run: Run) -> None:
    """Print the rows that were rejected, with their reasons, as the summary of the run names them."""
    problems = (run.dag_run.xcoms.get(("track_refunds", "summary")) or {}).get("problems", [])
    table = Table("event_id", "Why it was rejected", title="Rows that need attention")
    for problem in problems:
        table.add_row(problem["event_id"] or "-", problem["reason"])
    console.print(table)
    console.print(f"track_refunds has failed only because of these {len(problems)} rows. It sent all others first.")


def print_runs(runs: Sequence[Run], promoters: Mapping[str, str]) -> None:
    """
    Print the runs side by side.

    :param promoters: the referral ids of the promoters, by promoter id
    """
    table = Table("", *(run.title for run in runs), title="States of tasks, outcomes and rewards by run")
    for task_id in TASKS:
        table.add_row(task_id, *(_coloured_state(run, task_id) for run in runs))
    table.add_section()
    table.add_row("requests to /track/refund", *(f"[bold]{len(run.requests)}[/]" for run in runs))
    for outcome in OUTCOMES:
        table.add_row(outcome, *(str(sum(row.outcome == outcome for row in run.ledger_rows)) for run in runs))
    table.add_section()
    for promoter_id in sorted({promoter_id for run in runs for promoter_id in run.rewards}):
        table.add_row(
            f"rewards of {promoters.get(promoter_id, promoter_id)} ({CURRENCY})",
            *(f"{run.rewards.get(promoter_id, 0) / 100:,.2f}" for run in runs),
        )
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)


def print_view(question: str, rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> None:
    """Print some columns of a view."""
    table = Table(*(column.replace("_", " ") for column in columns), title=question, title_justify="left")
    for row in rows:
        table.add_row(*(_short(column, row[column]) for column in columns))
    console.print(table)


def run_both_calls(stage: Stage) -> None:
    """Run the DAG of both calls, show the number of requests meanwhile, and print what it sent."""
    command = f"airflow dags test {BOTH_CALLS}"
    with step(command) as status:
        run, sold, refunded = stage.run_both_calls(
            lambda count: status.update(f"{command} ... {count} requests at the sandbox")
        )
    states = ", ".join(f"{task} {state}" for task, state in sorted(run.states.items(), reverse=True))
    console.print(f"  The sandbox received [bold]{sold}[/] sales and [bold]{refunded}[/] refunds ({states}).")


def print_net(rows: Sequence[Mapping[str, str]]) -> None:
    """Print what each promoter earned in each month, and what of it was reversed."""
    title = f"What does each promoter earn, net of refunds? (in {CURRENCY})"
    table = Table("month", "promoter", "earned", "reversed", "net", title=title, title_justify="left")
    for row in rows:
        amounts = (f"{int(row[name]) / 100:,.2f}" for name in ("earned", "reversed", "net"))
        table.add_row(f"{row['year']}-{int(row['month']):02}", row["promoter_ref"], *amounts)
    for column in table.columns[2:]:
        column.justify = "right"
    console.print(table)
    console.print("The other refunds are of sales before the first day: only what they reversed is in the ledger.")


def print_claims(claims: Sequence[Claim]) -> None:
    for claim in claims:
        print_claim(claim.sentence, claim.holds)
        for contradiction in list(claim.contradictions)[:5]:
            console.print(f"    [red]{contradiction}[/]")


def _short(column: str, cell: str) -> str:
    """Return a cell such that the table fits into a terminal: times without year and seconds, sums without JSON."""
    if column.endswith("_at"):
        return cell[5:16]
    return cell.translate(dict.fromkeys(map(ord, '{}":'))) if cell.startswith("{") else cell


def _coloured_state(run: Run, task_id: str) -> str:
    state = run.dag_run.states.get(task_id, "")
    return f"[{COLOURS.get(state, 'white')}]{state}[/]"
