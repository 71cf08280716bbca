"""A reconciliation that is killed ends at once, and what it has compared is written."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_provider_firstpromoter.database import in_background
from airflow_provider_firstpromoter.exceptions import LedgerError, SyncInterruptedError
from airflow_provider_firstpromoter.operators.reconcile import ReconcileRefundsOperator
from tests.reconcile.account import TODAY, AccountWithLedger, refund
from tests.support import Task

#: Far below the seconds for which a response is delayed, far above what the end takes.
SOON = 5.0
DELAY = 30.0


@contextmanager
def killed_once(reached: threading.Event, operator: Any) -> Iterator[None]:
    """Call ``on_kill`` from another thread when a point is reached, and require that the block then ends soon."""
    called: list[float] = []

    def kill() -> None:
        if reached.wait(60):
            called.append(time.monotonic())
            operator.on_kill()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        reached.set()
        thread.join()
    assert called
    assert time.monotonic() - called[0] < SOON


def test_kill_ends_the_wait_for_a_response(account: AccountWithLedger) -> None:
    account.track(refund(1))
    account.sandbox.fault("latency", seconds=DELAY, path="/company/commissions")
    operator = ReconcileRefundsOperator(task_id="reconcile")
    reached = threading.Event()
    threading.Timer(1.0, reached.set).start()

    with killed_once(reached, operator), pytest.raises(SyncInterruptedError):
        Task(operator).run()

    assert account.mismatches() == []


def test_kill_ends_the_wait_for_the_rate_limit(account: AccountWithLedger, connect: Callable[..., str]) -> None:
    account.track(*(refund(n) for n in range(3)))
    account.sandbox.store.execute("DELETE FROM commissions")
    connect(ledger_conn_id="warehouse", requests_per_minute=1)
    operator = ReconcileRefundsOperator(task_id="reconcile")
    reached = threading.Event()
    threading.Timer(1.0, reached.set).start()

    with killed_once(reached, operator), pytest.raises(SyncInterruptedError):
        Task(operator).run()


def test_kill_during_lookups_leaves_what_was_looked_up_written(served_account: Any, account: AccountWithLedger) -> None:
    account.track(*(refund(n) for n in range(8)))
    reached, released = threading.Event(), threading.Event()

    def answer(query: dict[str, str]) -> Any:
        if query.get("q") == "re_0005":
            reached.set()
            released.wait(DELAY)
        return []

    served_account(answer)
    operator = ReconcileRefundsOperator(task_id="reconcile")
    try:
        with killed_once(reached, operator), pytest.raises(SyncInterruptedError):
            Task(operator).run()
    finally:
        released.set()

    written = account.mismatches("event_id")
    assert written == [(f"re_{n:04}",) for n in range(len(written))]
    assert len(written) >= 4, "the signal can come before the fifth, which was read already, is taken over"
    assert account.reconcile()["missing_in_firstpromoter"] == 8


def test_exception_of_a_signal_handler_leaves_what_was_looked_up_written(
    served_account: Any, account: AccountWithLedger
) -> None:
    """Airflow 2 raises in the main thread when it stops a task, and so does Airflow 3 at the execution_timeout."""
    account.track(*(refund(n) for n in range(8)))
    raised, released = threading.Event(), threading.Event()

    def answer(query: dict[str, str]) -> Any:
        if query.get("q") == "re_0005" and not raised.is_set():
            raised.set()
            signal.raise_signal(signal.SIGUSR1)
            released.wait(DELAY)
        return []

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    served_account(answer)
    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            account.reconcile()
    finally:
        signal.signal(signal.SIGUSR1, before)
        released.set()

    written = account.mismatches("event_id")
    assert written == [(f"re_{n:04}",) for n in range(len(written))]
    assert len(written) >= 4, "the signal can come before the fifth, which was read already, is taken over"


def test_kill_between_batches_keeps_open_mismatches_open(
    account: AccountWithLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mismatch that was not compared any more must not be taken for resolved."""
    account.sandbox.add_commissions(
        {"event_id": f"x_{n:04}", "uid": f"cus_{n % 1000}", "sale_amount": -(10_000 + n), "created_at": TODAY}
        for n in range(1200)
    )
    account.reconcile()
    operator = ReconcileRefundsOperator(task_id="reconcile")
    from airflow_provider_firstpromoter.reconcile import MismatchTable

    write = MismatchTable.write

    def write_and_kill(table: Any, found: Any) -> Any:
        operator.on_kill()
        return write(table, found)

    monkeypatch.setattr(MismatchTable, "write", write_and_kill)

    with pytest.raises(SyncInterruptedError):
        Task(operator).run()

    assert len(account.mismatches()) == 1200


def test_in_background_raises_the_iterators_exception_and_stops_reading_when_closed() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number
        raise ValueError("the end")

    assert list(in_background(range(3), threading.Event())) == [0, 1, 2]
    with pytest.raises(ValueError, match="the end"):
        list(in_background(items(), threading.Event()))
    read.clear()
    iterator = in_background(items(), threading.Event())
    assert next(iterator) == 0
    iterator.close()
    time.sleep(0.6)
    assert len(read) < 10


@pytest.mark.parametrize("table", ["firstpromoter_refunds_mismatches", "firstpromoter_refunds_commissions"])
def test_kill_ends_the_wait_for_a_lock(table: str, new_database: Any, sandbox: Any, connect: Any) -> None:
    """Each try waits for two seconds; without the kill there are five."""
    database = new_database("postgresql", "warehouse")
    connect(ledger_conn_id="warehouse")
    account = AccountWithLedger(sandbox, database)
    sandbox.add_leads([{"uid": "cus_1"}])
    account.track(refund(1))
    account.reconcile()
    sandbox.store.execute("UPDATE commissions SET amount = amount - 1")
    operator = ReconcileRefundsOperator(task_id="reconcile")
    reached = threading.Event()
    threading.Timer(1.0, reached.set).start()

    with database.engine().begin() as other:
        other.exec_driver_sql(f"LOCK TABLE {table} IN SHARE MODE")
        with killed_once(reached, operator), pytest.raises((LedgerError, SyncInterruptedError)):
            Task(operator).run()
