"""A query of any size, kept level with FirstPromoter: through a spool, and counted from the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from airflow_provider_firstpromoter.database import RefundQuery
from airflow_provider_firstpromoter.exceptions import RunRefusedError
from airflow_provider_firstpromoter.ledger import RefundLedger
from airflow_provider_firstpromoter.pending import Action, classify_rows, unsettled_rows
from airflow_provider_firstpromoter.refunds import InvalidRefund, Refund, Row, numbered
from airflow_provider_firstpromoter.sync.log_text import duration
from airflow_provider_firstpromoter.sync.run import RefundSync
from airflow_provider_firstpromoter.sync.spool import Spool

#: Results in the XCom ``rewards``; the others are in the ledger.
MOST_REWARDS = 1000


def run_query(sync: RefundSync, query: RefundQuery, max_pending: int | None) -> None:
    """
    Send every pending refund of a query.

    :param sync: a run that has not begun
    :param max_pending: more pending than this is refused; None takes any number
    :raises RunRefusedError: before the first request
    """
    with Spool() as spool:
        pending = Counter[Action]()
        spool.fill(_unsettled(sync, query, pending))
        to_send = pending[Action.SEND] + pending[Action.RECHECK]
        sync.summary.skipped += pending[Action.SETTLED]
        if max_pending is not None and to_send > max_pending:
            told = f"{to_send} refunds are pending, more than max_pending={max_pending}: {_sums(sync, spool)}"
            if not sync.options.preview:
                raise RunRefusedError(
                    f"{told}. Nothing was sent. If all of them are meant, as in a first run, set max_pending=None; "
                    "preview=True reports without sending"
                )
            sync.summary.warnings.append(told)
        _announce(sync, to_send)
        if not sync.options.preview:
            _count_earlier_tries(sync)
        sync.run(spool, total=len(spool), count_stored=False)


def _unsettled(sync: RefundSync, query: RefundQuery, counts: Counter[Action]) -> Iterator[Row]:
    """The rows worth keeping: all but the settled ones. What was kept is checked once more before it is sent."""
    options = sync.options
    with closing(unsettled_rows(query, _ledger(sync), options.recheck_unreferred, options.identify_by)) as rows:
        for batch in classify_rows(
            numbered(rows),
            _ledger(sync),
            key=sync.fingerprint_key,
            recheck_unreferred=options.recheck_unreferred,
            retry_rejected=options.retry_rejected,
            details=False,
        ):
            sync.raise_if_killed()
            for row, action, _ in batch:
                counts[action] += 1
                if action is not Action.SETTLED:
                    yield row


def _ledger(sync: RefundSync) -> RefundLedger:
    """The ledger: a query without one has no pending refunds, only rows."""
    if sync.ledger is None:
        raise ValueError("a query needs a ledger")
    return sync.ledger


def _sums(sync: RefundSync, spool: Spool) -> str:
    """What is in the spool, by currency: the number that tells a backfill from a wrong query."""
    sums = Counter[str]()
    for row in spool:
        try:
            refund = Refund.from_row(row.values, sync.validation)
        except InvalidRefund:
            continue
        sums[refund.currency or sync.validation.currency or "the account's currency"] += refund.amount
    return ", ".join(f"{amount} minor units of {currency}" for currency, amount in sorted(sums.items()))


def _announce(sync: RefundSync, to_send: int) -> None:
    most = to_send if sync.options.limit is None else min(to_send, sync.options.limit)
    rate = sync.hook.account.extra.requests_per_minute
    sync.log.info(
        "%s refunds are pending; %s are sent now, at %s requests a minute in %s or more",
        to_send,
        most,
        rate,
        duration(most * 60 / rate),
    )


def _count_earlier_tries(sync: RefundSync) -> None:
    """
    Make the summary that of the whole task run.

    A settled refund never comes out of the warehouse again, so only the ledger can give a cleared task the same counts
    as before. Rejected ones do come again, and are counted then.
    """
    for record in _ledger(sync).records_of_run(sync.run_key):
        if record.outcome.settled:
            sync.summary.add_earlier(
                record.result(),
                amount=record.sent_amount,
                currency=record.sent_currency,
                sale_event_id=record.sale_event_id,
            )


def rewards_of_run(sync: RefundSync) -> list[dict[str, Any]]:
    """
    The results of the whole task run that bear a reward, earlier tries included: read back from the ledger.

    :returns: plain JSON; at most :data:`MOST_REWARDS`, with a warning in the summary about the others
    """
    rewards: list[dict[str, Any]] = []
    beyond = 0
    for record in _ledger(sync).records_of_run(sync.run_key):
        if record.outcome.settled and (result := record.result()).reward is not None:
            if len(rewards) < MOST_REWARDS:
                rewards.append(result.to_json())
            else:
                beyond += 1
    if beyond:
        sync.summary.warnings.append(f"{beyond} more rewards than the {MOST_REWARDS} in XCom: read them in the ledger")
    return rewards
