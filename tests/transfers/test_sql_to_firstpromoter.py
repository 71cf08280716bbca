"""SqlToFirstPromoterOperator: queries of any size, limits, and errors before the first request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_firstpromoter.exceptions import (
    AccessRefusedError,
    ConnectionSettingsError,
    InputError,
    RunRefusedError,
    SourceError,
)
from airflow_provider_firstpromoter.sandbox import Account, Sandbox
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests.support import ALL_REFUNDS, ledger_outcomes, nonzero_outcomes
from tests.transfers.syncing import refund, refunds, sent, sync_task

# --- any size ---


@pytest.mark.parametrize(("ledger", "count"), [("beside", 1300), ("elsewhere", 600)])
def test_query_of_any_size_is_sent_once(
    ledger: str,
    count: int,
    warehouse: Any,
    sandbox: Sandbox,
    connect: Callable[..., str],
    new_database: Callable[..., Any],
) -> None:
    database = warehouse
    if ledger == "elsewhere":
        database = new_database("sqlite", "ledger")
        connect(ledger_conn_id="ledger")
    referred = count - 100
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(10, referred))
    warehouse.fill(refunds(count))
    task = sync_task()

    summary = task.run()

    assert sorted(sent(sandbox)) == [f"re_{number:05}" for number in range(count)]
    assert nonzero_outcomes(summary) == {"recorded": referred, "not_referred": 100}
    assert ledger_outcomes(database) == {
        f"re_{number:05}": "recorded" if number < referred else "not_referred" for number in range(count)
    }
    assert summary["rewards"] == {"cash": sum(recorded.reward_amount for recorded in sandbox.recorded())}
    rewards = task.ti.pushed["rewards"]
    assert len(rewards) == min(referred, 1000), "XCom is no place for more"
    assert summary["warnings"] == (
        ["200 more rewards than the 1000 in XCom: read them in the ledger"] if referred == 1200 else []
    )
    assert all(result["rewards"]["cash"] < 0 for result in rewards)

    warehouse.fill(refunds(3, start=count))
    again = sync_task(run_id="manual__2").run()

    assert sorted(sent(sandbox, after=count)) == [f"re_{number:05}" for number in range(count, count + 3)]
    assert nonzero_outcomes(again) == {"not_referred": 3}
    assert again["requests"] == 3


def test_empty_query_succeeds(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill(refunds(1))

    summary = sync_task(ALL_REFUNDS + " WHERE amount < 0").run()

    assert (nonzero_outcomes(summary), summary["requests"]) == ({}, 0)
    assert sent(sandbox) == []


def test_xcom_has_no_emails_and_uids(sqlite: Any) -> None:
    sqlite.fill([refund(number, email=f"c{number}@example.com") for number in range(3)])
    task = sync_task()
    task.run()

    text = json.dumps(task.ti.pushed)
    assert "re_00000" in text
    assert "example.com" not in text
    assert "cus_" not in text


# --- brakes ---


def test_more_than_max_pending_raises_before_the_first_request(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill(refunds(3, amount=1000) + refunds(2, start=3, amount=500, currency="EUR"))
    task = sync_task(max_pending=4)

    with pytest.raises(RunRefusedError) as refused:
        task.run()

    assert isinstance(refused.value, AirflowFailException), "a retry would not mend it"
    assert str(refused.value).startswith(
        "5 refunds are pending, more than max_pending=4: "
        "10.00 EUR (2 refunds, the largest 5.00 EUR), "
        "3,000 minor units of the account currency (3 refunds, "
        "the largest 1,000 minor units of the account currency). Nothing was sent."
    )
    assert sandbox.request_counts() == {}

    assert nonzero_outcomes(sync_task(max_pending=5).run()) == {"recorded": 5}
    warehouse.fill(refunds(2, start=5))
    assert nonzero_outcomes(sync_task(max_pending=4, run_id="manual__2").run()) == {"recorded": 2}, (
        "settled ones do not count"
    )


def test_summary_of_a_preview_bounds_number_and_sum_of_what_is_sent(sqlite: Any, sandbox: Sandbox) -> None:
    """As where a person has approved it in between."""
    sqlite.fill(refunds(3, amount=1000))
    found = sync_task(preview=True).run()

    sqlite.fill(refunds(1, start=3, amount=1))
    for change in ("SELECT 1", "UPDATE refunds SET amount = 999 WHERE event_id = 're_00000'"):
        sqlite.run(change)
        with pytest.raises(RunRefusedError, match=r"^More is pending than the preview found: .*\. Nothing was sent"):
            sync_task(max_pending=found).run()
    for change in (
        "DELETE FROM refunds WHERE event_id = 're_00000'",
        "UPDATE refunds SET amount = 1002 WHERE amount = 1",
    ):
        sqlite.run(change)
    for change in ("currency = 'EUR', amount = 1", "currency = NULL, amount = 1001"):
        sqlite.run(f"UPDATE refunds SET {change} WHERE event_id = 're_00003'")
        with pytest.raises(RunRefusedError, match=r"the preview found 3, with the sums \{'account': 3000\}"):
            sync_task(max_pending=found).run()
    assert sandbox.request_counts() == {}

    sqlite.run("UPDATE refunds SET amount = 1000 WHERE event_id = 're_00003'")
    sent_now = sync_task(max_pending=found).run()
    assert (sent_now["sent"], sent_now["amounts"]) == (3, {"account": 3000})

    sqlite.fill(refunds(1, start=4))
    with pytest.raises(RunRefusedError, match="was no preview"):
        sync_task(max_pending=sent_now, run_id="manual__2").run()


def test_max_pending_counts_events_that_would_be_sent_and_no_other_rows(sqlite: Any, sandbox: Sandbox) -> None:
    """Eight rows that are never sent kept two good ones from being sent, for ever."""
    sqlite.fill([*refunds(8, amount=0), *refunds(2, start=8), *refunds(2, start=8)])

    task = sync_task(max_pending=2, max_rejected=None)
    assert nonzero_outcomes(task.run()) == {"recorded": 2, "rejected": 8}
    assert task.summary["repeated"] == 2


def test_max_pending_none_allows_any_number(sqlite: Any, sandbox: Sandbox) -> None:
    sqlite.fill(refunds(20))

    assert nonzero_outcomes(sync_task(max_pending=None).run()) == {"recorded": 10, "not_referred": 10}


def test_limit_applies_to_each_run_until_nothing_is_pending(sqlite: Any, sandbox: Sandbox) -> None:
    sqlite.fill(refunds(10))

    runs = [sync_task(limit=4, run_id=f"manual__{number}").run() for number in range(4)]

    assert [run["sent"] for run in runs] == [4, 4, 2, 0]
    assert [run["left_pending"] for run in runs] == [6, 2, 0, 0]
    assert sorted(sent(sandbox)) == [f"re_{number:05}" for number in range(10)]


def test_preview_reports_and_neither_sends_nor_writes(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill([*refunds(5), refund(7, amount=0)])
    task = sync_task(preview=True, max_pending=4)

    summary = task.run()

    assert nonzero_outcomes(summary) == {"pending": 5, "rejected": 1}
    assert summary["preview"] is True
    assert "5 refunds are pending, more than max_pending=4" in summary["warnings"][0]
    assert sandbox.request_counts() == {}
    assert task.ti.pushed["rewards"] == []
    tables = "information_schema.tables" if warehouse.kind == "postgresql" else "sqlite_master"
    name = "table_name" if warehouse.kind == "postgresql" else "name"
    assert warehouse.run(f"SELECT {name} FROM {tables} WHERE {name} = 'firstpromoter_refunds'") == []


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one_is_refused_when_the_dag_is_parsed(limit: int) -> None:
    with pytest.raises(ValueError, match="limit must be at least 1"):
        sync_task(limit=limit)


# --- errors before any request ---


def test_missing_ledger_error_says_where_to_set_it(sqlite: Any, sandbox: Sandbox, connect: Callable[..., str]) -> None:
    connect()
    sqlite.fill(refunds(1))

    with pytest.raises(ConnectionSettingsError, match="Set 'ledger_conn_id' in the extra of connection"):
        sync_task().run()

    assert nonzero_outcomes(sync_task(ledger_conn_id="warehouse").run()) == {"recorded": 1}


@pytest.mark.parametrize(
    ("sql", "error", "message"),
    [
        ("SELECT event_id, uid FROM refunds", InputError, "lacks the column amount; it has event_id, uid"),
        ("SELECT event_id, amount FROM refunds", InputError, "lacks the column uid or email"),
        ("SELECT * FROM refundz", SourceError, "on connection 'warehouse' failed: .*refundz"),
        ("UPDATE refunds SET amount = 1", (InputError, SourceError), "returns no rows at all|syntax error"),
    ],
)
def test_query_without_refund_columns_raises_before_any_request(
    sql: str, error: Any, message: str, warehouse: Any, sandbox: Sandbox
) -> None:
    warehouse.fill(refunds(1))

    with pytest.raises(error, match=message):
        sync_task(sql).run()

    assert sandbox.request_counts() == {}
    assert warehouse.run("SELECT amount FROM refunds") == [(1000,)]


def test_wrong_api_key_ends_the_task_after_one_request(
    sqlite: Any, sandbox: Sandbox, connect: Callable[..., str]
) -> None:
    sqlite.fill(refunds(20))
    connect(password="not-the-right-key", ledger_conn_id="warehouse")
    task = sync_task()

    with pytest.raises(AccessRefusedError):
        task.run()

    assert sandbox.request_counts() == {"POST /api/v2/track/refund": {"401": 1}}
    assert ledger_outcomes(sqlite) == {}
    assert task.summary["left_pending"] == 20


# --- the author's SQL ---


def test_mapped_accounts_have_their_own_rows_keys_and_ledger_rows(
    warehouse: Any,
    connect: Callable[..., str],
    new_sandbox: Callable[..., Sandbox],
    run_dag: Callable[..., Any],
) -> None:
    accounts = (Account("account-eu", "key-of-europe", "EUR"), Account("account-us", "key-of-america", "USD"))
    sandbox = new_sandbox(accounts=accounts, requests_per_minute=0)
    for account in accounts:
        sandbox.add_lead(uid="cus_1", account=account.id)
        connect(
            sandbox,
            conn_id=account.id.replace("-", "_"),
            login=account.id,
            password=account.api_key,
            ledger_conn_id="warehouse",
        )
    warehouse.fill(
        [
            {"event_id": "re_1", "amount": 100, "uid": "cus_1", "region": "eu"},
            {"event_id": "re_2", "amount": 200, "uid": "cus_1", "region": "eu"},
            {"event_id": "re_1", "amount": 300, "uid": "cus_1", "region": "us"},
        ],
        region="VARCHAR(2)",
    )
    place = "?" if warehouse.kind == "sqlite" else "%s"
    with DAG("accounts", schedule=None, start_date=pendulum.datetime(2025, 1, 1, tz="UTC")) as dag:
        SqlToFirstPromoterOperator.partial(
            task_id="sync", sql=f"SELECT * FROM refunds WHERE region = {place}", sql_conn_id="warehouse"
        ).expand_kwargs(
            [
                {"firstpromoter_conn_id": "account_eu", "parameters": ["eu"]},
                {"firstpromoter_conn_id": "account_us", "parameters": ["us"]},
            ]
        )

    run = run_dag(dag)

    assert run.states == {"sync[0]": "success", "sync[1]": "success"}
    assert {(one.account, one.event_id, one.original_amount) for one in sandbox.recorded()} == {
        ("account-eu", "re_1", -100),
        ("account-eu", "re_2", -200),
        ("account-us", "re_1", -300),
    }
    host = urlsplit(sandbox.base_url).netloc
    assert set(warehouse.run("SELECT account, event_id, map_index, outcome FROM firstpromoter_refunds")) == {
        (f"account-eu@{host}", "re_1", 0, "recorded"),
        (f"account-eu@{host}", "re_2", 0, "recorded"),
        (f"account-us@{host}", "re_1", 1, "recorded"),
    }
    assert [nonzero_outcomes(run.xcom("sync", map_index=index)) for index in (0, 1)] == [
        {"recorded": 2},
        {"recorded": 1},
    ]
