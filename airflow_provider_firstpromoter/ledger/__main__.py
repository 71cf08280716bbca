"""``python -m airflow_provider_firstpromoter.ledger DIALECT``: the DDL of the ledger."""

from __future__ import annotations

import sys

from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable

from airflow_provider_firstpromoter.ledger.table import ledger_table


def main() -> None:
    """Print the ledger's DDL for a dialect."""
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: python -m {__package__} DIALECT [SCHEMA.TABLE]")
    try:
        dialect = make_url(f"{sys.argv[1]}://").get_dialect()()
    except SQLAlchemyError as error:
        sys.exit(f"SQLAlchemy has no dialect {sys.argv[1]!r}: {error}")
    print(str(CreateTable(ledger_table(*sys.argv[2:])).compile(dialect=dialect)).strip() + ";")


if __name__ == "__main__":
    main()
