"""
Finds settled rows on the worker: the rule of :mod:`~airflow_provider_firstpromoter.pending.rules` in a third form, for
a ledger that is not in the query's database.

The ledger's side of the rule is SQL, so that only a few short texts of each refund are transferred. The other side is
a comparison of texts, so that settled rows cost next to nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple

from airflow_provider_firstpromoter import RECHECK_EVERY
from airflow_provider_firstpromoter.calls import REFUND_COLUMNS, Outcome, amount_text, event_id_of
from airflow_provider_firstpromoter.database import Binds, Source, errors_as
from airflow_provider_firstpromoter.exceptions import LedgerError
from airflow_provider_firstpromoter.ledger import RefundLedger
from airflow_provider_firstpromoter.pending.rules import outcome_list

#: Hexadecimal digits of a digest.
DIGEST_LENGTH = 16


class Facts(NamedTuple):
    """
    What identifies a row with this event_id as settled.

    :param amount: the recorded amount; None unless the refund is recorded
    :param accepted: another amount that was accepted for it
    :param digests: of contents without a referral, joined by spaces; None unless that is the outcome
    """

    event_id: str
    amount: str | None
    accepted: str | None
    digests: str | None


def facts_of(
    ledger: RefundLedger, now: datetime, recheck_unreferred: timedelta | None
) -> Generator[Sequence[Facts], None, None]:
    """
    Stream the facts of an account, in batches, in the order of the event_ids' bytes.

    :param now: aware
    :param recheck_unreferred: refunds that are due to be sent again are not settled
    :returns: tuples with the fields of :class:`Facts`
    :raises LedgerError: if the database refuses
    """
    sql = ledger.sql_of_database()
    bind = Binds(None, sql.placeholders)
    on_record = outcome_list(outcome for outcome in Outcome if outcome.on_record)
    by_content = outcome_list(outcome for outcome in Outcome if outcome.settled and outcome.remembers_content)
    due = ""
    if recheck_unreferred is not None:
        first, last = now - recheck_unreferred, now - RECHECK_EVERY
        due = (
            f"WHEN l.outcome = '{Outcome.NOT_REFERRED.value}' "
            f"AND l.first_sent_at > {bind(ledger.driver_value(first))} "
            f"AND l.last_sent_at <= {bind(ledger.driver_value(last))} THEN NULL "
        )
    text, parameters = bind.complete(
        "",
        "",
        f"SELECT l.event_id, CASE WHEN l.outcome IN ({on_record}) THEN l.row_amount END, "
        # Without a recorded amount, as after an adoption, the row's amount has yet to be compared.
        f"CASE WHEN l.outcome IN ({on_record}) AND l.row_amount IS NOT NULL AND l.accepted_at IS NOT NULL "
        "THEN l.changed_amount END, "
        f"CASE {due}WHEN l.outcome IN ({by_content}) THEN l.row_digest END "
        f"FROM {ledger.quoted_name} l WHERE l.account = {bind(ledger.account)} "
        f"AND l.outcome IN ({on_record}, {by_content}) ORDER BY {sql.byte_order.format('l.event_id')}",
    )
    with (
        errors_as(LedgerError, f"{ledger} cannot be read"),
        closing(Source.from_engine(ledger.engine, ledger.name).fetch(text, parameters)) as batches,
    ):
        for batch in batches:
            yield batch.rows  # type: ignore[misc]


class RowReader:
    """
    Reads, of the rows of a query, what decides whether they are settled.

    :param names: the query's columns
    :param digest_key: the account's key of the digests
    """

    def __init__(self, names: Sequence[str], digest_key: str) -> None:
        places = {name.lower(): place for place, name in enumerate(names)}
        self._event_id = itemgetter(places["event_id"])
        self._amount = itemgetter(places["amount"])
        content = [name for name in REFUND_COLUMNS if name in places and name != "event_id"]
        self._content = itemgetter(*(places[name] for name in content))
        self._prefix = f"{digest_key} {','.join(content)} "

    def event_ids(self, rows: Sequence[Sequence[Any]]) -> list[str]:
        """Return the event_ids; an empty text, which no refund has, where a row has no usable one."""
        return _texts(list(map(self._event_id, rows)), lambda value: event_id_of({"event_id": value}) or "")

    def unsettled(
        self, rows: Sequence[Sequence[Any]], event_ids: Sequence[str], known: Mapping[str, Sequence[Any]]
    ) -> list[tuple[Sequence[Any], str]]:
        """
        Return the rows that are not known as settled, each with its digest.

        :param event_ids: of the rows
        :param known: tuples with the fields of :class:`Facts`, by event_id
        """
        amounts = _texts(list(map(self._amount, rows)), lambda value: amount_text(value) or "")
        facts = list(map(known.get, event_ids, repeat(_NONE)))
        if amounts == list(map(_RECORDED, facts)):
            return []  # nearly always
        found = []
        for row, amount, (_, recorded, accepted, digests) in zip(rows, amounts, facts, strict=True):
            if amount and amount in (recorded, accepted):
                continue
            digest = self._digest(row)
            if digests is None or digest not in digests:
                found.append((row, digest))
        return found

    def _digest(self, row: Sequence[Any]) -> str:
        """
        Return a keyed hash of the row's content.

        It is compared only with hashes from this method. A row that merely looks different comes through, and is
        compared exactly then.
        """
        content = f"{self._prefix}{self._content(row)!r}"
        return hashlib.md5(content.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:DIGEST_LENGTH]


_NONE = Facts("", None, None, None)
_RECORDED = itemgetter(1)


def _texts(values: list[Any], text_of: Callable[[Any], str]) -> list[str]:
    """Return the values as texts, without a look at each of them where they are all of one usual type."""
    types = set(map(type, values))
    if types == {str}:
        return values
    if types == {int}:
        return list(map(str, values))
    return [value if type(value) is str else text_of(value) for value in values]
