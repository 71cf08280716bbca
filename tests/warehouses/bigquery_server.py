"""
A BigQuery to test against: the parts of its REST API that a query needs, over DuckDB.

``sqlglot`` translates BigQuery's SQL. The server takes standard SQL only, binds parameters by their declared types, and
gives its rows in pages, each value as text, as BigQuery does.
"""

from __future__ import annotations

import datetime
import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import sqlglot
import uvicorn
from sqlglot import exp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

PROJECT = "warehouse-project"
DATASET = "finance"

#: Rows in a page, if the request does not ask for fewer.
PAGE = 1000

COLUMNS = {
    "event_id": "STRING",
    "amount": "INT64",
    "currency": "STRING",
    "uid": "STRING",
    "email": "STRING",
    "quantity": "INT64",
    "sale_event_id": "STRING",
    "skip_email_notification": "BOOL",
}

_numbers = itertools.count(1)


class BigQueryError(Exception):
    """An error as BigQuery's API gives it: a status, a reason and a message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.response = JSONResponse(
            {
                "error": {
                    "code": status,
                    "message": message,
                    "errors": [{"reason": reason, "message": message, "domain": "global"}],
                }
            },
            status,
        )


class BigQueryServer:
    """
    The running server, and the queries that it got.

    :param url: of the loopback
    """

    def __init__(self, url: str = "") -> None:
        self.url = url
        #: The bodies of all queries, in their order.
        self.queries: list[dict[str, Any]] = []
        #: How many pages it gave after the first one of a query.
        self.further_pages = 0
        self._jobs: dict[str, tuple[list[dict[str, str]], list[tuple[Any, ...]]]] = {}
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.queries.clear()
        self.further_pages = 0
        self._jobs.clear()
        self.database = duckdb.connect(":memory:")
        self.database.execute("SET TimeZone = 'UTC'")
        self.database.execute(f"CREATE SCHEMA {DATASET}")

    @property
    def connection(self) -> dict[str, Any]:
        """The fields of an Airflow connection to it."""
        return {"conn_type": "gcpbigquery", "extra": {"project": PROJECT, "is_anonymous": True}}

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Execute a statement in BigQuery's SQL, and return its rows."""
        return self.database.execute(_to_duckdb(sql, [])).fetchall()

    def fill(self, rows: Sequence[Mapping[str, Any]], table: str = f"{DATASET}.refunds", **types: str) -> None:
        """
        Make the table if it is not there, and insert the rows.

        :param types: SQL types of columns, where they should not be as in COLUMNS; further columns too
        """
        columns = {**COLUMNS, **types}
        self.run(f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(f'{name} {of}' for name, of in columns.items())})")
        for row in rows:
            self.database.execute(
                f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values())
            )

    # --- the API ---

    def query(self, body: dict[str, Any]) -> dict[str, Any]:
        """``jobs.query``: run it, and return the first page."""
        self.queries.append(body)
        if body.get("useLegacySql", True):
            raise BigQueryError(400, "invalidQuery", "This server takes standard SQL only: useLegacySql was not false")
        try:
            cursor = self.database.cursor().execute(_to_duckdb(body["query"], body.get("queryParameters", [])))
        except duckdb.CatalogException as error:
            raise BigQueryError(404, "notFound", f"Not found: {error}") from None
        except (duckdb.Error, sqlglot.errors.ParseError) as error:
            raise BigQueryError(400, "invalidQuery", str(error)) from None
        fields = [_field(name, str(of)) for name, of, *_ in cursor.description or ()]
        job_id = f"job_{next(_numbers)}"
        self._jobs[job_id] = (fields, cursor.fetchall())
        return self.page(job_id, 0, body.get("maxResults"))

    def job(self, job_id: str) -> dict[str, Any]:
        """``jobs.get``: a query that is done."""
        self._rows_of(job_id)
        table = {"projectId": PROJECT, "datasetId": "_anonymous", "tableId": job_id}
        return {
            "kind": "bigquery#job",
            "id": f"{PROJECT}:US.{job_id}",
            "jobReference": _reference(job_id),
            "configuration": {"jobType": "QUERY", "query": {"useLegacySql": False, "destinationTable": table}},
            "status": {"state": "DONE"},
            "statistics": {"query": {"statementType": "SELECT"}},
        }

    def page(self, job_id: str, start: int, at_most: int | None) -> dict[str, Any]:
        """``jobs.getQueryResults``: a page of a query's rows."""
        fields, rows = self._rows_of(job_id)
        end = start + min(PAGE if at_most is None else at_most, PAGE)
        page: dict[str, Any] = {
            "kind": "bigquery#queryResponse",
            "jobReference": _reference(job_id),
            "jobComplete": True,
            "schema": {"fields": fields},
            "totalRows": str(len(rows)),
            "rows": [{"f": [{"v": _text(value)} for value in row]} for row in rows[start:end]],
        }
        if end < len(rows):
            page["pageToken"] = str(end)
        return page

    def _rows_of(self, job_id: str) -> tuple[list[dict[str, str]], list[tuple[Any, ...]]]:
        if job_id not in self._jobs:
            raise BigQueryError(404, "notFound", f"Not found: Job {PROJECT}:US.{job_id}")
        return self._jobs[job_id]


def environment(server: BigQueryServer) -> dict[str, str]:
    """The variables by which Google's client finds the server, and looks for no credentials in a cloud around it."""
    return {"BIGQUERY_EMULATOR_HOST": server.url, "NO_GCE_CHECK": "true"}


@contextmanager
def running_bigquery() -> Iterator[BigQueryServer]:
    """Serve on a free port of the loopback."""
    bigquery = BigQueryServer()

    def answer(call: Any) -> JSONResponse:
        try:
            return JSONResponse(call())
        except BigQueryError as error:
            return error.response

    async def query(request: Request) -> JSONResponse:
        body = json.loads(await request.body())
        return answer(lambda: bigquery.query(body))

    async def results(request: Request) -> JSONResponse:
        start, at_most = int(request.query_params.get("pageToken", 0)), request.query_params.get("maxResults")
        bigquery.further_pages += bool(start)
        job_id = request.path_params["job"]
        return answer(lambda: bigquery.page(job_id, start, None if at_most is None else int(at_most)))

    async def job(request: Request) -> JSONResponse:
        job_id = request.path_params["job"]
        return answer(lambda: bigquery.job(job_id))

    project = "/bigquery/v2/projects/{project}"
    app = Starlette(
        routes=[
            Route(f"{project}/queries", query, methods=["POST"]),
            Route(f"{project}/queries/{{job}}", results, methods=["GET"]),
            Route(f"{project}/jobs/{{job}}", job, methods=["GET"]),
        ]
    )
    http = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=http.run, name="bigquery", daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not http.started:
        assert thread.is_alive(), "the server ended"
        assert time.monotonic() < until, "the server did not start within half a minute"
        time.sleep(0.02)
    bigquery.url = f"http://127.0.0.1:{http.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield bigquery
    finally:
        http.should_exit = http.force_exit = True
        thread.join(10)


# --- SQL and values ---


def _to_duckdb(sql: str, parameters: Sequence[Mapping[str, Any]]) -> str:
    tree = sqlglot.parse_one(sql, read="bigquery")
    for table in tree.find_all(exp.Table):
        table.set("catalog", None)  # the project
    positional = iter(parameters)
    by_name = {parameter.get("name"): parameter for parameter in parameters}

    def bind(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Parameter):
            parameter: Mapping[str, Any] = by_name[node.this.name]
        elif isinstance(node, exp.Placeholder):
            parameter = next(positional)
        else:
            return node
        value = parameter["parameterValue"].get("value")
        literal = exp.null() if value is None else exp.Literal.string(value)
        return exp.cast(literal, exp.DataType.build(parameter["parameterType"]["type"], dialect="bigquery"))

    return tree.transform(bind).sql("duckdb")


def _reference(job_id: str) -> dict[str, str]:
    return {"projectId": PROJECT, "jobId": job_id, "location": "US"}


def _field(name: str, duckdb_type: str) -> dict[str, str]:
    for start, of in (
        ("DECIMAL", "NUMERIC"),
        ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP"),
        ("TIMESTAMP", "DATETIME"),
        ("DOUBLE", "FLOAT"),
        ("FLOAT", "FLOAT"),
        ("BOOL", "BOOLEAN"),
        ("VARCHAR", "STRING"),
        ("DATE", "DATE"),
    ):
        if duckdb_type.upper().startswith(start):
            return {"name": name, "type": of, "mode": "NULLABLE"}
    return {"name": name, "type": "INTEGER", "mode": "NULLABLE"}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return value.isoformat()
        return str(round(value.timestamp() * 1_000_000))
    return str(value)
