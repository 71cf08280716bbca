"""``python -m dev.benchmarks``: measure, then print one table."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from rich.console import Console

from dev.benchmarks import adoption, cpu, dag_run, imports, memory, million, throughput
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage
from dev.benchmarks.table import Row, header, markdown, table
from dev.processes import ProcessFailed, exit_on_signals

ROWS: dict[str, Callable[[Stage, Sizes], Row]] = {
    "dag": dag_run.row,
    "latency": throughput.latency_row,
    "rate": throughput.rate_row,
    "settled": million.same_database_row,
    "elsewhere": million.other_database_row,
    "adoption": adoption.row,
    "memory": memory.row,
    "cpu": cpu.row,
    "imports": imports.row,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"measure only these rows: {', '.join(ROWS)}")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to this file too, as Markdown")
    for field in fields(Sizes):
        parser.add_argument(f"--{field.name}", type=int, default=field.default, help=field.metadata["help"])
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"unknown row: {', '.join(sorted(unknown))}; the rows are {', '.join(ROWS)}")
    sizes = Sizes(**{field.name: getattr(options, field.name) for field in fields(Sizes)})
    exit_on_signals()
    progress = Console(stderr=True, highlight=False)
    started = time.monotonic()
    try:
        measured, failed = _measure(options.rows or list(ROWS), sizes, progress)
    except KeyboardInterrupt:
        progress.print("Stopped.")
        return 130
    description = header(sizes, time.monotonic() - started)
    # A file has no width that the table must fit into.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 190)
    console.print(f"\n{description}\n")
    console.print(table(measured))
    for row in measured:
        console.print(f"[bold]{row.what}[/]: {row.note}")
    if options.markdown:
        options.markdown.write_text(markdown(description, measured))
    return 1 if failed else 0


def _measure(names: list[str], sizes: Sizes, progress: Console) -> tuple[list[Row], bool]:
    """Measure the rows; one that fails does not stop the others."""
    measured: list[Row] = []
    failed = False
    with Stage.fresh() as stage:
        for name in names:
            began = time.monotonic()
            # No spinner, because it would use a part of the processor time that is measured.
            progress.print(f"{name} ...", end=" ")
            try:
                measured.append(ROWS[name](stage, sizes))
            except Exception as error:
                failed = True
                progress.print(f"failed: {type(error).__name__}: {error}", markup=False)
                if isinstance(error, ProcessFailed):
                    progress.print("\n".join(error.last_lines), markup=False)
            else:
                progress.print(f"{time.monotonic() - began:.0f} s")
    return measured, failed


if __name__ == "__main__":
    sys.exit(main())
