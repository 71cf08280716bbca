"""``python -m airflow_provider_firstpromoter report``: on terminals, and as CSV."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import Commission, Outcome, Summary
from airflow_provider_firstpromoter.cli.commands import main
from airflow_provider_firstpromoter.ledger import RefundLedger, RunHistory, RunKey
from tests.ledger.rows import quiet_while_imported, to_write, write

#: As long as Stripe's.
EVENT_IDS = [f"re_3MmlLrLkdIwHu7ix0snN0B{number:02}" for number in range(3)]
RUN = RunKey("refunds_to_firstpromoter", "scheduled__2026-11-25T17:22:57.705420+00:00", "track_refunds", -1)
REASON = "amount must be above zero; leave reversed and failed rows out of the query"


@pytest.fixture
def account_ledger(new_database: Callable[..., Any], connect: Callable[..., str]) -> RefundLedger:
    """A ledger with three refunds and two runs: one with every outcome, one that did not end."""
    from airflow_provider_firstpromoter.hooks import FirstPromoterHook

    new_database("sqlite", "warehouse")
    connect(ledger_conn_id="warehouse")
    ledger = RefundLedger.required(FirstPromoterHook().account, None, None)
    ledger.ensure()
    reward = Commission(id=1, amount=-123456, unit="cash", promoter_id=7, promoter_ref="amara")
    recorded = to_write(EVENT_IDS[0], amount=1234567, commissions=(reward,))
    rejected = to_write(EVENT_IDS[1], Outcome.REJECTED, message=REASON)
    not_referred = to_write(EVENT_IDS[2], Outcome.NOT_REFERRED, message="Referral not found")
    write(ledger, [recorded, rejected, not_referred], RUN)
    summary = Summary(outcomes=dict.fromkeys(Outcome, 12345), rewards={"cash": -1234567}, still_open=12345)
    ended = RunHistory(ledger, RUN)
    ended.start()
    ended.finish(summary, error=ValueError())
    RunHistory(ledger, RUN).start()
    return ledger


def report(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    main(["report", "firstpromoter_default", *options])
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 120])
def test_report_is_readable_on_a_terminal(
    width: int, account_ledger: RefundLedger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))

    printed = report(capsys)

    assert max(map(len, printed.splitlines())) <= width
    words = {*EVENT_IDS, "recorded", "not_referred:", "rejected:", "-123456", RUN.dag_id, RUN.task_id}
    assert words <= set(printed.split()), "none of them is folded"
    assert "12345 already_recorded" in printed
    assert "-1234567 cash reversed" in printed
    assert "ValueError" in printed
    assert "running, or killed" in printed
    assert " mismatches" not in printed, "of which there are none"


def test_report_as_csv_has_every_column(account_ledger: RefundLedger, capsys: pytest.CaptureFixture[str]) -> None:
    question, *table = report(capsys, "--view", "last_runs", "--csv").splitlines()

    assert question == "# What did the last runs do?"
    ended = next(run for run in csv.DictReader(table) if run["ended_at"])
    assert {"account", "kind", "started_at", "run_id", *Outcome, "mismatches", "requests", "error"} <= set(ended)
    assert (ended["recorded"], ended["mismatches"], ended["error"]) == ("12345", "", "ValueError")


def test_report_as_csv_prints_nothing_else_to_standard_output(account_ledger: RefundLedger) -> None:
    """Airflow 2.11 logs each connection that it reads to standard output."""
    module = "airflow_provider_firstpromoter"
    command = [sys.executable, "-m", module, "report", "firstpromoter_default", "--view", "reversed", "--csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=quiet_while_imported())

    assert done.stdout.startswith("# What was reversed")
