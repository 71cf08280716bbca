"""
A row of the input, from a query or from XCom, before it is known whether it needs sending.

The ledger recognises a row's content by a fingerprint: up to :data:`MOST_TOKENS` keyed hashes, one for each content
that was tried. A query that joins a row with two e-mail addresses gives two rows of one event_id, both remembered. The
key is the account's salt, which the ledger has and which never changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Context, Decimal
from itertools import islice
from typing import Any, TypeVar

from airflow_provider_firstpromoter.calls.call import Call, event_id_from, portable_value
from airflow_provider_firstpromoter.calls.refund import REFUND
from airflow_provider_firstpromoter.calls.sale import SALE
from airflow_provider_firstpromoter.calls.values import MAX_AMOUNT_LENGTH, amount_text, canonical_text, read_moment

#: Hexadecimal digits of one token.
TOKEN_LENGTH = 16
#: Contents of one event_id that are remembered: as many as fit into the ledger's column of 255 characters.
MOST_TOKENS = 15
#: The default context would round a long amount, and take two amounts for the same.
_EXACTLY = Context(prec=2 * MAX_AMOUNT_LENGTH)
#: The calls that have a ledger, by name.
CALLS = {call.name: call for call in (REFUND, SALE)}
#: The columns of all calls, and whether each holds an id: a row has those of one call only.
_COLUMNS = {name: name in call.id_columns for call in CALLS.values() for name in call.columns}
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
    :param values: the call's columns, as the source gave them
    :param event_id: None where the row has no usable one
    :param amount: its canonical text, in the unit of the query; None where it is no number
    :param happened_at: the event's own time, for reports; None where the query does not say
    :param digest: the hash of the content that was computed when settled rows were left out; None if none was
    :param reason: ``recheck`` or ``retry`` if a sensor passed the row on for that reason
    :param call: what it is a row of
    """

    position: int
    values: Mapping[str, Any]
    event_id: str | None
    amount: str | None
    happened_at: datetime | None = None
    digest: str | None = None
    reason: str | None = None
    call: Call = field(kw_only=True)

    @classmethod
    def read(cls, position: int, mapping: Mapping[str, Any], call: Call) -> Row:
        """Read a mapping of column names, in any case, to values."""
        values = call.known_columns(mapping)
        extra = {str(name).lower(): value for name, value in mapping.items()}
        return cls(
            position,
            values,
            event_id_from(values.get("event_id")),
            amount_text(values.get("amount")),
            read_moment(extra.get(call.moment)),
            _text(extra.get(DIGEST_COLUMN)),
            _text(extra.get(REASON_COLUMN)),
            call=call,
        )

    def portable(self) -> dict[str, str | int | bool | None]:
        """Return the row as plain JSON, from which :meth:`read` restores it."""
        values = self.call.portable(self.values)
        extra = {
            self.call.moment: self.happened_at.isoformat() if self.happened_at else None,
            DIGEST_COLUMN: self.digest,
            REASON_COLUMN: self.reason,
        }
        return {**values, **{name: value for name, value in extra.items() if value is not None}}


def numbered(mappings: Iterable[Mapping[str, Any]], call: Call) -> Iterator[Row]:
    """Read the rows of a source, in its order, one at a time."""
    return (Row.read(position, mapping, call) for position, mapping in enumerate(mappings))


def content_token(row: Mapping[str, Any], key: bytes) -> str:
    """
    Return a keyed hash of a row's columns of its call, without the event_id.

    :param key: keeps customers' e-mail addresses from being found by hashing guesses
    :returns: 16 hexadecimal digits
    """
    digest = hashlib.blake2b(key=key, digest_size=TOKEN_LENGTH // 2)
    given = {str(name).lower(): value for name, value in row.items()}
    for name, is_id in _COLUMNS.items():
        if name == "event_id" or name not in given:
            continue
        value = portable_value(name, given[name], is_id=is_id)
        text = canonical_text(value)
        if name == "amount" and amount_text(value):
            text = format(Decimal(text or "0").normalize(_EXACTLY), "f")  # 10.5 and 10.50 are the same amount
        if text is not None:
            digest.update(f"{name}\0{len(text)}\0{text}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def is_known_content(stored: str | None, row: Mapping[str, Any], key: bytes) -> bool:
    """
    Return whether this content was tried before.

    :param stored: the ledger's fingerprint; None is no content
    """
    return bool(stored) and content_token(row, key) in str(stored).split(" ")


def fingerprint(row: Mapping[str, Any], key: bytes, earlier: str | None = None) -> str:
    """
    Return the fingerprint of a row, to be stored.

    :param earlier: the stored fingerprint of other contents of the same event_id
    """
    return " ".join(_with(earlier.split(" ") if earlier else [], content_token(row, key)))


def add_digest(earlier: str | None, digest: str | None) -> str | None:
    """Add a digest to the stored digests of an event's contents, and return them all."""
    return " ".join(_with(earlier.split(" ") if earlier else [], digest)) if digest else earlier


def _with(tokens: list[str], token: str) -> list[str]:
    return [*(one for one in tokens if one != token), token][-MOST_TOKENS:]


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Return the items in lists of at most ``size``; Python 3.12's ``itertools.batched`` does the same."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
