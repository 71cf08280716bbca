"""Warehouses and ledgers of any size on PostgreSQL, made inside the database."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from airflow_provider_firstpromoter.calls import REFUND
from dev.benchmarks.work import SQL
from dev.sandbox import ACCOUNT_ID

#: Nothing listens there; see :class:`dev.benchmarks.work.CannedResponses`.
URL = "http://127.0.0.1:9/api/v2"
ACCOUNT = f"{ACCOUNT_ID}@127.0.0.1:9"
#: An event_id, made of the number ``n``.
SEQUENTIAL, RANDOM = "'re_' || n", "'re_' || md5(n::text)"
#: Refunds that are loaded on a day, however many there are.
A_DAY = 1000
_AMOUNT = "100 + mod(n, 5000)"


def fill(settled: int, new: int, event_id: str = SEQUENTIAL, unmatched: str = "false") -> None:
    """
    Create the warehouse, and insert all but the new refunds into the ledger, with the columns that a run writes.

    :param event_id: :data:`SEQUENTIAL` or :data:`RANDOM`
    :param unmatched: the condition for refunds without a referral; the others are recorded
    """
    from airflow_provider_firstpromoter.database.engine import engine_for
    from airflow_provider_firstpromoter.hooks import FirstPromoterHook
    from airflow_provider_firstpromoter.ledger import Ledger

    fill_warehouse(settled + new, event_id)
    account = FirstPromoterHook().account
    assert account.key == ACCOUNT
    ledger = Ledger.required(account, call=REFUND)
    ledger.ensure()
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO firstpromoter_refunds (account, event_id, outcome, http_status, row_amount, sent_amount, "
            "sent_currency, recorded_amount, firstpromoter_id, lead_id, commissions_known, lost, unmatched, "
            "dag_id, run_id, task_id, map_index, first_sent_at, last_sent_at, "
            f"judged_at) SELECT %s, {event_id}, 'recorded', 200, ({_AMOUNT})::text, {_AMOUNT}, "
            f"'USD', -({_AMOUNT}), n, n, true, false, false, "
            "'refunds', 'scheduled__' || n / 1000, 'sync', -1, now(), now(), now() "
            f"FROM generate_series(1, %s) n WHERE NOT ({unmatched})",
            (ACCOUNT, settled),
        )
        connection.exec_driver_sql(
            "INSERT INTO firstpromoter_refunds_commissions (account, event_id, commission_id, promoter_id, tier, "
            f"amount, unit, status, is_paid, lead_id, sale_amount) SELECT %s, {event_id}, n, mod(n, 100), 1, -20, "
            f"'cash', 'pending', false, n, -({_AMOUNT}) FROM generate_series(1, %s) n WHERE NOT ({unmatched})",
            (ACCOUNT, settled),
        )
    if unmatched != "false":
        _insert_unmatched(ledger, f"n <= {settled} AND {unmatched}")
    for conn_id in ("warehouse", ledger.name):
        with engine_for(conn_id).connect() as connection:
            # As the server does by itself after some minutes; else it would do so while times are measured.
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("CHECKPOINT")


def _insert_unmatched(ledger: Any, where: str) -> None:
    """Insert refunds without a referral, of which the ledger has a hash of each row, as the provider computes it."""
    from airflow_provider_firstpromoter.database import CallQuery
    from airflow_provider_firstpromoter.pending.antijoin import without_settled

    query = CallQuery.from_connection("warehouse", f"{SQL} WHERE {where}")
    rows = without_settled(query, ledger, query.column_names() or [])
    with closing(query.source.open()) as connection:
        connection.cursor().execute(
            "INSERT INTO firstpromoter_refunds (account, event_id, outcome, http_status, message, row_amount, "
            "sent_amount, sent_currency, row_digest, dag_id, run_id, task_id, map_index, first_sent_at, "
            f"last_sent_at, judged_at) SELECT '{ACCOUNT}', event_id, 'not_referred', 404, 'Referral not found', "
            "amount::text, amount, 'USD', firstpromoter_digest, 'refunds', 'scheduled__' || amount, 'sync', -1, "
            f"now(), now(), now() FROM ({rows.sql}) rows",
            rows.parameters,
        )
        connection.commit()


def fill_warehouse(size: int, event_id: str = SEQUENTIAL) -> None:
    """Create the warehouse."""
    from airflow_provider_firstpromoter.database.engine import engine_for

    with engine_for("warehouse").begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE refunds AS SELECT n, {event_id} AS id, {_AMOUNT} AS amount, 'usd' AS currency, "
            f"'cus_' || n AS customer_id, now() - ({size} - n) * interval '1 day' / {A_DAY} AS loaded_at "
            f"FROM generate_series(1, {size}) n"
        )
        connection.exec_driver_sql("ALTER TABLE refunds ADD PRIMARY KEY (id)")
        connection.exec_driver_sql("CREATE INDEX ON refunds (loaded_at)")


def forget_sent() -> None:
    """Remove from the ledger what a run has sent, so that the next run sends it again."""
    from airflow_provider_firstpromoter.database.engine import engine_for
    from airflow_provider_firstpromoter.hooks import FirstPromoterHook

    with engine_for(str(FirstPromoterHook().account.extra.ledger_conn_id)).begin() as connection:
        connection.exec_driver_sql("DELETE FROM firstpromoter_refunds WHERE outcome = 'not_referred'")
