"""
### Two accounts, several workers

`sync_accounts` is a task that is mapped over two accounts. Each account has its own rows, ledger key and rate limit,
and the executor runs the two task instances on any free workers. The tasks downstream send further refunds of the same
accounts. A pool with one slot for each account makes the tasks of one account run one after another, because they share
its limit of 400 requests a minute.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import dag

from airflow_provider_firstpromoter.transfers.sql_to_firstpromoter import SqlToFirstPromoterOperator

REFUNDS = """
    SELECT event_id, amount, currency, uid, sale_event_id
    FROM refunds
    WHERE account = %(account)s AND number <= %(up_to)s
"""
ACCOUNTS = ("north", "south")


@dag(schedule=None, start_date=pendulum.datetime(2025, 1, 1, tz="UTC"), catchup=False, doc_md=__doc__)
def two_accounts() -> None:
    # Map the parameters too: with the connection alone, every refund would be sent to every account.
    sync_accounts = SqlToFirstPromoterOperator.partial(
        task_id="sync_accounts", sql=REFUNDS, sql_conn_id="warehouse", recheck_unreferred=timedelta(days=7)
    ).expand_kwargs(
        [
            {"firstpromoter_conn_id": f"firstpromoter_{account}", "parameters": {"account": account, "up_to": 350}}
            for account in ACCOUNTS
        ]
    )
    for account in ACCOUNTS:
        for number in (1, 2):
            sync_accounts >> SqlToFirstPromoterOperator(
                task_id=f"late_{account}_{number}",
                sql=REFUNDS,
                sql_conn_id="warehouse",
                recheck_unreferred=timedelta(days=7),
                parameters={"account": account, "up_to": 700},
                firstpromoter_conn_id=f"firstpromoter_{account}",
                pool=f"firstpromoter_{account}",
            )


two_accounts()
