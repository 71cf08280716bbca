"""A row of the input, from a query or from XCom, before it is known whether it needs sending."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, TypeVar

from airflow_provider_firstpromoter.calls.call import event_id_from
from airflow_provider_firstpromoter.calls.refund import known_columns, portable
from airflow_provider_firstpromoter.calls.values import amount_text

T = TypeVar("T")
#: Rows that are compared with the ledger at once.
BATCH = 500
#: The column that holds a hash of the row's content, added when settled rows are left out; not one of the query's own.
DIGEST_COLUMN = "firstpromoter_digest"
#: The column that the sensor adds: why the row is pending although the ledger has it (see :class:`Row`).
REASON_COLUMN = "firstpromoter_reason"


@dataclass(frozen=True, slots=True)
class Row:
    """
    One row of the input.

    :param position: its place in the input, from 0
    :param values: the refund call's columns, as the source gave them
    :param event_id: None where the row has no usable one
    :param amount: its canonical text, in the unit of the query; None where it is no number
    :param refunded_at: when the customer got the money, for reports; None where the query does not say
    :param digest: the hash of the content that was computed when settled rows were left out; None if none was
    :param reason: ``recheck`` or ``retry`` if a sensor passed the row on for that reason
    """

    position: int
    values: Mapping[str, Any]
    event_id: str | None
    amount: str | None
    refunded_at: datetime | None = None
    digest: str | None = None
    reason: str | None = None

    @classmethod
    def read(cls, position: int, mapping: Mapping[str, Any]) -> Row:
        """Read a mapping of column names, in any case, to values."""
        values = known_columns(mapping)
        extra = {str(name).lower(): value for name, value in mapping.items()}
        return cls(
            position,
            values,
            event_id_from(values.get("event_id")),
            amount_text(values.get("amount")),
            read_moment(extra.get("refunded_at")),
            _text(extra.get(DIGEST_COLUMN)),
            _text(extra.get(REASON_COLUMN)),
        )

    def portable(self) -> dict[str, str | int | bool | None]:
        """Return the row as plain JSON, from which :meth:`read` restores it."""
        values = portable(self.values)
        extra = {
            "refunded_at": self.refunded_at.isoformat() if self.refunded_at else None,
            DIGEST_COLUMN: self.digest,
            REASON_COLUMN: self.reason,
        }
        return {**values, **{name: value for name, value in extra.items() if value is not None}}


def read_moment(value: object) -> datetime | None:
    """
    Read a time of a report column.

    :param value: a datetime, a date, or ISO 8601 text; without a zone it is taken for UTC
    :returns: aware, UTC; None for anything else: a report column never keeps a refund from being sent
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return None
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except (OverflowError, ValueError):
        return None


def numbered(mappings: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Read the rows of a source, in its order, one at a time."""
    return (Row.read(position, mapping) for position, mapping in enumerate(mappings))


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Return the items in lists of at most ``size``; Python 3.12's ``itertools.batched`` does the same."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
