"""Runs the operator without Airflow around it; to be called in a child process."""

from __future__ import annotations

import io
import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

#: The query, with the names of the warehouse on the left.
SQL = "SELECT id AS event_id, amount, currency, customer_id AS uid FROM refunds"
#: The same for a run that reads what is new, and how it is told to.
INCREMENTAL = f"{SQL.removesuffix(' FROM refunds')}, loaded_at FROM refunds"
WHAT_IS_NEW: dict[str, Any] = {"incremental_column": "loaded_at", "full_scan_every": timedelta(days=99)}


def fill_sqlite(path: Path, size: int, prefix: str = "re") -> list[dict[str, Any]]:
    """Create a warehouse with so many refunds, and return its rows."""
    rows = [(f"{prefix}_{n}", 100 + n % 5000, "usd", f"cus_{n}") for n in range(size)]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS refunds (id TEXT, amount INTEGER, currency TEXT, customer_id TEXT)"
        )
        database.executemany("INSERT INTO refunds VALUES (?, ?, ?, ?)", rows)
    return [dict(zip(("id", "amount", "currency", "customer_id"), row, strict=True)) for row in rows]


def execute(sql: str = SQL, **parameters: Any) -> dict[str, Any]:
    """
    Execute ``SqlToFirstPromoterOperator`` as a task does it, from the query to the XComs.

    :return: the summary
    """
    from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

    operator = SqlToFirstPromoterOperator(
        task_id="sync", sql=sql, sql_conn_id="warehouse", max_pending=None, **parameters
    )
    context: Any = {"ti": TaskInstance()}
    return dict(operator.execute(context))


class TaskInstance:
    """The part of Airflow's ``TaskInstance`` that the operator uses."""

    dag_id = "bench"
    task_id = "sync"
    map_index = -1
    try_number = 1

    def __init__(self) -> None:
        #: Unique, because the operator counts what its run has done, earlier tries included.
        self.run_id = str(uuid4())

    def xcom_push(self, key: str, value: Any) -> None:
        """Ignore the value."""


class CannedResponses:
    """
    Responds to every request at once, in the place of the network, that the customer was not referred.

    It replaces what ``requests`` does on the network, so that all of the provider's code is measured, and ``requests``
    still prepares each request and reads each response.
    """

    BODY = b'{"message": "Referral not found", "code": "not_found"}'

    def __init__(self) -> None:
        #: The time of the first request, by :func:`time.perf_counter`; None before it.
        self.first_request: float | None = None
        #: About how many requests there were.
        self.requests = 0

    def install(self) -> None:
        """Install it for the whole process."""
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3 import HTTPResponse

        def send(adapter: HTTPAdapter, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
            if self.first_request is None:
                self.first_request = time.perf_counter()
            self.requests += 1
            headers = {"Content-Type": "application/json", "Content-Length": str(len(self.BODY))}
            raw = HTTPResponse(io.BytesIO(self.BODY), headers, 404, preload_content=False)
            return adapter.build_response(request, raw)

        HTTPAdapter.send = send  # type: ignore[method-assign, assignment]
