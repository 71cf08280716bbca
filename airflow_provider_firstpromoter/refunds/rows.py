"""A row on its way: out of a query or out of XCom, before anybody has judged it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

from airflow_provider_firstpromoter.refunds.refund import event_id_of, fingerprint, known_columns
from airflow_provider_firstpromoter.refunds.values import amount_text

T = TypeVar("T")
#: Rows that are checked against the ledger at once.
BATCH = 500


@dataclass(frozen=True, slots=True)
class Row:
    """
    One row of the input.

    :param position: its place in the input, from 0
    :param values: the refund call's columns, as the source gave them
    :param event_id: None where the row has none that could be sent
    :param amount: its canonical text, in the unit of the query; None where it is no number
    :param repeats: the amount of the earlier row with the same event_id, or None if there is none
    """

    position: int
    values: Mapping[str, Any]
    event_id: str | None
    amount: str | None
    repeats: str | None = None

    def fingerprint(self, key: bytes) -> str:
        """Changes when the row's content does, and tells nothing of it."""
        return fingerprint(self.values, key)


def numbered(mappings: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """The rows of a source, in its order; remembers nothing."""
    for position, mapping in enumerate(mappings):
        values = known_columns(mapping)
        yield Row(position, values, event_id_of(values), amount_text(values.get("amount")))


def marking_repeats(rows: Iterable[Row]) -> Iterator[Row]:
    """Mark the rows whose event_id came before. Remembers every event_id: for input that is in memory anyway."""
    amounts: dict[str, str] = {}
    for row in rows:
        if row.event_id is None:
            yield row
        elif row.event_id in amounts:
            yield replace(row, repeats=amounts[row.event_id])
        else:
            amounts[row.event_id] = row.amount or ""
            yield row


def batches(rows: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """The rows, or whatever it is, in lists of that length."""
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch
