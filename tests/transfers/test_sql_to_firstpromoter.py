"""SqlToFirstPromoterOperator: a query of any size, on SQLite and PostgreSQL, kept level with FirstPromoter."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_firstpromoter.exceptions import (
    AccessRefusedError,
    ConnectionSettingsError,
    RefundInputError,
    RefundsFailedError,
    RefundsRejectedError,
    RunRefusedError,
    SourceError,
)
from airflow_provider_firstpromoter.sandbox import Account, Sandbox
from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator
from tests import support
from tests.support import ALL_REFUNDS, Task, ledger_outcomes, nonzero_outcomes


def sync_task(sql: str = ALL_REFUNDS, *, run_id: str = "manual__1", **parameters: Any) -> Task:
    """Return the operator as a task."""
    parameters = {"sql_conn_id": "warehouse", **parameters}
    return Task(SqlToFirstPromoterOperator(task_id="sync", sql=sql, **parameters), run_id=run_id)


def refund(number: int, **values: Any) -> dict[str, Any]:
    return support.refund(number, digits=5, **values)


def refunds(count: int, start: int = 0, **values: Any) -> list[dict[str, Any]]:
    return support.refunds(count, start, digits=5, **values)


def sent(sandbox: Sandbox, after: int = 0) -> list[str]:
    return [request.body["event_id"] for request in sandbox.refund_requests(after=after)]


@pytest.fixture(autouse=True)
def firstpromoter(sandbox: Sandbox, connect: Callable[..., str]) -> Sandbox:
    """A FirstPromoter that knows ``cus_0`` to ``cus_9``; its connection says that the ledger is in the warehouse."""
    connect(max_attempts=1, ledger_conn_id="warehouse")
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(10))
    return sandbox


@pytest.fixture
def sqlite(new_database: Callable[..., Any]) -> Any:
    """A warehouse in SQLite, for what is the same in every database."""
    return new_database("sqlite", "warehouse")


# --- any size ---


@pytest.mark.parametrize(("ledger", "count"), [("beside", 1300), ("elsewhere", 600)])
def test_a_query_of_any_size_is_sent_once(
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
    assert summary["reversed"] == {"cash": sum(recorded.reward_amount for recorded in sandbox.recorded())}
    rewards = task.ti.pushed["rewards"]
    assert len(rewards) == min(referred, 1000), "XCom is no place for more"
    assert summary["warnings"] == (
        ["200 more rewards than the 1000 in XCom: read them in the ledger"] if referred == 1200 else []
    )
    assert all(result["reward"]["amount"] < 0 for result in rewards)

    warehouse.fill(refunds(3, start=count))
    again = sync_task(run_id="manual__2").run()

    assert sorted(sent(sandbox, after=count)) == [f"re_{number:05}" for number in range(count, count + 3)]
    assert nonzero_outcomes(again) == {"not_referred": 3}
    assert again["requests"] == 3


def test_an_empty_query_is_green(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill(refunds(1))

    summary = sync_task(ALL_REFUNDS + " WHERE amount < 0").run()

    assert (nonzero_outcomes(summary), summary["requests"]) == ({}, 0)
    assert sent(sandbox) == []


def test_xcom_holds_no_emails_and_uids(sqlite: Any) -> None:
    sqlite.fill([refund(number, email=f"c{number}@example.com") for number in range(3)])
    task = sync_task()
    task.run()

    text = json.dumps(task.ti.pushed)
    assert "re_00000" in text
    assert "example.com" not in text
    assert "cus_" not in text


# --- brakes ---


def test_more_than_max_pending_is_refused_before_the_first_request(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill(refunds(3, amount=1000) + refunds(2, start=3, amount=500, currency="EUR"))
    task = sync_task(max_pending=4)

    with pytest.raises(RunRefusedError) as refused:
        task.run()

    assert isinstance(refused.value, AirflowFailException), "a retry would not mend it"
    assert str(refused.value).startswith(
        "5 refunds are pending, more than max_pending=4: "
        "1000 minor units of EUR, 3000 minor units of the account's currency. Nothing was sent."
    )
    assert sandbox.request_counts() == {}

    assert nonzero_outcomes(sync_task(max_pending=5).run()) == {"recorded": 5}
    warehouse.fill(refunds(2, start=5))
    assert nonzero_outcomes(sync_task(max_pending=4, run_id="manual__2").run()) == {"recorded": 2}, (
        "settled ones do not count"
    )


def test_max_pending_none_takes_any_number(sqlite: Any, sandbox: Sandbox) -> None:
    sqlite.fill(refunds(20))

    assert nonzero_outcomes(sync_task(max_pending=None).run()) == {"recorded": 10, "not_referred": 10}


def test_limit_sends_so_many_a_run_until_nothing_is_left(sqlite: Any, sandbox: Sandbox) -> None:
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
    assert "6 refunds are pending, more than max_pending=4" in summary["warnings"][0]
    assert sandbox.request_counts() == {}
    assert task.ti.pushed["rewards"] == []
    tables = "information_schema.tables" if warehouse.kind == "postgresql" else "sqlite_master"
    name = "table_name" if warehouse.kind == "postgresql" else "name"
    assert warehouse.run(f"SELECT {name} FROM {tables} WHERE {name} = 'firstpromoter_refunds'") == []


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused_when_the_dag_is_parsed(limit: int) -> None:
    with pytest.raises(ValueError, match="limit must be at least 1"):
        sync_task(limit=limit)


# --- again, and after a failure ---


def test_after_a_failure_the_retry_sends_the_rest_and_hands_on_everything(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill(refunds(30))
    for number in range(8, 30):
        sandbox.fault("status", status=503, event_id=f"re_{number:05}")
    task = sync_task(max_in_flight=1)

    with pytest.raises(RefundsFailedError, match="10 refunds failed in a row"):
        task.run()

    assert nonzero_outcomes(task.summary) == {"recorded": 8, "failed": 10, "pending": 12}
    assert len(task.ti.pushed["rewards"]) == 8
    assert len(ledger_outcomes(warehouse)) == 8
    sandbox.clear_faults()

    retry = sync_task()
    summary = retry.run()

    assert sorted(sent(sandbox, after=18)) == [f"re_{number:05}" for number in range(8, 30)]
    assert nonzero_outcomes(summary) == {"recorded": 10, "not_referred": 20}, "the first try's are among them"
    assert len(retry.ti.pushed["rewards"]) == 10
    assert len(sandbox.recorded()) == 10


def test_a_cleared_task_hands_on_the_same_counts_and_rewards_without_a_request(
    warehouse: Any, sandbox: Sandbox
) -> None:
    warehouse.fill([*refunds(15), refund(3, amount=1003), refund(20, amount=-1)])
    first = sync_task(max_rejected=None)
    first.run()
    before = len(sandbox.refund_requests())

    cleared = sync_task(max_rejected=None)
    cleared.run()

    assert len(sandbox.refund_requests()) == before
    assert cleared.ti.pushed["rewards"] == first.ti.pushed["rewards"]
    for name in ("outcomes", "reversed", "refunded", "rewards_unknown", "without_sale_event_id", "problems"):
        assert cleared.summary[name] == first.summary[name], name


def test_another_run_hands_on_its_own_only(sqlite: Any) -> None:
    sqlite.fill(refunds(3))
    sync_task().run()
    sqlite.fill(refunds(2, start=3))
    task = sync_task(run_id="manual__2")

    summary = task.run()

    assert nonzero_outcomes(summary) == {"recorded": 2}
    assert [result["event_id"] for result in task.ti.pushed["rewards"]] == ["re_00003", "re_00004"]


def test_a_settled_refund_whose_amount_differs_crosses_the_wire_and_is_named(warehouse: Any, sandbox: Sandbox) -> None:
    warehouse.fill(refunds(5))
    sync_task().run()
    warehouse.run("UPDATE refunds SET amount = 7777 WHERE event_id = 're_00003'")
    task = sync_task(run_id="manual__2")

    with pytest.raises(RefundsRejectedError, match=r"1 changed: 're_00003': is settled with amount 1003, .* 7777"):
        task.run()

    assert nonzero_outcomes(task.summary) == {"changed": 1}
    assert len(sandbox.refund_requests()) == 5


@pytest.mark.parametrize("wrong", [{"currency": "ZZZ"}, {"amount": -1}], ids=["by-the-api", "by-ourselves"])
def test_a_rejected_row_costs_one_request_at_most_and_stays_red_until_it_is_put_right(
    wrong: dict[str, Any], warehouse: Any, sandbox: Sandbox
) -> None:
    warehouse.fill([refund(0), refund(1, **wrong), refund(2)])
    for number in range(3):
        task = sync_task(run_id=f"manual__{number}")
        with pytest.raises(RefundsRejectedError, match="1 rejected: 're_00001'"):
            task.run()
        assert task.summary["outcomes"]["rejected"] == 1
    assert sorted(sent(sandbox)) == ["re_00000", *(["re_00001"] if "currency" in wrong else []), "re_00002"]

    warehouse.run("UPDATE refunds SET currency = 'USD', amount = 5 WHERE event_id = 're_00001'")

    assert nonzero_outcomes(sync_task(run_id="manual__9").run()) == {"recorded": 1}


def test_a_late_sale_is_found_the_next_day(warehouse: Any, sandbox: Sandbox) -> None:
    """A refund, 404, its sale, the next day's run, a reward."""
    month = timedelta(days=30)
    warehouse.fill([refund(77)])
    assert nonzero_outcomes(sync_task(recheck_unreferred=month).run()) == {"not_referred": 1}
    sandbox.add_lead(uid="cus_77")
    assert sync_task(recheck_unreferred=month, run_id="manual__2").run()["requests"] == 0, "not on the same day"
    for column in ("first_sent_at", "last_sent_at"):
        ((at,),) = warehouse.run(f"SELECT {column} FROM firstpromoter_refunds")
        yesterday = (datetime.fromisoformat(str(at)) - timedelta(days=1)).isoformat(sep=" ", timespec="microseconds")
        warehouse.run(f"UPDATE firstpromoter_refunds SET {column} = '{yesterday}'")

    task = sync_task(recheck_unreferred=month, run_id="manual__3")
    summary = task.run()

    assert nonzero_outcomes(summary) == {"recorded": 1}
    assert summary["rechecked"] == 1
    assert [result["event_id"] for result in task.ti.pushed["rewards"]] == ["re_00077"]


# --- errors before any request ---


def test_without_a_ledger_the_task_says_where_to_name_one(
    sqlite: Any, sandbox: Sandbox, connect: Callable[..., str]
) -> None:
    connect()
    sqlite.fill(refunds(1))

    with pytest.raises(ConnectionSettingsError, match="Set 'ledger_conn_id' in the extra of connection"):
        sync_task().run()

    assert nonzero_outcomes(sync_task(ledger_conn_id="warehouse").run()) == {"recorded": 1}


@pytest.mark.parametrize(
    ("sql", "error", "told"),
    [
        ("SELECT event_id, uid FROM refunds", RefundInputError, "lacks the column amount; it has event_id, uid"),
        ("SELECT event_id, amount FROM refunds", RefundInputError, "lacks the column uid or email"),
        ("SELECT * FROM refundz", SourceError, "on connection 'warehouse' failed: .*refundz"),
        ("UPDATE refunds SET amount = 1", (RefundInputError, SourceError), "returns no rows at all|syntax error"),
    ],
)
def test_a_query_that_gives_no_refunds_is_an_error_before_any_request(
    sql: str, error: Any, told: str, warehouse: Any, sandbox: Sandbox
) -> None:
    warehouse.fill(refunds(1))

    with pytest.raises(error, match=told):
        sync_task(sql).run()

    assert sandbox.request_counts() == {}
    assert warehouse.run("SELECT amount FROM refunds") == [(1000,)]


def test_a_wrong_key_ends_the_task_after_one_request(
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


BOTH = ("sqlite", "postgresql")


@pytest.mark.parametrize("again", [False, True], ids=["first-run", "with-a-ledger"])
@pytest.mark.parametrize(
    ("warehouse", "sql", "parameters"),
    [
        pytest.param(kind, sql, parameters, id=f"{kind}-{sql}")
        for kinds, sql, parameters in [
            (BOTH, ALL_REFUNDS + ";", None),
            (BOTH, ALL_REFUNDS + " -- all of them; really", None),
            (BOTH, ALL_REFUNDS + "; -- that is it\n-- %s :name ?\n", None),
            (BOTH, "/* 100% :of ? %(them)s */ " + ALL_REFUNDS, None),
            (BOTH, ALL_REFUNDS + " WHERE event_id LIKE 're%' AND event_id NOT LIKE '%x'", None),
            (BOTH, ALL_REFUNDS + " WHERE '12:30:00' <> ':name' AND '?' <> '%s'", None),
            (BOTH, "WITH r AS (SELECT * FROM refunds) SELECT * FROM r", None),
            (
                BOTH,
                "SELECT 'b' AS event_id, 5 AS amount, 'cus_1' AS uid UNION ALL SELECT 'a', 6, 'cus_2'",
                None,
            ),
            (BOTH, ALL_REFUNDS + " ORDER BY event_id LIMIT 2", None),
            (
                ("postgresql",),
                "SELECT event_id::varchar, amount::numeric, uid::text FROM refunds WHERE '5'::int = 5",
                None,
            ),
            (("postgresql",), """SELECT *, '{"a": [1]}'::jsonb #>> '{a,0}' AS one FROM refunds""", None),
            (
                ("postgresql",),
                ALL_REFUNDS + " WHERE event_id = %(name)s OR event_id LIKE '%%_00001'",
                {"name": "re_00000"},
            ),
            (("postgresql",), ALL_REFUNDS + " WHERE event_id = ANY(%s) -- 100%%", [["re_00000", "re_00001"]]),
            (("sqlite",), ALL_REFUNDS + " WHERE event_id = :name OR event_id LIKE '%_00001'", {"name": "re_00000"}),
            (("sqlite",), ALL_REFUNDS + " WHERE event_id IN (?, ?) -- really?", ["re_00000", "re_00001"]),
        ]
        for kind in kinds
    ],
    indirect=["warehouse"],
)
def test_the_authors_sql_goes_to_the_database_as_it_is(
    sql: str, parameters: Any, again: bool, warehouse: Any, sandbox: Sandbox
) -> None:
    warehouse.fill(refunds(2))
    if again:
        # With a ledger beside it, the query is joined with it inside the database.
        sync_task("SELECT 'other' AS event_id, 1 AS amount, 'cus_0' AS uid").run()
    before = len(sandbox.refund_requests())

    summary = sync_task(sql, parameters=parameters, run_id="manual__2").run()

    assert nonzero_outcomes(summary) == {"recorded": 2}
    assert len(sandbox.refund_requests()) == before + 2
    assert sync_task(sql, parameters=parameters, run_id="manual__3").run()["requests"] == 0


def test_sql_comes_from_a_file_and_is_templated_with_its_parameters(
    warehouse: Any, sandbox: Sandbox, tmp_path: Path, run_dag: Callable[..., Any]
) -> None:
    warehouse.fill(refunds(10))
    place = ":first" if warehouse.kind == "sqlite" else "%(first)s"
    (tmp_path / "refunds.sql").write_text(f"SELECT * FROM {{{{ params.table }}}} WHERE event_id >= {place} -- all\n")
    dag = DAG(
        "from_file",
        schedule=None,
        start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
        template_searchpath=str(tmp_path),
        params={"table": "refunds", "number": 8},
    )
    SqlToFirstPromoterOperator(
        task_id="sync",
        sql="refunds.sql",
        sql_conn_id="{{ params.table and 'warehouse' }}",
        parameters={"first": "re_{{ '%05d' % params.number }}"},
        dag=dag,
    )

    run = run_dag(dag)

    assert run.states == {"sync": "success"}
    assert sorted(sent(sandbox)) == ["re_00008", "re_00009"]
    assert run.xcom("sync") == run.xcom("sync", "summary")
    assert [result["event_id"] for result in run.xcom("sync", "rewards")] == ["re_00008", "re_00009"]


def test_several_accounts_are_mapped_with_their_own_rows_keys_and_ledger_entries(
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
    assert set(warehouse.run("SELECT account, event_id, map_index, outcome FROM firstpromoter_refunds")) == {
        ("account-eu@127.0.0.1", "re_1", 0, "recorded"),
        ("account-eu@127.0.0.1", "re_2", 0, "recorded"),
        ("account-us@127.0.0.1", "re_1", 1, "recorded"),
    }
    assert [nonzero_outcomes(run.xcom("sync", map_index=index)) for index in (0, 1)] == [
        {"recorded": 2},
        {"recorded": 1},
    ]
