"""``check``, ``preview``, ``reconcile`` and ``revert``, against the sandbox."""

from __future__ import annotations

import io
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_firstpromoter.cli.definition import PROGRAM
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests.support import ALL_REFUNDS, Task, ledger_outcomes, refund, refunds

QUERY = ("--sql-conn-id", "warehouse", "--sql", ALL_REFUNDS)
CONN_ID = "firstpromoter_default"


@pytest.fixture
def account(sandbox: Sandbox, connect: Callable[..., str], warehouse: Any) -> Sandbox:
    """An account that knows ``cus_0`` to ``cus_9``, and a warehouse with their refunds."""
    connect(ledger_conn_id="warehouse", max_attempts=2)
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(10))
    warehouse.fill(refunds(3))
    return sandbox


def sync(run_id: str = "manual__1") -> None:
    task = Task(SqlToFirstPromoterOperator(task_id="sync", sql=ALL_REFUNDS, sql_conn_id="warehouse"), run_id=run_id)
    task.run()


def denied(sandbox: Sandbox) -> list[str]:
    return sorted(one.event_id for one in sandbox.recorded() if one.reward_status == "denied")


# --- check ------------------------------------------------------------------------------------------------


def test_check_of_a_new_ledger_leaves_nothing_behind(account: Sandbox, warehouse: Any, cli: Callable[..., Any]) -> None:
    before = tables(warehouse)
    done = cli("check", CONN_ID, *QUERY, "-o", "json")

    assert done.code is None, done.out
    assert [(row["check"], row["result"]) for row in done.json] == [
        ("connection", "ok"),
        ("commissions", "ok"),
        ("ledger", "ok"),
        ("query", "ok"),
    ]
    assert "does not exist yet: the first run creates it" in done.out
    assert "The query has the columns event_id, amount" in done.out
    assert tables(warehouse) == before
    sync()
    rows = warehouse.run("SELECT count(*) FROM firstpromoter_refunds")

    done = cli("check", CONN_ID)

    assert "can be read and written" in " ".join(done.out.split())
    assert warehouse.run("SELECT count(*) FROM firstpromoter_refunds") == rows


def tables(database: Any) -> set[str]:
    from sqlalchemy import inspect

    return set(inspect(database.engine()).get_table_names())


def test_check_goes_on_after_a_failure_and_exits_with_3(
    account: Sandbox, warehouse: Any, connect: Callable[..., str], cli: Callable[..., Any], tmp_path: Path
) -> None:
    connect(ledger_conn_id="warehouse", password="wrong")
    (tmp_path / "refunds.sql").write_text("SELECT event_id FROM refunds")

    done = cli("check", CONN_ID, "--sql-conn-id", "warehouse", "--sql", str(tmp_path / "refunds.sql"), "-o", "json")

    assert done.code == 3
    assert [row["result"] for row in done.json] == ["failed", "failed", "ok", "failed"]
    assert "FirstPromoter refused the API key" in done.out
    assert "lacks the column amount" in done.out


def test_check_says_that_the_key_may_not_read_commissions(
    account: Sandbox, warehouse: Any, cli: Callable[..., Any]
) -> None:
    account.fault("status", status=403, times=None, path="/company/commissions")

    done = cli("check", CONN_ID, "-o", "json")

    assert done.code == 3
    assert [(row["check"], row["result"]) for row in done.json] == [
        ("connection", "ok"),
        ("commissions", "failed"),
        ("ledger", "ok"),
    ]
    assert "403" in done.json[1]["detail"]


def test_check_of_a_ledger_that_cannot_be_written_fails(
    account: Sandbox, warehouse: Any, cli: Callable[..., Any], set_connection: Callable[..., str]
) -> None:
    if warehouse.kind != "postgresql":
        pytest.skip("SQLite has no roles")
    sync()
    warehouse.run("DROP ROLE IF EXISTS reader")
    warehouse.run("CREATE ROLE reader LOGIN")
    warehouse.run("GRANT USAGE ON SCHEMA public TO reader")
    warehouse.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    set_connection("warehouse", **{**warehouse.connection, "login": "reader", "password": ""})

    done = cli("check", CONN_ID, "-o", "json")

    assert done.code == 3
    assert "cannot be written: " in done.json[2]["detail"]
    assert "permission denied" in done.json[2]["detail"]
    warehouse.run("DROP OWNED BY reader")
    warehouse.run("DROP ROLE reader")


# --- preview ----------------------------------------------------------------------------------------------


def test_preview_sends_and_writes_nothing(account: Sandbox, warehouse: Any, cli: Callable[..., Any]) -> None:
    before = tables(warehouse)

    done = cli("preview", CONN_ID, *QUERY)

    assert done.code is None
    assert done.out.startswith("Preview: nothing was sent or written")
    assert tables(warehouse) == before
    assert account.recorded() == []
    would = cli("preview", CONN_ID, *QUERY, "-o", "json").json["would_be_sent"]
    assert would["by_currency"]["account"]["sum"] == 3003
    assert "by_currency" in cli("preview", CONN_ID, *QUERY, "-o", "yaml").out


def test_preview_of_a_row_that_would_be_rejected_exits_with_3(
    account: Sandbox, warehouse: Any, cli: Callable[..., Any]
) -> None:
    warehouse.fill([refund(4, amount=-1)])
    assert cli("preview", CONN_ID, *QUERY).code == 3
    done = cli("preview", CONN_ID, "--sql", "SELECT 1")
    assert (done.code, done.err) == (1, "A query needs --sql and --sql-conn-id; missing: --sql-conn-id\n")
    assert cli("check", CONN_ID, "--sql-conn-id", "warehouse").err.endswith("; missing: --sql\n")
    done = cli("preview", CONN_ID, "--sql-conn-id", "warehouse", "--sql", "absent.sql")
    assert (done.code, len(done.err.splitlines())) == (1, 1)


# --- reconcile --------------------------------------------------------------------------------------------


def test_reconcile_finds_a_mismatch_and_prints_the_command_that_accepts_it(
    account: Sandbox, warehouse: Any, cli: Callable[..., Any]
) -> None:
    sync()
    assert cli("reconcile", CONN_ID, "--created-from", "35d").code is None
    FirstPromoterHook().track_refund(refund(7))  # which the ledger does not learn of

    done = cli("reconcile", CONN_ID, "-o", "json")

    assert done.code == 3
    assert done.json["missing_in_ledger"] == 1
    assert "missing_in_ledger: 're_7'. " in done.err
    command = done.err.strip().rpartition(": ")[2]
    assert cli("reconcile", CONN_ID, "--max-mismatches", "any").code is None
    assert cli(*shlex.split(command.removeprefix("airflow firstpromoter ").removeprefix(f"{PROGRAM} "))).code is None
    done = cli("reconcile", CONN_ID)
    assert done.code is None
    assert "accepted" in done.out
    runs = cli("report", CONN_ID, "--view", "last_runs", "-o", "json").json
    assert {run["task_id"] for run in runs} == {"sync", "reconcile"}
    assert {run["run_id"][:5] for run in runs if run["task_id"] == "reconcile"} == {"cli__"}


# --- revert -----------------------------------------------------------------------------------------------


def test_revert_previews_and_denies_no_more_than_it_may(
    account: Sandbox, warehouse: Any, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sync()
    run = ("--dag-id", "dag", "--run-id", "manual__1")

    done = cli("revert", CONN_ID, *run)
    assert done.code is None, done.err
    assert done.out.startswith("Preview of a revert: nothing was denied")
    assert "--max-reverted 3" in done.err
    refused = cli("revert", CONN_ID, *run, "--max-reverted", "2", "--yes")
    assert refused.code == 1
    assert "3 refunds (run 'manual__1' of DAG 'dag'" in refused.err
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert cli("revert", CONN_ID, *run, "--max-reverted", "3").err.endswith("Nothing was denied\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert cli("revert", CONN_ID, *run, "--max-reverted", "3").code == 1, "no terminal, and no --yes"
    assert denied(account) == []

    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    done = cli("revert", CONN_ID, "--event-id", "re_1", "--max-reverted", "1")
    assert done.code is None
    assert "The commissions of 1 refund will be denied in FirstPromoter. Go on? (y/n)" in done.err
    assert denied(account) == ["re_1"]
    done = cli("revert", CONN_ID, *run, "--max-reverted", "3", "--yes", "-o", "json")

    assert done.code is None
    assert (done.json["reverted"], done.json["already_reverted"]) == (2, 1)
    assert denied(account) == ["re_0", "re_1", "re_2"]
    assert set(ledger_outcomes(warehouse).values()) == {"reverted"}


@pytest.mark.parametrize("selection", [[], ["--dag-id", "dag"], ["--event-id", "re_1", "--sent-from", "2026-01-01"]])
def test_revert_without_one_clear_selection_exits_with_one_line(
    selection: list[str], account: Sandbox, cli: Callable[..., Any]
) -> None:
    done = cli("revert", CONN_ID, *selection)
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
