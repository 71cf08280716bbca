"""How ``make test`` spreads the tests over processes: file by file, those first that take the longest."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

#: Seconds by file; ``make test ARGS=--measure`` measures them again.
MEASURED = Path(__file__).with_name("measured.json")
#: Files under this many seconds are not listed.
WORTH_LISTING = 3.0
#: Files that look at the same running Airflow, which is started once for each process.
TOGETHER = {
    "tests/end_to_end/browser/test_refund_runs.py": "an Airflow of two teams",
    "tests/end_to_end/browser/test_run_summaries.py": "an Airflow of two teams",
    "tests/end_to_end/browser/test_connection_form.py": "the Airflow of make ui",
    "tests/end_to_end/browser/test_make_ui.py": "the Airflow of make ui",
    "tests/end_to_end/browser/test_refund_approval.py": "the Airflow of make ui",
    "tests/end_to_end/test_scheduler.py": "the Airflow of make ui",
}


def scope_of(nodeid: str) -> str:
    """Return what is run in one process: a file, or several that share an Airflow."""
    file = nodeid.partition("::")[0]
    return TOGETHER.get(file, file)


class Scheduling(LoadFileScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


class Spreading:
    """A plugin of pytest."""

    def __init__(self, *, measure: bool) -> None:
        self._measure = measure
        self._seconds: Counter[str] = Counter()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_auto_num_workers(self) -> int:
        """Return one more than the machine has cores: tests also wait, most of all for an Airflow to start."""
        return (os.cpu_count() or 1) + 1

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: Any, log: Any) -> Any:
        if config.option.dist != "loadfile":
            return None
        config.option.loadscopereorder = False  # it would put the files with the fewest tests last
        return Scheduling(config, log)

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        if not hasattr(config, "workerinput"):
            return
        seconds: Counter[str] = Counter()
        for file, measured in json.loads(MEASURED.read_text()).items():
            seconds[scope_of(file)] += measured
        positions: dict[str, int] = {}
        for position, item in enumerate(items):
            positions.setdefault(scope_of(item.nodeid), position)
        items.sort(key=lambda item: (-seconds[scope_of(item.nodeid)], positions[scope_of(item.nodeid)]))

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._seconds[report.nodeid.partition("::")[0]] += report.duration

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        skipped: Counter[str] = Counter()
        for report in terminalreporter.stats.get("skipped", []):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            skipped[reason.removeprefix("Skipped: ")] += 1
        for reason, count in sorted(skipped.items()):
            terminalreporter.write_line(f"{count} skipped: {reason}")
        if hasattr(terminalreporter.config, "workerinput") or not self._seconds:
            return
        failed = len({r.nodeid for kind in ("failed", "error") for r in terminalreporter.stats.get(kind, [])})
        passed = len(terminalreporter.stats.get("passed", []))
        if failed:
            terminalreporter.write_line(f"{failed} failed, {passed} passed. Again: make test ARGS=--last-failed")
        elif passed:
            terminalreporter.write_line(f"All tests that can run here passed: {passed}.")

    def pytest_sessionfinish(self, session: Any) -> None:
        if self._measure and not hasattr(session.config, "workerinput"):
            listed = {file: round(taken) for file, taken in sorted(self._seconds.items()) if taken >= WORTH_LISTING}
            MEASURED.write_text(json.dumps(listed, indent=2) + "\n")
