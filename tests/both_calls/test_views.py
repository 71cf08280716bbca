"""The views over both ledgers, in every database that can hold them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow_provider_firstpromoter.calls import REFUND, SALE, Call, Commission, Outcome, Result
from airflow_provider_firstpromoter.cli.report import tables_of
from airflow_provider_firstpromoter.ledger import Ledger, LedgerWrite, RunKey
from airflow_provider_firstpromoter.ledger.views import views

MAY, JUNE = datetime(2026, 5, 2, tzinfo=UTC), datetime(2026, 6, 3, tzinfo=UTC)


def row(
    event_id: str, call: Call, moment: datetime, *amounts: tuple[int, int, bool, str], **values: Any
) -> LedgerWrite:
    """Return what is written of an event, with a commission for each promoter, amount, whether paid, and status."""
    outcome = values.pop("outcome", Outcome.RECORDED)
    commissions = tuple(
        Commission(
            id=hash((event_id, call.sign, promoter)) % 10**9 + 1,
            amount=call.sign * amount,
            unit="cash",
            promoter_id=promoter,
            is_paid=paid,
            status=status,
        )
        for promoter, amount, paid, status in amounts
    )
    result = Result(event_id=event_id, outcome=outcome, sent=True, http_status=200, commissions=commissions)
    values[call.moment] = moment
    return LedgerWrite.of_result(result, RunKey("dag", "run", "task", -1), at=moment, **values)


def test_views_over_both_ledgers(database: Any) -> None:
    refunds = Ledger(database.engine(), "account", call=REFUND)
    sales = refunds.beside("firstpromoter_sales", SALE)
    for ledger in (refunds, sales):
        ledger.ensure()
    approved = "approved"
    sales.write(
        [
            row("ch_1", SALE, MAY, (1, 200, True, approved), (2, 50, False, approved)),
            row("ch_2", SALE, JUNE, (1, 300, False, "pending")),
            row("ch_3", SALE, JUNE, (1, 900, False, "denied")),
            row("ch_4", SALE, JUNE, outcome=Outcome.NOT_REFERRED),
        ],
        RunKey(),
    )
    refunds.write(
        [
            row("re_1", REFUND, JUNE, (1, 200, False, approved), (2, 50, False, approved), sale_event_id="ch_1"),
            row("re_2", REFUND, JUNE, outcome=Outcome.NOT_REFERRED, sale_event_id="ch_4"),
            row("re_3", REFUND, JUNE, outcome=Outcome.NOT_REFERRED, sale_event_id="ch_9"),
            row("re_4", REFUND, JUNE, outcome=Outcome.NOT_REFERRED),
        ],
        RunKey(),
    )
    tables = [tables_of(ledger.table.fullname, ledger.call) for ledger in (sales, refunds)]
    found = {view.name: view for view in views(tables[0]._replace(mismatches=None), SALE, tables[1])}
    for name in ("net", "refunds_without_sale"):
        with database.engine().begin() as connection:
            connection.exec_driver_sql(found[name].create(sales.table, database.engine().dialect))

    net = database.run(
        "SELECT month, promoter_id, earned, reversed, net, paid, unpaid FROM firstpromoter_sales_net "
        "ORDER BY month, promoter_id"
    )
    assert [tuple(map(int, one)) for one in net] == [
        (5, 1, 200, 0, 200, 200, 0),
        (5, 2, 50, 0, 50, 0, 50),
        (6, 1, 300, -200, 100, 0, 100),
        (6, 2, 0, -50, -50, 0, -50),
    ]
    lost = database.run("SELECT event_id, sale_outcome FROM firstpromoter_sales_refunds_without_sale ORDER BY event_id")
    assert [tuple(one) for one in lost] == [("re_2", "not_referred"), ("re_3", None)]
