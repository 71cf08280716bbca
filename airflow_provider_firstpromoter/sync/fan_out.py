"""
Decides what several rows of one event_id mean.

A join can give a refund more than one row. Rows of the same content are one refund. Rows that differ in the customer's
ids only are one refund with more ids to try. Rows that differ in anything else contradict each other: the first one is
sent, and the others are reported.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_firstpromoter.calls import Refund, Row, content_token
from airflow_provider_firstpromoter.pending import Action, ClassifiedRow
from airflow_provider_firstpromoter.sync.job import Job

_IDS = ("uid", "email")


def distinct(rows: Sequence[Row], key: bytes) -> tuple[list[Row], list[Row]]:
    """
    Split rows of one event_id.

    :returns: the first row of each content, and the rows that repeat an earlier one
    """
    if len(rows) == 1:
        return list(rows), []
    first: dict[str, Row] = {}
    repeated = []
    for row in rows:
        if first.setdefault(content_token(row.values, key), row) is not row:
            repeated.append(row)
    return list(first.values()), repeated


def job_of(
    rows: Sequence[tuple[ClassifiedRow, Refund]], rank: int, refused: Sequence[Row] = (), key: bytes = b""
) -> tuple[Job, int]:
    """
    Return the job that sends a refund.

    :param rows: the rows of its event_id that can be sent, each of another content
    :param rank: its place in the order of the run
    :param refused: the rows of its event_id that cannot be sent
    :param key: for comparing contents
    :returns: the job, and how many rows only repeat it, without an id of the customer
    """
    (first, refund), *rest = rows
    contradicting = [row for row in refused if not _differs_in_ids_only(first.row, row, key)]
    job = Job(
        first.row,
        refund,
        first.record,
        rank,
        recheck=first.action is Action.RECHECK,
        alternatives=tuple((one.row, other) for one, other in rest if _is_alternative(refund, other)),
        others=(*(one.row for one, other in rest if not _is_alternative(refund, other)), *contradicting),
        refused=tuple(refused),
    )
    return job, len(refused) - len(contradicting)


def contradiction(row: Row, other: Row) -> str:
    """Return why a row is not sent beside another row of its event_id."""
    columns = [name for name in {**row.values, **other.values} if row.values.get(name) != other.values.get(name)]
    return f"another row of the query has this event_id and was sent; they differ in {', '.join(columns)}"


def _differs_in_ids_only(row: Row, other: Row, key: bytes) -> bool:
    tokens = {
        content_token({name: value for name, value in one.values.items() if name not in _IDS}, key)
        for one in (row, other)
    }
    return len(tokens) == 1


def _is_alternative(refund: Refund, other: Refund) -> bool:
    return refund.model_dump(exclude=set(_IDS)) == other.model_dump(exclude=set(_IDS))
