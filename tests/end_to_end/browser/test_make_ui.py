"""What ``make ui`` shows: the example DAG, run by a real scheduler, and the page "FirstPromoter"."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from dev.demo import warehouse
from dev.demo.stage import BOTH_CALLS, DAG, refer_customers
from tests.end_to_end.browser.airflow_server import AIRFLOW_3
from tests.end_to_end.browser.refund_runs import RefundRunsPage
from tests.end_to_end.ui import Ui
from tests.support import REFUNDS_WITH_REWARDS

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not AIRFLOW_3, reason="Its server is Airflow 3's (api-server, without a login)"),
]


# The first test, because the other one adds runs.
def test_dag_graph_shows_the_state_of_each_task(ui: Ui, page: Any, screenshot: Callable[..., None]) -> None:
    (run,) = ui.ended_runs()
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


def test_refund_runs_page_after_three_runs_equals_the_ledger_and_the_audit(
    ui: Ui, page: Any, screenshot: Callable[..., None]
) -> None:
    """The first run's rows are correct, the second run adds rows with mistakes, the third one rows without."""
    refunds = warehouse.RefundGenerator()
    refunds.first_day()  # numbers the next ones after those of the first run
    mistakes = list(refunds.invalid())
    for rows in ([*refunds.late(), *mistakes], refunds.late()):
        refer_customers(ui.sandbox, rows)
        warehouse.insert(ui.warehouse, rows)
        ui.run_again()

    ledger = dict(ui.ledger("SELECT outcome, count(*) FROM firstpromoter_refunds GROUP BY outcome"))
    rewards = dict(
        ui.ledger(f"SELECT event_id, reward_amount FROM {REFUNDS_WITH_REWARDS} WHERE reward_amount IS NOT NULL")
    )
    on_record = ledger["recorded"] + ledger["already_recorded"]
    in_sandbox = {
        refund["event_id"]: sum(commission["amount"] for commission in refund["commissions"])
        for refund in ui.sandbox.recorded()
    }
    # A refund is sent twice where neither its uid nor its e-mail is known.
    sent = {request["body"]["event_id"] for request in ui.sandbox.refund_requests()}
    assert rewards.items() <= in_sandbox.items()

    shown = RefundRunsPage(page, ui.url).open().choose("Call", "Refunds")
    assert shown.total("runs") == "4"
    assert int(shown.total("recorded")) == ledger["recorded"]
    assert shown.legend()["already recorded"] == ledger["already_recorded"]
    assert shown.legend()["not referred"] == ledger["not_referred"]
    assert on_record == len(in_sandbox)
    assert int(shown.total("sent")) == on_record + ledger["not_referred"] == len(sent)
    assert shown.total("reversed") == f"{sum(rewards.values()) / 100:,.2f} USD"
    assert list(shown.reversed_per_day().values())[-1] == shown.total("reversed")
    assert len(shown.bars()) == 4
    legend = shown.legend()
    still_open = legend.pop("still open")
    assert legend["rejected"] == len(mistakes)
    assert sum(shown.bars()) == sum(legend.values())
    # Nobody has corrected the mistakes since.
    attention = shown.attention()
    assert still_open == len(attention)
    assert {what for what, _, _ in attention} == {"rejected"}
    assert {row.event_id for row in mistakes if row.event_id and len(row.event_id) < 256} <= {
        row[1] for row in attention
    }
    track, sync = f"{DAG} > track_refunds", f"{BOTH_CALLS} > sync_refunds"
    assert shown.runs() == [track, track, sync, track]
    shown.choose("Call", "All calls")
    in_effect = "SELECT sum(amount) FROM firstpromoter_{}_commissions WHERE coalesce(status, '') <> 'denied'"
    sums = [ui.ledger(in_effect.format(table))[0][0] for table in ("sales", "refunds")]
    assert [shown.total(name) for name in ("earned", "reversed", "net")] == [
        f"{amount / 100:,.2f} USD" for amount in (*sums, sum(sums))
    ]
    screenshot("page", height=1180, width=1500)

    shown.frame.locator("#runs").get_by_role("link", name="Log").first.click()
    page.get_by_text("Summary").first.wait_for()
    page.get_by_role("link", name="Details").click()
    page.get_by_role("link", name="FirstPromoter", exact=True).click()
    shown.wait().frame.get_by_role("heading", name=re.compile("This run:.*track_refunds")).wait_for()
