"""What the demo prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.status import Status
from rich.table import Table

from dev.demo.claims import Claim
from dev.demo.stage import DAG, Chapter, Stage
from dev.demo.warehouse import Row
from dev.processes import Failed

console = Console(highlight=False)

COLOURS = {"success": "green", "failed": "red", "upstream_failed": "red", "skipped": "magenta"}
#: In the order of the example DAG.
TASKS = ("find_refunds", "track_refunds", "rewards_per_promoter", "everything_sent")


@contextmanager
def step(sentence: str) -> Iterator[Status]:
    """Show that something is going on, and afterwards how long it took."""
    started = monotonic()
    with console.status(f"{sentence} ...") as status:
        yield status
    console.print(f"[green]✓[/] {sentence} [dim]{monotonic() - started:.1f} s[/]")


def heading(sentence: str) -> None:
    console.print()
    console.rule(f"[bold]{sentence}", align="left")


def watched(stage: Stage, title: str) -> Chapter:
    """Run the DAG, show how far it is, and say in a line what came of it."""
    command = f"airflow dags test {DAG}"
    with step(command) as status:
        chapter = stage.run(title, lambda count: status.update(f"{command} ... {count} requests at the sandbox"))
    console.print(f"  [bold]{len(chapter.requests)}[/] requests to /track/refund")
    return chapter


def kinds(rows: Sequence[Row], chapter: Chapter) -> None:
    """What is in the warehouse, and what became of it."""
    outcomes = {entry.event_id: entry.outcome for entry in chapter.entries}

    def became(row: Row) -> str:
        if not row.asked_for:
            return "- (not in the query)"
        return outcomes.get(str(row.event_id), "- (no id to note it under)")

    table = Table("In the warehouse", "Rows", "In the ledger", title="What became of each kind of refund")
    table.columns[1].justify = "right"
    for kind, count in Counter(row.kind for row in rows).most_common():
        table.add_row(kind, str(count), ", ".join(sorted({became(row) for row in rows if row.kind == kind})))
    console.print(table)


def problems(chapter: Chapter) -> None:
    """The rows that somebody must look at, by name and reason, as the run's summary has them."""
    found = (chapter.run.xcoms.get(("track_refunds", "summary")) or {}).get("problems", [])
    table = Table("event_id", "Why it was not sent", title="For somebody to look at")
    for problem in found:
        table.add_row(problem["event_id"] or "-", problem["reason"])
    console.print(table)
    console.print(f"track_refunds is red for these {len(found)} alone; everything else was sent first.")


def chapters(told: Sequence[Chapter], promoters: Mapping[str, str]) -> None:
    """
    The runs side by side.

    :param promoters: their names, by id
    """
    table = Table("", *(chapter.title for chapter in told), title="Run by run")
    for task_id in TASKS:
        table.add_row(task_id, *(_coloured(chapter, task_id) for chapter in told))
    table.add_section()
    table.add_row("requests to /track/refund", *(f"[bold]{len(chapter.requests)}[/]" for chapter in told))
    for outcome in ("recorded", "already_recorded", "not_referred", "rejected"):
        counts = [sum(entry.outcome == outcome for entry in chapter.entries) for chapter in told]
        table.add_row(outcome, *map(str, counts))
    table.add_section()
    for promoter_id in sorted({promoter_id for chapter in told for promoter_id in chapter.rewards}):
        table.add_row(
            f"taken back from {promoters.get(promoter_id, promoter_id)}",
            *(f"{chapter.rewards.get(promoter_id, 0) / 100:,.2f}" for chapter in told),
        )
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)


def verdict(claims: Sequence[Claim]) -> None:
    for claim in claims:
        console.print(f"{'[green]✓' if claim.holds else '[red]✗'}[/] {claim.sentence}")
        for objection in list(claim.against)[:5]:
            console.print(f"    [red]{objection}[/]")


def trouble(failure: Failed) -> None:
    """Say what went wrong, with the end of the log that tells more."""
    console.rule(f"[red]The end of {failure.log}", align="left")
    for line in failure.log.read_text(errors="replace").splitlines()[-25:] if failure.log.exists() else []:
        console.print(line, markup=False, soft_wrap=True)
    console.rule(style="red")
    console.print(f"[red]{failure}[/]")


def _coloured(chapter: Chapter, task_id: str) -> str:
    state = chapter.run.states.get(task_id, "")
    return f"[{COLOURS.get(state, 'white')}]{state}[/]"
