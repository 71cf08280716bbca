"""
``python -m dev.benchmarks``: measure, then print one table.

What is measured is also kept in the file ``.bench.json``, row by row, until all rows are measured again: so a row that
failed can be repeated alone. With ``--publish``, docs/performance.md and docs/images get their table and plots from it,
and README.md its five best lines.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace

from rich.console import Console

from dev.airflow import ROOT
from dev.benchmarks import (
    accounts,
    adoption,
    both_calls,
    cpu,
    dag_run,
    elsewhere,
    growth,
    imports,
    memory,
    settled,
    throughput,
)
from dev.benchmarks.disturbance import Disturbance
from dev.benchmarks.plot import svg
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage
from dev.benchmarks.table import Measured, header, markdown, replace_between_marks, table
from dev.processes import ProcessFailed, exit_on_signals

ROWS: dict[str, Callable[[Stage, Sizes], Measured]] = {
    "dag": dag_run.row,
    "latency": throughput.latency_row,
    "rate": throughput.rate_row,
    "accounts": accounts.row,
    "nothing": settled.nothing_new,
    "new": settled.few_new,
    "elsewhere": elsewhere.rows,
    "growth": growth.row,
    "adoption": adoption.row,
    "memory": memory.row,
    "cpu": cpu.rows,
    "sales": both_calls.row,
    "imports": imports.row,
}
STORE = ROOT / ".bench.json"
#: What README shows: of these measurements the row at this place.
BEST = {"dag": 0, "rate": 0, "nothing": 2, "adoption": 0, "memory": 0}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"measure only these rows: {', '.join(ROWS)}")
    parser.add_argument("--publish", action="store_true", help="write README.md, docs/performance.md and docs/images")
    for field in fields(Sizes):
        parser.add_argument(f"--{field.name}", type=int, default=field.default, help=field.metadata["help"])
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"unknown row: {', '.join(sorted(unknown))}; the rows are {', '.join(ROWS)}")
    sizes = Sizes(**{field.name: getattr(options, field.name) for field in fields(Sizes)})
    if not options.rows:
        STORE.unlink(missing_ok=True)  # a row that fails now must not be published as it was before
    exit_on_signals()
    progress = Console(stderr=True, highlight=False)
    started = time.monotonic()
    try:
        measured, failed = _measure(options.rows or list(ROWS), sizes, progress)
    except KeyboardInterrupt:
        progress.print("Stopped.")
        return 130
    description = header(sizes)
    rows = [row for one in measured.values() for row in one.rows]
    # A file has no width that the table must fit into.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 190)
    console.print(f"\n{description} The benchmark took {(time.monotonic() - started) / 60:.1f} minutes.\n")
    console.print(table(rows))
    for row in rows:
        console.print(f"[bold]{row.what}[/]: {row.explained}")
    stored = _store(measured)
    if options.publish:
        if missing := set(ROWS) - set(stored):
            progress.print(f"Nothing is published, because these rows were not measured: {', '.join(sorted(missing))}")
            return 1
        _publish(description, [stored[name] for name in ROWS])
    return 1 if failed else 0


def _measure(names: list[str], sizes: Sizes, progress: Console) -> tuple[dict[str, Measured], bool]:
    """Measure the rows; one that fails does not stop the others."""
    measured: dict[str, Measured] = {}
    failed = False
    with Stage.fresh() as stage:
        for name in names:
            began = time.monotonic()
            watch = Disturbance()
            # No spinner, because it would use a part of the processor time that is measured.
            progress.print(f"{name} ...", end=" ")
            try:
                one = ROWS[name](stage, sizes)
                disturbed = watch.found()
                measured[name] = Measured([replace(row, disturbed=disturbed) for row in one.rows], one.curves)
            except Exception as error:
                failed = True
                progress.print(f"failed: {type(error).__name__}: {error}", markup=False)
                if isinstance(error, ProcessFailed):
                    progress.print("\n".join(error.last_lines), markup=False)
            else:
                progress.print(f"{time.monotonic() - began:.0f} s")
    return measured, failed


def _store(measured: dict[str, Measured]) -> dict[str, Measured]:
    """Keep what was measured, and return it with what was measured before."""
    stored: dict[str, str] = json.loads(STORE.read_text()) if STORE.exists() else {}
    stored |= {name: one.to_json() for name, one in measured.items()}
    STORE.write_text(json.dumps(stored))
    return {name: Measured.from_json(text) for name, text in stored.items()}


def _publish(description: str, measured: list[Measured]) -> None:
    rows = [row for one in measured for row in one.rows]
    best = [measured[list(ROWS).index(name)].rows[place] for name, place in BEST.items()]
    replace_between_marks(ROOT / "README.md", markdown(description, best, best=True))
    images = []
    for curve in (curve for one in measured for curve in one.curves):
        if all(len(line) > 1 for line in curve.lines.values()):  # a run that is too short leaves no points
            (ROOT / "docs" / "images" / f"{curve.name}.svg").write_text(svg(curve))
            images.append(f"![{curve.title}](images/{curve.name}.svg)")
    text = "\n\n".join([markdown(description, rows), *images])
    replace_between_marks(ROOT / "docs" / "performance.md", text)


if __name__ == "__main__":
    sys.exit(main())
