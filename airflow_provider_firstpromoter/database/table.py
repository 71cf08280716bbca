"""A table of the provider's own, in a database that can hold the ledger."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from airflow.providers.common.compat.sdk import AirflowException
from sqlalchemy import (
    Column,
    DateTime,
    Index,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
    inspect,
    literal_column,
    select,
)
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_any, stop_when_event_set
from tenacity.wait import wait_random

from airflow_provider_firstpromoter.calls import MAX_ID_LENGTH
from airflow_provider_firstpromoter.database.dialects import BY_DIALECT, LEDGER_DATABASES, LedgerSql, kind_of_dialect
from airflow_provider_firstpromoter.database.engine import errors_as, first_line
from airflow_provider_firstpromoter.database.upsert import Statement, Upsert, When, execute
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, LedgerError

_COVERING = "covering"
T = TypeVar("T")


class Utc(TypeDecorator):  # type: ignore[type-arg]  # SQLAlchemy 1.4 cannot subscript it
    """A time that is aware in Python, and naive UTC in the table: the one form that every database keeps."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.replace(tzinfo=UTC) if value else None


def key_text(length: int = MAX_ID_LENGTH) -> String:
    """Return a type for keys, compared byte for byte also where the database's default takes ``A`` for ``a``."""
    text = String(length)
    for dialect, kind in BY_DIALECT.items():
        if kind.ledger is not None and kind.ledger.key_collation:
            text = text.with_variant(String(length, collation=kind.ledger.key_collation), dialect)
    return text


def sparse_text(length: int) -> String:
    """Return a type for texts that may be NULL in all rows, and that a join of many rows reads."""
    text = String(length)
    for dialect, kind in BY_DIALECT.items():
        if kind.ledger is not None and kind.ledger.plans_by_length:
            text = text.with_variant(Text(), dialect)
    return text


def covering_index(name: str, *keys: str, include: Collection[str]) -> Index:
    """
    Return an index that holds further columns, so that a query of these columns need not read the table.

    Only databases that know such indexes get it; elsewhere it would be of no use.
    """
    return Index(name, *keys, postgresql_include=list(include), info={_COVERING: True})


def create_statements(table: Table, dialect: Dialect) -> list[Any]:
    """Return the statements that create a table and those of its indexes that the database can have."""
    sql = kind_of_dialect(dialect).ledger
    wanted = [
        index
        for index in sorted(table.indexes, key=lambda index: str(index.name))
        if sql and (sql.covering_indexes if index.info.get(_COVERING) else sql.indexes)
    ]
    return [CreateTable(table), *map(CreateIndex, wanted)]


def ddl_text(table: Table, dialect: Dialect) -> str:
    """Return the statements that create a table and its indexes, each with a semicolon."""
    return "\n".join(f"{str(one.compile(dialect=dialect)).strip()};" for one in create_statements(table, dialect))


class ManagedTable:
    """
    A table that the provider creates on first use and never alters. New columns may only be added, as nullable ones.

    :param engine: for the database that holds the table
    :param table: the columns that it must have
    :param name: the connection's id, for error messages
    :param cancelled: set when the task was killed: nothing is tried again then
    """

    #: The table's name in error messages.
    WHAT = "table"
    #: Letters by which the names of tables, indexes and views beside it are longer than its own.
    LONGER_BESIDE = 0

    def __init__(self, engine: Engine, table: Table, name: str, cancelled: threading.Event | None = None) -> None:
        self.engine = engine
        self.table = table
        self.name = name
        self.cancelled = cancelled or threading.Event()
        self._checked = False
        self._statements: dict[Upsert, Statement] = {}

    def ensure(self) -> None:
        """
        Create the table if it does not exist; two processes may do so at once.

        :raises LedgerError: if it cannot be created or lacks a column; the message has the statement to run
        """
        if self.exists():
            return
        try:
            self.retry(self._make)
        except AirflowException:
            raise
        except Exception as error:
            raise LedgerError(
                f"{self} cannot be created: {first_line(error)}. Let a user who may create tables run:\n{self.ddl()}"
            ) from None
        self._checked = True

    def _make(self) -> None:
        try:
            with self.engine.begin() as connection:
                for statement in create_statements(self.table, self.engine.dialect):
                    connection.execute(statement)
        except Exception:
            # Another process has created it, or is just creating it: then a second try sees it.
            if not self.exists():
                raise

    def exists(self) -> bool:
        """
        Return whether the table exists, with all of its columns.

        :raises LedgerError: if it lacks a column, or the database cannot be read
        :raises ConnectionSettingsError: if the database, or this version of it, cannot hold the ledger
        """
        if self._checked:
            return True
        self._check_names()
        with errors_as(LedgerError, f"{self} cannot be read"):
            return self.retry(self._exists)

    def check_with(self, *others: ManagedTable) -> None:
        """Look in one statement for this table and others of its database; :meth:`ensure` then looks for no more."""
        tables = dict(enumerate((self, *others)))
        quote = self.engine.dialect.identifier_preparer.quote
        columns = [f"t{n}.{quote(column.name)}" for n, one in tables.items() for column in one.table.columns]
        names = [f"{one.quoted_name} t{n}" for n, one in tables.items()]
        # Where it fails, ensure() finds out which table or column is missing.
        with contextlib.suppress(SQLAlchemyError), self.engine.connect() as connection:
            _check_version(self, connection.dialect)
            connection.exec_driver_sql(f"SELECT {', '.join(columns)} FROM {', '.join(names)} WHERE 1 = 0")
            for one in tables.values():
                one._check_encoding(connection)
                one._checked = True

    def _exists(self) -> bool:
        with self.engine.connect() as connection:
            _check_version(self, connection.dialect)
            if not inspect(connection).has_table(self.table.name, schema=self.table.schema):
                return False
            # Not by inspection: DuckDB's dialect cannot inspect columns under SQLAlchemy 2.1.
            nothing: Any = select(literal_column("*")).select_from(self.table).where(false())
            present = {name.lower() for name in connection.execute(nothing).keys()}  # noqa: SIM118
            self._check_encoding(connection)
        if missing := [column for column in self.table.columns if column.name not in present]:
            raise LedgerError(
                f"{self} lacks columns of this version. Add them:\n"
                + "\n".join(_add_column(self, column) for column in missing)
            )
        self._checked = True
        return True

    def _check_names(self) -> None:
        """Refuse a name that the database would cut, or refuse when the next table is created, after requests."""
        dialect = self.engine.dialect
        longest_allowed = min(dialect.max_identifier_length, dialect.max_index_name_length or 255)
        most = longest_allowed - self.LONGER_BESIDE
        longest = max([self.table.name, *(str(index.name) for index in self.table.indexes)], key=len)
        if len(self.table.name) > most or len(longest) > longest_allowed:
            most -= len(longest) - len(self.table.name) if not self.LONGER_BESIDE else 0
            raise ConnectionSettingsError(
                f"{self} has a name of {len(self.table.name)} letters; "
                f"{kind_of_dialect(dialect).title} takes {most}, as the tables and indexes beside it have longer ones. "
                "Set a shorter 'ledger_table'"
            )

    def _check_encoding(self, connection: Connection) -> None:
        """Refuse a table that was made with columns that cannot store every text."""
        query = self.sql_of_database().narrow_columns
        if query is None:
            return
        names = (self.table.schema, self.table.name)
        schema, table = (f"'{name.replace(chr(39), 2 * chr(39))}'" if name else "NULL" for name in names)
        narrow = connection.exec_driver_sql(query.format(schema=schema, table=table)).first()
        if narrow is not None:
            raise ConnectionSettingsError(
                f"{self}: column {narrow[0]} has the encoding {narrow[1]}, which cannot store every text. The ledger "
                f"needs Unicode: run ALTER TABLE {self.quoted_name} CONVERT TO CHARACTER SET utf8mb4, or set another "
                "'ledger_table'"
            )

    def retry(self, change: Callable[..., T], *arguments: Any) -> T:
        """
        Read or change something, and try again on another connection if the database refuses.

        It may refuse because another writer was faster, a lock was not free, or the connection was dropped. Each try
        waits for a lock for two seconds; after a kill there is no further one.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(DBAPIError),
            stop=stop_any(stop_after_attempt(5), stop_when_event_set(self.cancelled)),
            wait=wait_random(0.05, 0.3),
            reraise=True,
        )
        return retrying(change, *arguments)

    def ddl(self) -> str:
        """Return the statements that create the table and its indexes, in the database's own dialect."""
        return ddl_text(self.table, self.engine.dialect)

    def upsert(
        self,
        connection: Connection,
        rows: Sequence[Mapping[str, Any]],
        *,
        update: Collection[str],
        when: When | None = None,
        keep: Collection[str] = (),
    ) -> None:
        """
        Insert rows whose key is absent, and update those whose key exists; safe with two writers at once.

        One statement for each few hundred rows, in the caller's transaction. Another writer's change in the same
        moment may be refused by the database: see :meth:`retry`.

        :param rows: all with the same columns, the key's among them, and each key once
        :param update: the columns that are set where the key exists
        :param when: takes the columns of the existing and of the new row (``old.outcome``, ``new["outcome"]``) and
            returns the condition under which they are set, of columns and constants; None for always. The statement is
            kept, so that a run writes it once: give the same function each time, and one without values of its own
        :param keep: those columns of ``update`` whose existing value stays unless it is NULL
        :raises ConnectionSettingsError: if this database cannot hold the ledger
        :raises sqlalchemy.exc.DBAPIError: if the database refuses
        """
        form = self.sql_of_database().upsert
        if not rows:
            return
        upsert = Upsert(self.table, tuple(rows[0]), tuple(update), when, tuple(keep))
        statement = self._statements.get(upsert)
        if statement is None:
            statement = self._statements[upsert] = form(upsert, self.engine.dialect)
        execute(connection, statement, upsert, rows)

    def sql_of_database(self) -> LedgerSql:
        """
        Return how the provider's own SQL is written in this database.

        :raises ConnectionSettingsError: if it cannot hold the ledger
        """
        kind = kind_of_dialect(self.engine.dialect)
        if kind.ledger is None:
            raise ConnectionSettingsError(
                f"{self} cannot live in {kind.title}. Set 'ledger_conn_id' to a connection to one of: "
                f"{LEDGER_DATABASES}"
            )
        return kind.ledger

    @property
    def quoted_name(self) -> str:
        """The table's name, with its schema, for the provider's own SQL."""
        return self.engine.dialect.identifier_preparer.format_table(self.table)

    def driver_value(self, value: Any) -> Any:
        """Return a value as the driver wants it, for SQL that bypasses SQLAlchemy."""
        if not isinstance(value, datetime):
            return value
        dialect = self.engine.dialect
        process = Utc().dialect_impl(dialect).bind_processor(dialect)
        return process(value) if process else value

    def close(self) -> None:
        """Close the connections to the database; the table can be used again afterwards."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def reading(self, **options: Any) -> Iterator[Connection]:
        """
        Open a connection to read from this table and those beside it.

        :param options: SQLAlchemy's execution options
        :raises LedgerError: if the database refuses
        """
        try:
            with self.engine.connect().execution_options(**options) as connection:
                yield connection
        except SQLAlchemyError as error:
            raise LedgerError(f"{self} cannot be read: {first_line(error)}") from None

    def __str__(self) -> str:
        return f"The {self.WHAT} {self.table.fullname!r} of connection {self.name!r}"


def _check_version(table: ManagedTable, dialect: Dialect) -> None:
    """Refuse what only speaks another database's language: Redshift says that it is PostgreSQL 8."""
    least = table.sql_of_database().least_version
    version = tuple(getattr(dialect, "server_version_info", None) or ())
    if version and version < least:
        title = kind_of_dialect(dialect).title
        raise ConnectionSettingsError(
            f"{table} needs {title} {_dotted(least)} or later; the server says that it is {_dotted(version)}. Set "
            f"'ledger_conn_id' to a connection to one of: {LEDGER_DATABASES}"
        )


def _add_column(table: ManagedTable, column: Column[Any]) -> str:
    """Return the statement that adds a column."""
    dialect = table.engine.dialect
    name = dialect.identifier_preparer.format_column(column)
    return f"ALTER TABLE {table.quoted_name} ADD {name} {column.type.compile(dialect)};"


def _dotted(version: tuple[Any, ...]) -> str:
    return ".".join(map(str, version))
