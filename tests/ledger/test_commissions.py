"""One row per commission: tiers and splits are added up by promoter and unit, and none is ever dropped."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from airflow_provider_firstpromoter.calls import Commission, Outcome, Result
from airflow_provider_firstpromoter.ledger import Ledger, RunHistory, RunKey
from airflow_provider_firstpromoter.ledger.views import Tables, views
from tests.ledger.rows import THEN, known, to_write, write

RUN = RunKey("dag", "run", "task", -1)


def tier(number: int, amount: int, promoter: int, **values: Any) -> Commission:
    given = {"unit": "cash", "status": "approved", "is_paid": False, **values}
    return Commission(id=number, event_id="re_1", tier=number, amount=amount, promoter_id=promoter, **given)


FIRST, SECOND = tier(1, -200, 7), tier(2, -50, 8)


def listed(*commissions: Commission) -> Result:
    return Result(event_id="re_1", outcome=Outcome.RECORDED, recorded_amount=-1000, commissions=commissions)


def shown(ledger: Ledger, view: str, *columns: str, account: str = "acc") -> list[tuple[Any, ...]]:
    """Return the rows of a view, in their order."""
    tables = Tables(ledger.table, ledger.commissions.table, RunHistory(ledger, RunKey()).table, None)
    (query,) = [one.query.subquery() for one in views(tables) if one.name == view]
    with ledger.engine.connect() as connection:
        rows = connection.execute(select(*(query.c[name] for name in columns)).where(query.c.account == account))
        # MariaDB and Snowflake add up whole numbers to decimals.
        return sorted(tuple(int(one) if isinstance(one, Decimal) else one for one in row) for row in rows)


@pytest.fixture
def reversed_by(ledger: Ledger) -> Callable[..., list[tuple[Any, ...]]]:
    """``reversed_by(account)``: promoters and their sums, as the view of sums has them."""
    return lambda account="acc": shown(ledger, "reversed", "promoter_id", "reversed", account=account)


def test_each_promoter_has_the_sum_of_its_own_tiers(ledger: Ledger, reversed_by: Any) -> None:
    write(ledger, [to_write(commissions=(FIRST, SECOND))], RUN)

    assert reversed_by() == [(7, -200), (8, -50)]
    assert known(ledger).result().rewards == {"cash": -250}
    assert ledger.totals_of_run(RUN).rewards == {"cash": -250}


def test_sums_leave_out_what_has_no_amount_and_hold_any_amount(ledger: Ledger) -> None:
    none = FIRST.model_copy(update={"id": 3, "amount": None, "unit": "points"})
    large = [tier(number, -(2**63) + 1, 7) for number in (4, 5)]
    write(ledger, [to_write(commissions=(none, *large))], RUN)

    assert ledger.totals_of_run(RUN).to_json()["rewards"] == {"cash": 2 * (-(2**63) + 1)}
    assert ledger.rewards_in_effect() == {"cash": 2 * (-(2**63) + 1)}


def test_tier_that_is_denied_by_hand_changes_the_sums_by_its_own_amount(ledger: Ledger, reversed_by: Any) -> None:
    write(ledger, [to_write(commissions=(FIRST, SECOND))], RUN)

    denied = SECOND.model_copy(update={"status": "denied"})
    ledger.update_commissions([(known(ledger), listed(FIRST, denied))])

    assert reversed_by() == [(7, -200)]
    assert ledger.totals_of_run(RUN).rewards == {"cash": -200}

    ledger.update_commissions([(known(ledger), listed(FIRST.model_copy(update={"status": "denied"}), SECOND))])

    assert reversed_by() == [(8, -50)], "what is listed now counts"


def test_commission_that_is_absent_from_a_listing_is_never_dropped(ledger: Ledger) -> None:
    write(ledger, [to_write(commissions=(FIRST,))])

    ledger.update_commissions([(known(ledger), listed(SECOND))])

    assert known(ledger).commissions == (FIRST, SECOND)


def test_listing_updates_what_changes_and_keeps_what_only_a_response_names(ledger: Ledger) -> None:
    write(ledger, [to_write(commissions=(FIRST.model_copy(update={"promoter_ref": "ref", "is_paid": None}),))])

    ledger.update_commissions([(known(ledger), listed(FIRST.model_copy(update={"is_paid": True, "amount": -190})))])

    (commission,) = known(ledger).commissions
    assert (commission.promoter_ref, commission.amount, commission.state) == ("ref", -190, "paid")


def test_response_that_comes_late_does_not_replace_what_was_listed_since(ledger: Ledger) -> None:
    write(ledger, [to_write(commissions=(FIRST,))])
    denied = FIRST.model_copy(update={"status": "denied"})
    ledger.update_commissions([(known(ledger), listed(denied))])

    write(ledger, [to_write(commissions=(FIRST, SECOND))], RUN)

    assert known(ledger).commissions == (denied, SECOND)


def test_revert_denies_each_commission_and_leaves_those_of_other_accounts(
    ledger: Ledger, open_ledger: Callable[..., Ledger], reversed_by: Any
) -> None:
    for one in (ledger, open_ledger("other")):
        write(one, [to_write(commissions=(FIRST, SECOND))], RUN)

    ledger.mark_reverted(["re_1"], RUN, THEN)

    assert ledger.totals_of_run(RUN).to_json() == {
        **ledger.totals_of_run(RunKey("nothing")).to_json(),
        "outcomes": {outcome.value: int(outcome is Outcome.REVERTED) for outcome in Outcome},
    }
    assert reversed_by("other") == [(7, -200), (8, -50)]
    assert reversed_by() == []


def test_record_without_commissions_reads_only_the_ledgers_own_table(ledger: Ledger, database: Any) -> None:
    write(ledger, [to_write(commissions=(FIRST,))])
    database.run("ALTER TABLE firstpromoter_refunds_commissions RENAME TO elsewhere")

    (record,) = ledger.find({"re_1"}, commissions=False).values()

    assert (record.outcome, record.commissions, record.commissions_known) == (Outcome.RECORDED, (), True)


def test_status_adds_up_one_unit_and_never_two(ledger: Ledger) -> None:
    in_points = [tier(1, -5, 7, unit="points"), tier(2, -50, 8)]
    partly = [FIRST, SECOND.model_copy(update={"status": "denied"})]
    for event_id, commissions in {"re_1": [FIRST, SECOND], "re_2": in_points, "re_3": partly, "re_4": []}.items():
        write(ledger, [to_write(event_id, commissions=tuple(commissions))])

    columns = ("event_id", "commissions", "reward_amount", "reward_unit", "reward_status", "promoter_id")
    assert shown(ledger, "status", *columns) == [
        ("re_1", 2, -250, "cash", "approved", None),
        ("re_2", 2, None, "several", "approved", None),
        ("re_3", 2, -200, "cash", "several", None),
        ("re_4", None, None, None, None, None),
    ]
