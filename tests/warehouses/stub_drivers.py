"""
Drivers of databases that no test can run, as stubs of their DB-API.

A stub stands where the driver's own ``connect`` does, so that Airflow's hook is the real one. It is as strict as the
driver about parameters and about what is closed, and it returns the driver's own classes of rows, descriptions and
values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

#: What each query returns: the columns by the names that the query gives them.
COLUMNS = ("event_id", "amount", "currency", "uid")
#: How a driver returns a row of a decimal column, unless it says otherwise.
ROWS: list[tuple[Any, ...]] = [
    (f"re_{number:05}", Decimal(1000 + number), "USD", f"cus_{number}") for number in range(5)
]

#: Literals and comments, in which no driver looks for placeholders.
_NOT_CODE = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)


class StubError(Exception):
    """What a driver raises."""


@dataclass
class Statement:
    """A statement as it reached the driver."""

    sql: str
    parameters: Any


@dataclass
class Stub:
    """
    A driver's DB-API.

    :param paramstyle: as the driver's module says it
    :param rows: the rows of every query
    :param name: how the database changes the case of names
    :param describe: makes one column's description of its name
    :param row: the class of rows
    """

    paramstyle: str
    rows: Sequence[Sequence[Any]] = tuple(ROWS)
    name: Callable[[str], str] = str
    describe: Callable[[str], Any] = lambda name: (name, None, None, None, None, None, None)
    row: Callable[[Sequence[Any]], Any] = tuple
    statements: list[Statement] = field(default_factory=list)
    #: The connections that are open.
    open: int = 0
    error: Exception | None = None

    def connect(self, *_: Any, **__: Any) -> StubConnection:
        """Stand in for the driver's ``connect``."""
        return StubConnection(self)

    def check(self, sql: str, parameters: Any) -> None:
        """Refuse parameters that the driver would refuse."""
        code = _NOT_CODE.sub(" ", sql)
        if not parameters:
            return
        if self.paramstyle in ("format", "pyformat"):
            if self.paramstyle == "format" and isinstance(parameters, Mapping):
                raise StubError("parameters must be a sequence")
            sql % (dict(parameters) if isinstance(parameters, Mapping) else tuple(parameters))
        elif isinstance(parameters, Mapping):
            if self.paramstyle != "named":
                raise StubError("parameters must be a sequence")
            if set(re.findall(r"(?<!:):(\w+)", code)) != set(parameters):
                raise StubError("a parameter is missing, or none of the query's")
        elif not isinstance(parameters, (list, tuple)):
            raise StubError("parameters must be a list or tuple")
        elif len(re.findall(r"\?|:\d+", code)) != len(parameters):
            raise StubError("there are more parameters than placeholders, or fewer")


class StubConnection:
    """A DB-API connection."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.closed = False
        stub.open += 1

    def cursor(self) -> StubCursor:
        self.check_open()
        return StubCursor(self)

    def commit(self) -> None:
        self.check_open()

    def rollback(self) -> None:
        self.check_open()

    def close(self) -> None:
        if not self.closed:
            self.stub.open -= 1
        self.closed = True

    def check_open(self) -> None:
        if self.closed:
            raise StubError("the connection is closed")


class StubCursor:
    """A DB-API cursor."""

    def __init__(self, connection: StubConnection) -> None:
        self.connection = connection
        self.description: Any = None
        self.rowcount = -1
        self.arraysize = 1
        self._rows: list[Any] = []

    def execute(self, sql: str, parameters: Any = None) -> None:
        self.connection.check_open()
        stub = self.connection.stub
        stub.statements.append(Statement(sql, parameters))
        if stub.error:
            raise stub.error
        stub.check(sql, parameters)
        self.description = [stub.describe(stub.name(name)) for name in COLUMNS]
        self._rows = [stub.row(row) for row in stub.rows]

    def fetchone(self) -> Any:
        return next(iter(self.fetchmany(1)), None)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        self.connection.check_open()
        if self.description is None:
            raise StubError("nothing was executed")
        size = size or self.arraysize
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    def fetchall(self) -> list[Any]:
        return self.fetchmany(len(self._rows) or 1)

    def close(self) -> None:
        self.connection.check_open()


# --- the drivers ---


def _databricks_row(values: Sequence[Any]) -> Any:
    from databricks.sql.types import Row

    return Row(**dict(zip(COLUMNS, values, strict=True)))


def _trino_description(name: str) -> Any:
    from trino.dbapi import ColumnDescription

    return ColumnDescription(name, "varchar", None, None, None, None, None)


def _vertica_description(name: str) -> Any:
    from vertica_python.vertica.column import ColumnTuple

    return ColumnTuple(name, 9, None, -1, None, None, True)


class _OracleColumn:
    """``oracledb.FetchInfo``: an object with attributes that can also be indexed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getitem__(self, index: int) -> Any:
        return (self.name, None, None, None, None, None, True)[index]

    def __len__(self) -> int:
        return 7


class _ClickHouseClient:
    """``clickhouse_connect``'s client, beneath its own DB-API cursor."""

    def __init__(self, connection: StubConnection) -> None:
        self._connection = connection
        self.close = connection.close

    def query(self, sql: str, parameters: Any = None, **_: Any) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        types = [SimpleNamespace(name="String")] * len(names)
        return SimpleNamespace(result_set=cursor.fetchall(), summary={}, column_names=names, column_types=types)


@dataclass(frozen=True)
class Driver:
    """
    A database whose driver is a stub.

    :param connection: an Airflow connection to it
    :param hook: the name of the hook's class
    :param target: where the hook calls the driver's ``connect``
    :param stub: makes the stub
    :param by_list: the condition of a query, and a list for it; None where the driver takes none
    :param by_mapping: the same with a mapping
    :param wrap: makes what ``connect`` returns of the stub's connection
    """

    connection: Mapping[str, Any]
    hook: str
    target: str
    stub: Callable[[], Stub]
    by_list: tuple[str, list[Any]] | None = None
    by_mapping: tuple[str, dict[str, Any]] | None = None
    wrap: Callable[[StubConnection], Any] = lambda connection: connection


SERVER = {"host": "db.example.com", "login": "airflow", "password": "not-a-secret", "schema": "finance"}
PERCENT_LIST = ("currency = %s AND event_id LIKE 're%%'", ["USD"])
PERCENT_MAPPING = ("currency = %(currency)s AND event_id LIKE 're%%'", {"currency": "USD"})

DRIVERS = {
    "redshift": Driver(
        {"conn_type": "redshift", "port": 5439, **SERVER},
        "RedshiftSQLHook",
        "redshift_connector.connect",
        lambda: Stub("format", row=list),
        PERCENT_LIST,
    ),
    "databricks": Driver(
        {
            "conn_type": "databricks",
            "host": "db.example.com",
            "password": "not-a-secret",
            "extra": {"http_path": "/sql/1.0/warehouses/abc"},
        },
        "DatabricksSqlHook",
        "databricks.sql.connect",
        lambda: Stub("named", row=_databricks_row),
        ("currency = ? AND event_id LIKE 're%'", ["USD"]),
        ("currency = :currency AND event_id LIKE 're%'", {"currency": "USD"}),
    ),
    "trino": Driver(
        {"conn_type": "trino", "port": 8080, **SERVER, "password": "", "extra": {"catalog": "hive"}},
        "TrinoHook",
        "trino.dbapi.connect",
        lambda: Stub("qmark", describe=_trino_description, row=list),
        ("currency = ? AND event_id LIKE 're%'", ["USD"]),
    ),
    "oracle": Driver(
        {
            "conn_type": "oracle",
            "port": 1521,
            **SERVER,
            "extra": {"service_name": "XEPDB1", "fetch_decimals": True, "fetch_lobs": False},
        },
        "OracleHook",
        "oracledb.connect",
        lambda: Stub("named", name=str.upper, describe=_OracleColumn),
        ("currency = :1 AND event_id LIKE 're%'", ["USD"]),
        ("currency = :currency AND event_id LIKE 're%'", {"currency": "USD"}),
    ),
    "mssql": Driver(
        {"conn_type": "mssql", "port": 1433, **SERVER},
        "MsSqlHook",
        "pymssql.connect",
        lambda: Stub("pyformat"),
        PERCENT_LIST,
        PERCENT_MAPPING,
    ),
    "clickhouse": Driver(
        {"conn_type": "clickhouse", "port": 8123, **SERVER},
        "ClickHouseHook",
        "clickhouse_connect.get_client",
        lambda: Stub("pyformat"),
        PERCENT_LIST,
        PERCENT_MAPPING,
        _ClickHouseClient,
    ),
    "vertica": Driver(
        {"conn_type": "vertica", "port": 5433, **SERVER},
        "VerticaHook",
        "airflow.providers.vertica.hooks.vertica.connect",
        lambda: Stub("pyformat", describe=_vertica_description, row=list),
        PERCENT_LIST,
        PERCENT_MAPPING,
    ),
}
