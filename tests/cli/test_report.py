"""``report`` and ``accept``: what needs attention, on terminals and for programs."""

from __future__ import annotations

import csv
import resource
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_firstpromoter.calls import REFUND, Commission, Outcome, Result, Summary
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger, LedgerWrite, RunHistory, RunKey
from airflow_provider_firstpromoter.ledger.runs import counts_of
from airflow_provider_firstpromoter.reconcile import Mismatch, MismatchKind, MismatchTable
from tests.ledger.rows import THEN, known, to_write, write

#: As long as Stripe's.
EVENT_IDS = [f"re_3MmlLrLkdIwHu7ix0snN0B{number:02}" for number in range(3)]
RUN = RunKey("refunds_to_firstpromoter", "scheduled__2026-11-25T17:22:57.705420+00:00", "track_refunds", -1)
REASON = "amount must be above zero; leave reversed and failed rows out of the query"
STAYS = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def ledger(warehouse: Any, connect: Callable[..., str]) -> Ledger:
    """A ledger of three refunds, two mismatches and two runs, beside rows of another account."""
    connect(ledger_conn_id="warehouse", currency="USD")
    ledger = Ledger.required(FirstPromoterHook().account, call=REFUND)
    ledger.ensure()
    commission = Commission(id=1, amount=-123456, unit="cash", promoter_id=7, promoter_ref="amara")
    recorded = to_write(EVENT_IDS[0], amount=1234567, commissions=(commission,))
    rejected = to_write(EVENT_IDS[1], Outcome.REJECTED, message=REASON, seen_at=STAYS)
    not_referred = to_write(EVENT_IDS[2], Outcome.NOT_REFERRED, message="Referral not found")
    write(ledger, [recorded, rejected, not_referred], RUN)
    summary = Summary(outcomes=dict.fromkeys(Outcome, 12345), rewards={"cash": -1234567}, still_open=12345)
    ended = RunHistory(ledger, RUN)
    ended.start()
    ended.finish(counts_of(summary, summary), error=ValueError())
    RunHistory(ledger, RUN).start()
    mismatches = MismatchTable(ledger, RUN)
    mismatches.ensure()
    mismatches.write(
        [
            Mismatch(MismatchKind.MISSING_IN_LEDGER, "", 9, THEN),
            Mismatch(MismatchKind.RECORDED_TWICE, "stripe_1", 10, THEN, other_event_id=EVENT_IDS[0]),
        ]
    )
    other = Ledger(ledger.engine, "other", name="warehouse", call=REFUND)
    write(other, [to_write("re_of_another_account", Outcome.REJECTED, seen_at=STAYS)])
    return ledger


def report(cli: Callable[..., Any], *options: str) -> str:
    done = cli("report", "firstpromoter_default", *options)
    assert done.code is None, done.err
    printed: str = done.out
    return printed


@pytest.mark.parametrize("width", [80, 120])
def test_report_is_readable_on_a_terminal(
    width: int, ledger: Ledger, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.cli import simple_table

    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(simple_table, "is_tty", lambda: True)

    printed = report(cli)
    statuses = report(cli, "--view", "status")

    assert max(map(len, printed.splitlines())) <= width
    words = set(printed.split())
    assert {EVENT_IDS[1], "stripe_1", "rejected:", "amara", "-1,234.56"} <= words, "none of them is folded"
    assert "commission 9" in printed
    assert {"12345", "already_recorded,", "ValueError", "killed", RUN.dag_id, RUN.task_id} <= words
    assert " mismatches" not in printed, "of which there are none"
    assert EVENT_IDS[2] not in printed, "what became of every refund is printed on request"
    assert "re_of_another_account" not in printed
    assert set(EVENT_IDS) <= set(statuses.split())
    assert "12,345.67 USD" in " ".join(statuses.split())


def test_report_of_a_run_counts_no_row_twice(
    ledger: Ledger, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = Summary(requests=1)
    summary.add(Result(event_id="re_1", outcome=Outcome.RECORDED))
    summary.add(Result(event_id="re_2", outcome=Outcome.REJECTED), new=False)
    summary.add(Result(event_id="re_3", outcome=Outcome.CHANGED))
    history = RunHistory(ledger, RUN._replace(run_id="later"))
    history.start()
    history.finish(counts_of(summary, summary))
    monkeypatch.setenv("COLUMNS", "400")
    printed = report(cli, "--view", "last_runs")
    assert "| 1 recorded, 1 rejected and 1 changed (1 reported before), 1 request\n" in printed


def test_report_for_programs_has_every_column(ledger: Ledger, cli: Callable[..., Any]) -> None:
    everything = cli("report", "firstpromoter_default", "-o", "json").json
    assert list(everything) == ["open", "reversed", "last_runs"]
    assert {row["event_id"] for row in everything["open"]} == {EVENT_IDS[1], "stripe_1", ""}
    assert {row["commission_id"] for row in everything["open"]} == {None, 9, 10}

    ended = next(run for run in everything["last_runs"] if run["ended_at"])
    assert {"account", "kind", "started_at", "run_id", *Outcome, "mismatches", "requests", "error"} <= set(ended)
    assert (ended["recorded"], ended["mismatches"], ended["error"]) == (12345, None, "ValueError")
    assert cli("report", "firstpromoter_default", "-o", "json", "--view", "open").json == everything["open"]
    (_,) = cli("report", "firstpromoter_default", "-o", "json", "--view", "last_runs", "--limit", "1").json

    table = report(cli, "--view", "open", "--csv").splitlines()
    rows = {row["event_id"]: row for row in csv.DictReader(table)}
    assert rows[EVENT_IDS[1]]["reason"] == REASON
    assert f"event_id: {EVENT_IDS[1]}" in report(cli, "-o", "yaml")
    assert EVENT_IDS[1] in report(cli, "-o", "plain").split()


def test_report_since_a_day_leaves_out_earlier_runs(ledger: Ledger, cli: Callable[..., Any]) -> None:
    def runs(since: Any) -> int:
        return len(report(cli, "--view", "last_runs", "--csv", "--since", since.isoformat()).splitlines()) - 1

    today = datetime.now(UTC).date()
    assert (runs(today - timedelta(days=7)), runs(today + timedelta(days=2))) == (2, 0)


def test_report_shows_text_as_text(ledger: Ledger, cli: Callable[..., Any]) -> None:
    write(ledger, [to_write("re_[red]", Outcome.REJECTED, message="[bold]not :smile: markup[/]", seen_at=STAYS)])

    printed = report(cli, "--view", "open")

    assert "re_[red]" in printed
    assert "[bold]not :smile: markup[/]" in printed


@pytest.mark.parametrize("warehouse", ["postgresql"], indirect=True)
def test_report_of_fifty_thousand_refunds_is_short_and_all_of_them_are_streamed(
    warehouse: Any, ledger: Ledger, cli: Callable[..., Any]
) -> None:
    warehouse.run(
        "INSERT INTO firstpromoter_refunds (account, event_id, outcome, judged_at) "
        f"SELECT '{ledger.account}', 're_' || n, 'recorded', now() FROM generate_series(1, 50000) n"
    )

    assert len(report(cli).splitlines()) < 60
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for output in (("--csv",), ("-o", "json"), ("-o", "table")):
        assert len(report(cli, "--view", "status", *output).splitlines()) >= 50_003
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 150, "MB, of which most is what the test itself has captured"


@pytest.mark.parametrize("output", ["table", "json", "yaml", "plain", "csv"])
def test_report_of_nothing_is_well_formed(
    output: str, warehouse: Any, connect: Callable[..., str], cli: Callable[..., Any]
) -> None:
    connect(ledger_conn_id="warehouse")
    options = ["--csv"] if output == "csv" else ["-o", output]
    done = cli("report", "firstpromoter_default", *options)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "The ledger 'firstpromoter_refunds' of connection 'warehouse' does not exist yet: the first run creates it\n"
    )
    cli("views", "firstpromoter_default", "--apply")

    printed = report(cli, "--view", "status", *options)

    assert printed.startswith({"json": "[]", "csv": "account,event_id,status", "yaml": "[]"}.get(output, "None"))


# --- accept -----------------------------------------------------------------------------------------------


def test_accept_ends_a_changed_amount_and_a_mismatch(ledger: Ledger, cli: Callable[..., Any]) -> None:
    ledger.write([LedgerWrite.of_changed(EVENT_IDS[0], known(ledger, EVENT_IDS[0]).outcome, "700", STAYS)], RUN)

    done = cli("accept", "firstpromoter_default", EVENT_IDS[0], "stripe_1", "--commission", "9")

    assert done.code is None
    assert sorted(done.out.splitlines()) == [
        "commission 9: mismatch missing_in_ledger accepted",
        f"{EVENT_IDS[0]}: recorded with amount 1234567, and the row says 700: accepted",
        "stripe_1: mismatch recorded_twice accepted",
    ]
    assert [row["event_id"] for row in cli("report", "firstpromoter_default", "--view", "open", "-o", "json").json] == [
        EVENT_IDS[1]
    ]


def test_accept_of_another_lead_says_nothing_of_an_amount(ledger: Ledger, cli: Callable[..., Any]) -> None:
    write(ledger, [to_write("re_shared", lead_differs=True)], RUN)
    done = cli("accept", "firstpromoter_default", "re_shared")
    assert done.out == "re_shared: recorded by its e-mail, and the lead has another uid than the row: accepted\n"


def test_accept_of_what_is_not_open_says_so(ledger: Ledger, cli: Callable[..., Any]) -> None:
    done = cli("accept", "firstpromoter_default", "stripe_1", EVENT_IDS[1], "--commission", "77")
    assert (done.code, done.out) == (1, "stripe_1: mismatch recorded_twice accepted\n")
    assert done.err == (
        f"Nothing to accept for {EVENT_IDS[1]}, 77: neither changed nor an open mismatch in this ledger. "
        f"A rejected row has to be corrected in the source: {EVENT_IDS[1]}\n"
    )
    assert cli("accept", "firstpromoter_default").err == "Name an event_id, or a commission with --commission\n"
