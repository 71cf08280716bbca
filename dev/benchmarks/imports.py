"""The time that a DAG file takes to import the operators."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import statistics
import sys
import time
from typing import Any

from dev.benchmarks.child import measured
from dev.benchmarks.sizes import Sizes
from dev.benchmarks.stage import Stage
from dev.benchmarks.table import Measured, Row, at_most

#: The packages of which a DAG file imports modules; all of their modules are measured.
OURS = [f"airflow_provider_firstpromoter.{kind}" for kind in ("operators", "transfers", "sensors", "triggers")]
THEIRS = ["airflow.providers.http.operators.http"]
#: Packages that a DAG file should not have to import.
HEAVY = {
    "aiohttp",
    "fastapi",
    "pandas",
    "pendulum",
    "pydantic",
    "requests",
    "rich",
    "sqlalchemy",
    "sqlparse",
    "tenacity",
    "urllib3",
    "uvicorn",
}
ROUNDS = 3
#: The target, in milliseconds.
TARGET = 150.0


def row(stage: Stage, _sizes: Sizes) -> Measured:
    ours = [
        f"{package}.{module.name}"
        for package in OURS
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__)
    ]
    turns = [
        (measured(stage, imported, modules=ours), measured(stage, imported, modules=THEIRS)) for _ in range(ROUNDS)
    ]
    mine, theirs = (statistics.median(turn[side]["milliseconds"] for turn in turns) for side in (0, 1))
    heavy = turns[0][0]["heavy"]
    row = Row(
        "import of all operators on top of airflow.sdk",
        f"{mine:.0f} ms",
        f"HttpOperator alone: {theirs:.0f} ms",
        f"{mine:.0f} ms, heavy: {', '.join(heavy) or 'nothing'}",
        f"at most {TARGET:.0f} ms, nothing heavy",
        " and ".join(filter(None, [at_most(mine, TARGET, " ms"), ", ".join(heavy)])),
        f"medians of {ROUNDS} fresh interpreters each, in turns. Heavy is any of {', '.join(sorted(HEAVY))} "
        "that airflow.sdk does not import itself.",
    )
    return Measured([row])


def imported(modules: list[str]) -> dict[str, Any]:
    """Import the modules, and return the milliseconds and the heavy packages that were imported too."""
    importlib.import_module("airflow.sdk" if importlib.util.find_spec("airflow.sdk") else "airflow.models")
    before = _packages()
    started = time.perf_counter()
    for module in modules:
        importlib.import_module(module)
    milliseconds = 1000 * (time.perf_counter() - started)
    return {"milliseconds": milliseconds, "heavy": sorted((_packages() - before) & HEAVY)}


def _packages() -> set[str]:
    return {module.partition(".")[0] for module in sys.modules}
