"""Snowflake, by Airflow's own hook and Snowflake's own connector: rows, ledger, sensor and reconciliation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("fakesnow", reason="needs an environment of its own: make test-snowflake")

from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, LedgerError, SourceError
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sensors.unrecorded import UnrecordedRefundSensor
from tests.reconcile.account import TABLE as MISMATCHES
from tests.reconcile.account import AccountWithLedger, nonzero_kinds
from tests.support import ALL_REFUNDS, event_ids, ledger_outcomes, nonzero_outcomes
from tests.transfers.syncing import refund, refunds, sent, sync_task

LEDGER = "firstpromoter_refunds"


@pytest.fixture(autouse=True)
def _firstpromoter(firstpromoter: Sandbox) -> None:
    """Every test here has one."""


def writes(statements: list[str]) -> list[str]:
    """The statements that change the ledger."""
    return [
        statement
        for statement in statements
        if LEDGER in statement and statement.split(None, 1)[0].upper() in ("MERGE", "INSERT", "UPDATE", "DELETE")
    ]


# --- rows and ledger ---


def test_second_run_sends_nothing(snowflake: Any, sandbox: Sandbox) -> None:
    snowflake.fill(refunds(12))
    task = sync_task()

    summary = task.run()

    assert nonzero_outcomes(summary) == {"recorded": 10, "not_referred": 2}
    assert sorted(sent(sandbox)) == [f"re_{number:05}" for number in range(12)]
    assert {reward["event_id"] for reward in task.ti.pushed["rewards"]} == {f"re_{number:05}" for number in range(10)}
    assert ledger_outcomes(snowflake) == {
        f"re_{number:05}": "recorded" if number < 10 else "not_referred" for number in range(12)
    }
    again = sync_task(run_id="manual__2").run()
    assert (nonzero_outcomes(again), again["requests"]) == ({}, 0)


def test_result_of_a_task_that_runs_again_is_the_same(snowflake: Any, sandbox: Sandbox) -> None:
    snowflake.fill(refunds(3))
    first = sync_task()
    first.run()

    second = sync_task()
    second.run()

    assert len(sent(sandbox)) == 3
    assert second.ti.pushed["rewards"] == first.ti.pushed["rewards"]


def test_new_rows_are_sent_and_settled_rows_left_out_inside_the_database(
    snowflake: Any, sandbox: Sandbox, snowflake_server: Any
) -> None:
    snowflake.fill(refunds(5))
    sync_task().run()
    snowflake.fill(refunds(2, start=5))
    snowflake_server.statements.clear()

    sync_task(run_id="manual__2").run()

    assert sent(sandbox, after=5) == ["re_00005", "re_00006"]
    assert [one for one in snowflake_server.statements if ALL_REFUNDS in one and LEDGER in one]


def test_ledger_columns_are_readable_by_analysts(snowflake: Any) -> None:
    snowflake.fill(refunds(1, currency="EUR", sale_event_id="ch_1") + refunds(1, start=20))
    sync_task().run()

    assert snowflake.run(
        f"SELECT Event_ID, row_amount, sent_amount, sent_currency, sale_event_id, recorded_amount < 0, last_sent_at > "
        f"'2020-01-01', first_sent_at = last_sent_at, NOT commissions_known FROM {LEDGER} ORDER BY event_id"
    ) == [
        ("re_00000", "1000", 1000, "EUR", "ch_1", True, True, True, False),
        ("re_00020", "1020", 1020, None, None, None, True, True, True),
    ]


def test_statements_do_not_grow_with_the_rows(snowflake: Any, snowflake_server: Any) -> None:
    snowflake.fill(refunds(1))
    sync_task().run()  # the tables are there
    counts = {}
    for rows in (5, 50):
        snowflake.run("DELETE FROM refunds")
        snowflake.fill(refunds(rows, start=1000 * rows))
        snowflake_server.statements.clear()
        assert sync_task(run_id=f"inserts__{rows}").run()["requests"] == rows
        inserts = len(snowflake_server.statements)
        snowflake.run("UPDATE refunds SET sale_event_id = 'ch_1'")
        snowflake_server.statements.clear()
        assert sync_task(run_id=f"updates__{rows}").run()["requests"] == rows
        counts[rows] = (inserts, len(snowflake_server.statements))

    assert counts[50] == counts[5]


def test_corrected_row_is_sent_and_its_ledger_row_updated(snowflake: Any, sandbox: Sandbox) -> None:
    snowflake.fill([refund(1), refund(2, amount=-5), refund(50)])
    with pytest.raises(Exception, match="rejected"):
        sync_task().run()
    assert ledger_outcomes(snowflake) == {"re_00001": "recorded", "re_00002": "rejected", "re_00050": "not_referred"}

    snowflake.run("UPDATE refunds SET amount = 500 WHERE event_id = 're_00002'")
    snowflake.run("UPDATE refunds SET uid = 'cus_5' WHERE event_id = 're_00050'")
    summary = sync_task(run_id="manual__2").run()

    assert nonzero_outcomes(summary) == {"recorded": 2}
    assert ledger_outcomes(snowflake) == {"re_00001": "recorded", "re_00002": "recorded", "re_00050": "recorded"}
    assert snowflake.run(f"SELECT count(*) FROM {LEDGER}") == [(3,)]


def test_changed_amount_of_a_recorded_refund_is_reported_and_not_sent(snowflake: Any, sandbox: Sandbox) -> None:
    snowflake.fill(refunds(2))
    sync_task().run()
    snowflake.run("UPDATE refunds SET amount = 7 WHERE event_id = 're_00001'")

    with pytest.raises(Exception, match="changed"):
        sync_task(run_id="manual__2").run()

    assert len(sent(sandbox)) == 2
    assert snowflake.run(f"SELECT recorded_amount FROM {LEDGER} WHERE event_id = 're_00001'") == [(-1001,)]


def test_odd_event_ids_are_settled_after_one_run(snowflake: Any, sandbox: Sandbox) -> None:
    odd = [
        "re_1",
        "RE_1",
        "it's",
        'say "no"',
        "100%",
        "%s",
        "%(x)s",
        ":x",
        "?",
        "back\\slash",
        "é😀",
        "NULL;",
        "$$",
        "--",
    ]
    snowflake.fill([refund(1, event_id=event_id) for event_id in odd])
    sync_task().run()

    assert sorted(sent(sandbox)) == sorted(odd)
    assert sync_task(run_id="manual__2").run()["requests"] == 0


def test_whole_numbers_and_major_amounts_are_taken(snowflake: Any, sandbox: Sandbox) -> None:
    number = 123456789012345678
    snowflake.fill(
        [{"event_id": number, "amount": "19.99", "currency": "USD", "uid": "cus_1"}],
        event_id="NUMBER(38, 0)",
        amount="NUMBER(12, 2)",
    )

    sync_task(amount_unit="major").run()

    (request,) = sandbox.refund_requests()
    assert (request.body["event_id"], int(request.body["amount"])) == (str(number), 1999)
    assert sync_task(run_id="manual__2", amount_unit="major").run()["requests"] == 0


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        (ALL_REFUNDS + " WHERE event_id LIKE 're%' AND ':x' <> '?' -- 100%", None),
        (ALL_REFUNDS + " WHERE event_id = %s OR event_id LIKE '%%_00001'", ["re_00000"]),
        (ALL_REFUNDS + " WHERE event_id = %(name)s OR event_id LIKE '%%_00001'", {"name": "re_00000"}),
        ("WITH r AS (SELECT * FROM refunds) SELECT * FROM r;", None),
        ('SELECT event_id AS "event_id", amount AS "Amount", uid FROM refunds ORDER BY 1 LIMIT 2', None),
    ],
    ids=["percent", "list", "mapping", "with", "quoted-names"],
)
def test_authors_sql_and_parameters_reach_snowflake_unchanged(
    sql: str, parameters: Any, snowflake: Any, sandbox: Sandbox
) -> None:
    snowflake.fill(refunds(2))

    for run_id, requests in (("manual__1", 2), ("manual__2", 0)):
        assert sync_task(sql, parameters=parameters, run_id=run_id).run()["requests"] == requests
    assert sorted(sent(sandbox)) == ["re_00000", "re_00001"]


@pytest.mark.parametrize("table", ["analytics.refunds_ledger", "{database}.analytics.refunds_ledger"])
def test_ledger_can_be_in_another_schema(table: str, snowflake: Any, sandbox: Sandbox) -> None:
    snowflake.fill(refunds(3))
    snowflake.run("CREATE SCHEMA analytics")
    table = table.format(database=snowflake.connection["extra"]["database"])

    assert sync_task(ledger_table=table).run()["requests"] == 3
    assert sync_task(run_id="manual__2", ledger_table=table).run()["requests"] == 0
    assert snowflake.run("SELECT count(*) FROM analytics.refunds_ledger") == [(3,)]


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_rows_in_snowflake_with_the_ledger_elsewhere(
    kind: str, snowflake: Any, sandbox: Sandbox, connect: Callable[..., str], new_database: Callable[..., Any]
) -> None:
    ledger = new_database(kind, "ledger")
    connect(ledger_conn_id="ledger")
    snowflake.fill(refunds(12))

    assert nonzero_outcomes(sync_task().run()) == {"recorded": 10, "not_referred": 2}
    assert sync_task(run_id="manual__2").run()["requests"] == 0
    assert len(ledger_outcomes(ledger)) == 12


def test_ledger_in_snowflake_with_the_rows_elsewhere(
    snowflake: Any,
    sandbox: Sandbox,
    connect: Callable[..., str],
    new_database: Callable[..., Any],
    set_connection: Callable[..., str],
) -> None:
    snowflake.conn_id = set_connection("ledger", **snowflake.connection)
    connect(ledger_conn_id="ledger")
    new_database("postgresql", "warehouse").fill(refunds(12))

    assert nonzero_outcomes(sync_task().run()) == {"recorded": 10, "not_referred": 2}
    assert sync_task(run_id="manual__2").run()["requests"] == 0
    assert len(ledger_outcomes(snowflake)) == 12


# --- sensor and reconciliation ---


def test_sensor_finds_what_is_not_settled(snowflake: Any) -> None:
    snowflake.fill(refunds(3))
    sync_task().run()
    sensor = UnrecordedRefundSensor(task_id="find", sql=ALL_REFUNDS + " ORDER BY event_id", sql_conn_id="warehouse")
    assert not sensor.poke({}).is_done

    snowflake.fill(refunds(2, start=3))

    found = sensor.poke({})
    assert found.is_done
    assert event_ids(found.xcom_value) == ["re_00003", "re_00004"]


def test_reconciliation_writes_mismatches_and_resolves_them(snowflake: Any, sandbox: Sandbox) -> None:
    account = AccountWithLedger(sandbox, snowflake)
    snowflake.fill(refunds(4))
    sync_task().run()
    sandbox.store.execute("UPDATE commissions SET account = 'another' WHERE event_id = 're_00001'")
    account.commission("by_hand", "cus_9", 4_900)

    report = account.reconcile()

    assert sum(nonzero_kinds(report).values()) == 2
    assert sorted(event_id for _, event_id in account.mismatches()) == ["by_hand", "re_00001"]
    assert nonzero_kinds(account.reconcile()) == nonzero_kinds(report)
    assert snowflake.run(f"SELECT count(*) FROM {MISMATCHES}") == [(2,)]
    sandbox.store.execute("UPDATE commissions SET account = 'sandbox-account' WHERE event_id = 're_00001'")
    assert sum(nonzero_kinds(account.reconcile(adopt=True)).values()) == 0
    assert account.mismatches() == []
    assert ledger_outcomes(snowflake)["by_hand"] == "already_recorded"


# --- errors ---


def test_error_of_snowflake_is_one_line_without_values(snowflake: Any, sandbox: Sandbox) -> None:
    with pytest.raises(SourceError, match=r"connection 'warehouse' failed: .*NOPE") as caught:
        sync_task("SELECT 'secret@example.com' AS email FROM nope").run()

    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert sent(sandbox) == []


@pytest.mark.parametrize("verbs", [("CREATE",), ("MERGE", "INSERT", "UPDATE")], ids=["create", "write"])
def test_ledger_that_may_not_be_written_raises_before_any_request(
    verbs: tuple[str, ...], snowflake: Any, sandbox: Sandbox, snowflake_server: Any
) -> None:
    snowflake.fill(refunds(3))
    snowflake_server.refuse = lambda statement: (
        "SQL access control error: Insufficient privileges to operate on table"
        if statement.lstrip().upper().startswith(verbs)
        else None
    )

    with pytest.raises(LedgerError, match="Insufficient privileges"):
        sync_task().run()

    assert sent(sandbox) == []


def test_lost_response_to_a_ledger_write_leaves_one_row_a_refund(
    snowflake: Any, sandbox: Sandbox, snowflake_server: Any
) -> None:
    snowflake.fill(refunds(3))
    lost: list[str] = []

    def lose_the_first(statement: str) -> bool:
        if not lost and writes([statement]) and "re_00001" in statement:
            lost.append(statement)
            return True
        return False

    snowflake_server.lose = lose_the_first

    assert nonzero_outcomes(sync_task().run()) == {"recorded": 3}
    assert lost
    assert ledger_outcomes(snowflake) == {f"re_0000{number}": "recorded" for number in range(3)}
    assert sync_task(run_id="manual__2").run()["requests"] == 0


def test_connection_without_the_connector_is_an_error_that_says_what_to_install(
    snowflake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    snowflake.fill(refunds(1))
    monkeypatch.setitem(sys.modules, "snowflake.sqlalchemy", None)

    with pytest.raises(ConnectionSettingsError, match=r"airflow-provider-firstpromoter\[snowflake\]"):
        sync_task().run()
