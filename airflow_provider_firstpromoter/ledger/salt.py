"""
The table of salts beside the ledger: the key of the hashes by which contents of rows are recognised.

It is a table of its own so that analysts need no right to read it: without the salt, a hash cannot be guessed.
"""

from __future__ import annotations

import secrets

from sqlalchemy import Column, MetaData, String, Table, func, select
from sqlalchemy.engine import Engine

from airflow_provider_firstpromoter.database import ManagedTable, errors_as, key_text
from airflow_provider_firstpromoter.exceptions import LedgerError

#: The table's name is the ledger's, followed by this.
SUFFIX = "_salt"


def salt_table(name: str) -> Table:
    """
    Return the table of salts, one row per account.

    :param name: the table's name, ``schema.table`` if need be
    """
    schema, _, table = name.rpartition(".")
    return Table(
        table,
        MetaData(),
        Column("account", key_text(), primary_key=True),
        Column("salt", String(32), nullable=False, comment="random; never change it, and let nobody read it"),
        schema=schema or None,
        mysql_charset="utf8mb4",
    )


class Salts(ManagedTable):
    """
    The salts of a ledger's accounts.

    :param ledger: the name of the ledger's table
    """

    WHAT = "table of salts"

    def __init__(self, engine: Engine, ledger: str, name: str) -> None:
        super().__init__(engine, salt_table(ledger + SUFFIX), name)

    def find(self, account: str) -> str | None:
        """Return an account's salt; None if it has none yet."""
        with errors_as(LedgerError, f"{self} cannot be read"):
            return self.retry(self._find, account) if self.exists() else None

    def make(self, account: str) -> str:
        """Make an account's salt unless another process is faster, and return the one that is stored."""
        self.ensure()
        with errors_as(LedgerError, f"{self} cannot be written"):
            self.retry(self._insert, account)
            return str(self.retry(self._find, account))

    def _insert(self, account: str) -> None:
        with self.engine.begin() as connection:
            self.upsert(connection, [{"account": account, "salt": secrets.token_hex(16)}], update=())

    def _find(self, account: str) -> str | None:
        c = self.table.c
        with self.engine.connect() as connection:
            # Databases that do not enforce keys can hold a row of each of two first runs.
            salt: str | None = connection.execute(select(func.min(c.salt)).where(c.account == account)).scalar()
        return salt
