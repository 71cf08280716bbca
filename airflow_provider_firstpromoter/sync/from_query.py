"""Runs over a query of any size, and reads the rewards of a run from the ledger."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from airflow_provider_firstpromoter.calls import numbered
from airflow_provider_firstpromoter.database import RefundQuery
from airflow_provider_firstpromoter.pending import unsettled_rows
from airflow_provider_firstpromoter.sync.run import RefundSync

#: The most results in the XCom ``rewards``; the others are in the ledger.
MOST_REWARDS = 1000


def run_query(sync: RefundSync, query: RefundQuery) -> None:
    """
    Send every pending refund of a query.

    :param sync: a run that has not begun, with a ledger
    :raises RunRefusedError: before the first request, if more is pending than ``max_pending`` allows
    """
    if sync.ledger is None:
        raise ValueError("a query needs a ledger")
    options = sync.options
    with closing(unsettled_rows(query, sync.ledger, options.recheck_unreferred, options.identify_by)) as rows:
        sync.run(numbered(rows))


def rewards_of_run(sync: RefundSync) -> list[dict[str, Any]]:
    """
    Return the results of the whole task run that have a reward, earlier tries included, from the ledger.

    :returns: plain JSON; at most :data:`MOST_REWARDS`, with a warning in the summary about the others
    """
    total = sync.total()
    if sync.ledger is None or not any(total.outcomes[outcome] for outcome in total.outcomes if outcome.on_record):
        return []
    rewards: list[dict[str, Any]] = []
    beyond = 0
    for record in sync.ledger.records_of_run(sync.run_key):
        if not (record.recorded and record.has_reward):
            continue
        if len(rewards) < MOST_REWARDS:
            rewards.append(record.result().to_json())
        else:
            beyond += 1
    if beyond:
        sync.summary.warnings.append(f"{beyond} more rewards than the {MOST_REWARDS} in XCom: read them in the ledger")
    return rewards
