"""The operator at work, without Airflow around it; to be called in a child."""

from __future__ import annotations

import io
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

#: A warehouse's own names, and the contract's.
SQL = "SELECT id AS event_id, amount, currency, customer_id AS uid FROM refunds"


def fill_sqlite(path: Path, size: int, prefix: str = "re") -> list[dict[str, Any]]:
    """Make a warehouse with so many refunds; returns its rows."""
    rows = [(f"{prefix}_{n}", 100 + n % 5000, "usd", f"cus_{n}") for n in range(size)]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS refunds (id TEXT, amount INTEGER, currency TEXT, customer_id TEXT)"
        )
        database.executemany("INSERT INTO refunds VALUES (?, ?, ?, ?)", rows)
    return [dict(zip(("id", "amount", "currency", "customer_id"), row, strict=True)) for row in rows]


def execute(sql: str = SQL, **parameters: Any) -> dict[str, Any]:
    """
    What ``SqlToFirstPromoterOperator`` does in a task, from the query to the XComs.

    :returns: the summary
    """
    from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

    operator = SqlToFirstPromoterOperator(
        task_id="sync", sql=sql, sql_conn_id="warehouse", max_pending=None, **parameters
    )
    context: Any = {"ti": TaskInstance()}
    return dict(operator.execute(context))


class TaskInstance:
    """As much of Airflow's as the operator asks for."""

    dag_id = "bench"
    task_id = "sync"
    map_index = -1
    try_number = 1

    def __init__(self) -> None:
        #: A run of its own: the operator counts what its run has done, earlier tries included.
        self.run_id = str(uuid4())

    def xcom_push(self, key: str, value: Any) -> None:
        """Thrown away."""


class Canned:
    """
    Answers in the place of the network: "nobody was referred", at once.

    It replaces the transport of the hook's sessions, below everything that is the provider's own, and below what
    ``requests`` does to prepare a request and to hand on its answer.
    """

    def __init__(self) -> None:
        #: On the clock of :func:`time.perf_counter`; None until there was one.
        self.first_request: float | None = None

    def install(self) -> None:
        """For every hook of this process."""
        import requests
        from requests.adapters import BaseAdapter

        from airflow_provider_firstpromoter.hooks import FirstPromoterHook

        canned = self

        class Adapter(BaseAdapter):
            def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
                if canned.first_request is None:
                    canned.first_request = time.perf_counter()
                response = requests.Response()
                response.status_code = 404
                response.request, response.url = request, request.url or ""
                response.headers["Content-Type"] = "application/json"
                response.raw = io.BytesIO(b'{"message": "Referral not found", "code": "not_found"}')
                return response

            def close(self) -> None:
                pass

        get_conn = FirstPromoterHook.get_conn

        def with_adapter(hook: FirstPromoterHook) -> requests.Session:
            session = get_conn(hook)
            if not isinstance(session.adapters["http://"], Adapter):
                session.mount("http://", Adapter())
            return session

        FirstPromoterHook.get_conn = with_adapter  # type: ignore[method-assign, assignment]
