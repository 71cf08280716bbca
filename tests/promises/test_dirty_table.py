"""A large table in which every twentieth row is bad in another way: the good ones are recorded, the bad ones named."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from sqlalchemy import select

from airflow_provider_firstpromoter.calls import REFUND, Outcome
from airflow_provider_firstpromoter.database import CallQuery
from airflow_provider_firstpromoter.database.source import Source
from airflow_provider_firstpromoter.exceptions import EventsRejectedError
from airflow_provider_firstpromoter.hooks import FirstPromoterHook
from airflow_provider_firstpromoter.ledger import Ledger, RunHistory, RunKey
from airflow_provider_firstpromoter.ledger.views import Tables, views
from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sync import Sync, SyncOptions
from tests.support import ALL_REFUNDS, ledger_outcomes, nonzero_outcomes

#: More than the ledger writes at once, and each way of being bad twice.
ROWS = 960
BAD_EVERY = 20


class Bad(NamedTuple):
    """
    One way in which a row is bad.

    :param reason: what the ledger's message says of it
    :param values: the columns with the fault
    :param response: FirstPromoter's message, if it is the one that rejects the row
    """

    reason: str
    values: dict[str, Any] = {}
    response: str | None = None


BAD = [
    # Values.
    Bad("amount", {"amount": "-5"}),
    Bad("amount", {"amount": "0"}),
    Bad("amount", {"amount": None}),
    Bad("amount", {"amount": "12,50"}),
    Bad("amount", {"amount": "1e300"}),
    Bad("amount", {"amount": "9" * 60}),
    Bad("currency", {"currency": "EURO"}),
    Bad("amount in minor units of KWD", {"currency": "KWD"}),
    Bad("quantity", {"quantity": "0"}),
    Bad("skip_email_notification", {"skip_email_notification": "maybe"}),
    # Ids.
    Bad("uid", {"uid": "undefined"}),
    Bad("uid", {"uid": '"cus_1"'}),
    Bad("uid", {"uid": "u" * 256}),
    Bad("neither uid nor email", {"uid": None}),
    Bad("email", {"uid": None, "email": "nobody"}),
    Bad("sale_event_id", {"sale_event_id": " in_1"}),
    # Encodings.
    Bad("uid", {"uid": "cus\x1f1"}),
    Bad("uid", {"uid": "cus_1\u0085"}),
    # Replaced by a cell that the driver cannot read, where there can be one: see UNREADABLE.
    Bad("uid", {"uid": "nan"}),
    # Messages: long ones, and texts that no database can store.
    Bad("No such", response="No such “thing” " * 100),
    Bad("", response="\U0001f4a5" * 1000),
    Bad("", response="half a pair \ud83d"),
    Bad("", response="nothing \x00 here"),
    Bad("łukasz", response="łukasz …"),
]


#: Cells that drivers cannot read: of an id, and of a column that is only reported, which costs no row.
UNREADABLE = {
    "sqlite": [
        "UPDATE refunds SET uid = CAST(x'ff' AS TEXT) WHERE uid = 'nan'",
        "UPDATE refunds SET refunded_at = CAST(x'ff' AS TEXT) WHERE event_id LIKE 're_%7'",
    ],
    "postgresql": [
        "UPDATE refunds SET refunded_at = 'infinity' WHERE event_id LIKE 're_%%7'",
        "UPDATE refunds SET refunded_at = '0044-03-15 BC' WHERE event_id LIKE 're_%%9'",
    ],
    "duckdb": ["UPDATE refunds SET refunded_at = 'infinity' WHERE event_id LIKE 're_%7'"],
}


#: event_ids that are none: the ledger recognises such a row by its content.
NO_EVENT_IDS = [None, None, " re_1", "undefined", '"re_1"', "re\x1f1"]


def row_of(number: int) -> dict[str, Any]:
    bad = bad_of(number)
    row = {"event_id": f"re_{number:05}", "amount": str(1000 + number), "currency": None, "uid": f"cus_{number % 500}"}
    more = dict.fromkeys(("email", "quantity", "sale_event_id", "skip_email_notification", "refunded_at"))
    return {**row, **more, **(bad.values if bad else {})}


def bad_of(number: int) -> Bad | None:
    return BAD[number // BAD_EVERY % len(BAD)] if number % BAD_EVERY == 0 else None


def run(database: Any, run_id: str) -> Sync:
    """Run the query once, with warehouse and ledger in the same database."""
    hook = FirstPromoterHook()
    engine = database.engine()
    ledger = Ledger(engine, hook.account.key, name="warehouse", call=REFUND)
    sync = Sync(hook, ledger, SyncOptions(), RunKey("dag", run_id, "sync", -1), kind="query")
    with sync:
        sync.run_query(CallQuery(Source.from_engine(engine, "warehouse"), ALL_REFUNDS))
    return sync


def open_problems(database: Any) -> set[str]:
    """Return the event_ids of the view ``open``."""
    ledger = Ledger(database.engine(), "", name="warehouse", call=REFUND)
    tables = Tables(ledger.table, ledger.commissions.table, RunHistory(ledger, RunKey()).table, None)
    (shown,) = [one.query.subquery() for one in views(tables) if one.name == "open"]
    with ledger.engine.connect() as connection:
        return set(connection.execute(select(shown.c.event_id)).scalars())


def test_every_good_row_of_a_dirty_table_is_recorded_and_every_bad_one_named_once(
    database: Any, sandbox: Sandbox, connect: Callable[..., str]
) -> None:
    connect(max_attempts=1)
    sandbox.add_leads({"uid": f"cus_{number}"} for number in range(500))
    text = "VARCHAR(400) CHARACTER SET utf8mb4" if database.kind == "mariadb" else "VARCHAR(400)"
    nameless = [{**row_of(1), "event_id": event_id, "amount": str(n + 1)} for n, event_id in enumerate(NO_EVENT_IDS)]
    rows = [row_of(number) for number in range(ROWS)]
    types = dict.fromkeys(("amount", "uid", "email", "quantity", "skip_email_notification"), text)
    database.fill([*rows, *nameless], **types, refunded_at="TIMESTAMP NULL")
    for statement in UNREADABLE.get(database.kind, []):
        database.run(statement)
    bad = {row["event_id"]: fault for number, row in enumerate(rows) if (fault := bad_of(number))}
    for event_id, fault in bad.items():
        if fault.response is not None:
            sandbox.fault("status", status=422, event_id=event_id, message=fault.response)
    good = {row["event_id"] for row in rows} - bad.keys()

    first = run(database, "first")

    rejected = len(bad) + len(nameless)
    assert nonzero_outcomes(first.summary.to_json()) == {"recorded": len(good), "rejected": rejected}
    with pytest.raises(EventsRejectedError):
        first.raise_for_summary()
    assert {recorded.event_id for recorded in sandbox.recorded()} == good
    outcomes = ledger_outcomes(database)
    assert {event_id for event_id, outcome in outcomes.items() if outcome == Outcome.RECORDED} == good
    stored = dict(database.run("SELECT event_id, message FROM firstpromoter_refunds WHERE outcome = 'rejected'"))
    keys = {event_id for event_id in stored if event_id.startswith("(no event_id) ")}
    assert len(keys) == len(nameless)
    assert all("event_id" in stored.pop(key) for key in keys)
    assert open_problems(database) == bad.keys() | keys
    assert stored.keys() == bad.keys()
    unexplained = {event_id: message for event_id, message in stored.items() if bad[event_id].reason not in message}
    assert unexplained == {}
    assert all(stored.values())
    sent = len(sandbox.refund_requests())

    second = run(database, "second")

    assert len(sandbox.refund_requests()) == sent
    assert nonzero_outcomes(second.summary.to_json()) == {"rejected": rejected}
    assert second.summary.still_open == rejected
    second.raise_for_summary()
    assert open_problems(database) == bad.keys() | keys

    database.run("DELETE FROM refunds WHERE event_id IS NULL OR LENGTH(event_id) <> 8")
    time.sleep(1.1)  # the ledger keeps whole seconds
    third = run(database, "third")

    assert third.summary.still_open == len(bad)
    assert open_problems(database) == bad.keys()
