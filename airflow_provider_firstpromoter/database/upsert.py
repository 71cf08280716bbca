"""One statement that inserts or updates many rows, in the form that each database has for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import Column, Table, and_, case, func, literal_column
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.sql.visitors import iterate

#: Whether an existing row is overwritten: takes the columns of the existing and of the new row, by name.
When: TypeAlias = Callable[[Any, Any], Any]

#: Rows and values in one statement: PostgreSQL takes 65,535 values, SQLite 32,766, Snowflake 1 MB of text.
MOST_ROWS = 200
MOST_VALUES = 20_000


@dataclass(frozen=True)
class Upsert:
    """
    What is to be inserted or updated.

    :param columns: those that every row has, the key's among them
    :param update: the columns that are set where the key exists
    :param when: whether they are set; None for always
    :param keep: those of them whose existing value stays unless it is NULL
    """

    table: Table
    columns: Sequence[str]
    update: Collection[str]
    when: When | None = None
    keep: Collection[str] = ()

    def values(self, old: Any, new: Any) -> dict[str, Any]:
        """The values that the columns of ``update`` are set to, as expressions."""
        return {name: func.coalesce(old[name], new[name]) if name in self.keep else new[name] for name in self.update}

    def condition(self, old: Any, new: Any) -> Any:
        """The condition of the update as an expression; None for always."""
        return None if self.when is None else self.when(old, new)


@dataclass(frozen=True)
class Statement:
    """The SQL text around the rows."""

    before: str
    after: str

    def sql(self, rows: int, columns: int, paramstyle: str) -> str:
        """The text for so many rows, with placeholders in the driver's positional style."""
        if paramstyle.startswith("numeric"):
            sign = "$" if paramstyle == "numeric_dollar" else ":"
            places = [
                ", ".join(f"{sign}{row * columns + column + 1}" for column in range(columns)) for row in range(rows)
            ]
        else:
            places = [", ".join(["%s" if "format" in paramstyle else "?"] * columns)] * rows
        return self.before + ", ".join(f"({row})" for row in places) + self.after


class _Texts:
    """The SQL texts of an upsert's parts, in a database's dialect."""

    def __init__(self, upsert: Upsert, dialect: Dialect) -> None:
        preparer = dialect.identifier_preparer
        self.upsert = upsert
        self.dialect = dialect
        self.table = preparer.format_table(upsert.table)
        self.names = {name: preparer.quote(name) for name in upsert.columns}
        self.columns = ", ".join(self.names.values())
        self.key = [column.name for column in upsert.table.primary_key]

    def __call__(self, expression: Any) -> str:
        return str(expression.compile(dialect=self.dialect, compile_kwargs={"literal_binds": True}))

    def assignments(self, values: Mapping[str, Any]) -> str:
        return ", ".join(f"{self.names[name]} = {self(value)}" for name, value in values.items())


#: How a database writes an upsert.
Form: TypeAlias = Callable[[Upsert, Dialect], Statement]


def on_conflict(upsert: Upsert, dialect: Dialect) -> Statement:
    """``INSERT ... ON CONFLICT``: PostgreSQL, SQLite, DuckDB."""
    text = _Texts(upsert, dialect)
    old, new = upsert.table.c, upsert.table.alias("excluded").c
    condition = upsert.condition(old, new)
    action = "DO NOTHING"
    if upsert.update:
        action = f"DO UPDATE SET {text.assignments(upsert.values(old, new))}"
        if condition is not None:
            action += f" WHERE {text(condition)}"
    key = ", ".join(text.names[name] for name in text.key)
    return Statement(f"INSERT INTO {text.table} ({text.columns}) VALUES ", f" ON CONFLICT ({key}) {action}")


def on_duplicate_key(upsert: Upsert, dialect: Dialect) -> Statement:
    """``INSERT ... ON DUPLICATE KEY UPDATE``: MySQL and MariaDB, which have no condition of the whole update."""
    text = _Texts(upsert, dialect)
    old: Any = upsert.table.c
    new: Any
    if getattr(dialect, "is_mariadb", False):
        alias, new = "", _Columns({column.name: func.VALUES(column, type_=column.type) for column in old})
    else:  # where VALUES() is deprecated
        alias, new = " AS incoming", upsert.table.alias("incoming").c
    values = upsert.values(old, new) or {text.key[0]: old[text.key[0]]}
    condition = upsert.condition(old, new) if upsert.update else None
    if condition is not None:
        # MySQL assigns from left to right, and later values see the earlier assignments: what the condition reads
        # comes last. Where it reads several, the first assignment keeps the condition in a variable.
        read = {one.name for one in iterate(condition) if isinstance(one, Column) and one.table is upsert.table}
        names = sorted(values, key=lambda name: name in read)
        first = condition
        if len(read.intersection(names)) > 1:
            variable: Any = literal_column("@firstpromoter_applies")
            first, condition = variable.op(":=")(and_(condition).self_group()), variable
        values = {
            name: case((first if name == names[0] else condition, values[name]), else_=old[name]) for name in names
        }
    return Statement(
        f"INSERT INTO {text.table} ({text.columns}) VALUES ",
        f"{alias} ON DUPLICATE KEY UPDATE {text.assignments(values)}",
    )


class _Columns(dict[str, Any]):
    """Columns by name, as attributes and as items."""

    __getattr__ = dict.__getitem__


def merge(upsert: Upsert, dialect: Dialect) -> Statement:
    """``MERGE``: Snowflake, which wants a type for every column of VALUES."""
    text = _Texts(upsert, dialect)
    old, new = upsert.table.alias("existing").c, upsert.table.alias("incoming").c
    condition = upsert.condition(old, new)
    types = {name: upsert.table.c[name].type.compile(dialect) for name in upsert.columns}
    typed = ", ".join(f"CAST({quoted} AS {types[name]}) AS {quoted}" for name, quoted in text.names.items())
    key = " AND ".join(text(old[name] == new[name]) for name in text.key)
    matched = ""
    if upsert.update:
        matched = " WHEN MATCHED" if condition is None else f" WHEN MATCHED AND ({text(condition)})"
        matched += f" THEN UPDATE SET {text.assignments(upsert.values(old, new))}"
    inserted = ", ".join(text(new[name]) for name in upsert.columns)
    return Statement(
        f"MERGE INTO {text.table} AS existing USING (SELECT {typed} FROM (VALUES ",
        f") AS given ({text.columns})) AS incoming ON {key}{matched} "
        f"WHEN NOT MATCHED THEN INSERT ({text.columns}) VALUES ({inserted})",
    )


def execute(connection: Connection, statement: Statement, upsert: Upsert, rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Write the rows: the statement once for each :data:`MOST_ROWS` of them.

    :param statement: of the upsert, in the form of the connection's database
    :param rows: each key once
    """
    dialect = connection.dialect
    types = [upsert.table.c[name].type for name in upsert.columns]
    processors = [type_.dialect_impl(dialect).bind_processor(dialect) for type_ in types]
    # In the order of the key, so that two writers wait for each other instead of ending in a deadlock.
    key = [column.name for column in upsert.table.primary_key]
    ordered = sorted(rows, key=lambda row: [row[name] for name in key])
    size = max(1, min(MOST_ROWS, MOST_VALUES // len(upsert.columns)))
    for start in range(0, len(ordered), size):
        batch = ordered[start : start + size]
        # Column by column, because most columns need no processing at all.
        columns = [
            _plain([row[name] for row in batch], process)
            for name, process in zip(upsert.columns, processors, strict=True)
        ]
        values = tuple(chain.from_iterable(zip(*columns, strict=True)))
        sql = statement.sql(len(batch), len(upsert.columns), dialect.paramstyle)
        # As one set among many: else SQLAlchemy takes a tuple that begins with one for many sets.
        connection.exec_driver_sql(sql, [values])


def _plain(values: list[Any], process: Callable[[Any], Any] | None) -> list[Any]:
    """Return the values of a column as the driver takes them: enums that are texts as plain texts."""
    if process is not None:
        values = list(map(process, values))
    if any(kind is not str and issubclass(kind, str) for kind in set(map(type, values))):
        values = [str.__str__(value) if isinstance(value, str) else value for value in values]
    return values
