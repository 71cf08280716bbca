"""What ``make ui`` shows: the example DAG, run once by a real scheduler."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from dev.airflow import Api
from dev.demo.stage import DAG
from dev.processes import free_port, running
from tests.end_to_end.browser.conftest import AIRFLOW_3

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not AIRFLOW_3, reason="Its server is Airflow 3's (api-server, without a login)"),
]

#: Seconds until the DAG's first run has ended, the start of all of Airflow's parts included.
PATIENCE = 400
#: The same as `make ui`, but in a folder of the test's own, and with the demo's mistakes put right beforehand.
UI = """
import sys
from pathlib import Path
from dev.demo import ui, warehouse
first_day = warehouse.RefundGenerator.first_day
warehouse.RefundGenerator.first_day = lambda generator: [row.corrected() for row in first_day(generator)]
sys.exit(ui.run_tool(lambda: ui.main(Path(sys.argv[1]) / "ui")))
"""


class Ui(Api):
    """The demo's Airflow."""

    def run(self) -> dict[str, Any] | None:
        """The DAG's first run, once it has ended."""
        runs = (self.get(f"dags/{DAG}/dagRuns") or {}).get("dag_runs", [])
        return next((run for run in runs if run["state"] in ("success", "failed")), None)


@pytest.fixture
def ui(browser: Any, tmp_path: Path) -> Iterator[Ui]:
    url = f"http://127.0.0.1:{(port := free_port())}"
    environment = {**os.environ, "PORT": str(port)}
    log = tmp_path / "ui.log"
    command = [sys.executable, "-c", UI, str(tmp_path)]
    with running(command, env=environment, log=log, stop_signal=signal.SIGINT) as process:
        ui = Ui(url)
        until = time.monotonic() + PATIENCE
        while ui.run() is None:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(1)
        yield ui


def test_the_graph_tells_what_became_of_the_refunds(ui: Ui, page: Any, screenshot: Callable[..., None]) -> None:
    run = ui.run()
    assert run is not None
    # Most of the window for the graph, little for the run's details.
    layout = "{'details-panel,main-panel': {expandToSizes: {}, layout: [75, 25]}}"
    page.add_init_script(f"localStorage.setItem('react-resizable-panels:graph-ltr', JSON.stringify({layout}))")
    page.set_viewport_size({"width": 1500, "height": 420})  # the graph is fitted to it once, when it opens
    page.goto(f"{ui.url}/dags/{DAG}/runs/{quote(run['dag_run_id'])}")
    page.get_by_role("button", name="Show Graph").click()
    graph = page.locator(".react-flow")
    graph.get_by_text("rewards_per_promoter").wait_for()

    shown = [node.inner_text().split() for node in graph.locator(".react-flow__node").all()]
    assert shown == [
        ["find_refunds", "UnrecordedRefundSensor", "success"],
        ["track_refunds", "TrackRefundOperator", "success"],
        ["everything_sent", "@task", "success"],
        ["rewards_per_promoter", "@task", "success"],
    ]
    tools = ".react-flow__minimap, .react-flow__controls, .react-flow__panel, [aria-label^=Collapse]"
    screenshot("dag-graph", graph, style=f"{tools} {{ display: none }}")
