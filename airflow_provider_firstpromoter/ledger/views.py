"""
Common questions about the ledger, each answered by one query: printed as a view, and run by the report.

They are built with SQLAlchemy, so that every database that can hold a ledger gets them in its own dialect.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    String,
    Table,
    and_,
    case,
    cast,
    exists,
    extract,
    func,
    literal,
    null,
    or_,
    select,
    type_coerce,
    union_all,
)
from sqlalchemy.engine import Dialect

from airflow_provider_firstpromoter.calls import Outcome
from airflow_provider_firstpromoter.database import LedgerSql, kind_of_dialect
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, EventsFailedError, EventsRejectedError
from airflow_provider_firstpromoter.ledger.table import ON_RECORD

PROBLEMS = tuple(outcome.value for outcome in Outcome if outcome.stored and outcome.is_problem)

#: The errors of runs that looked at every row.
COMPLETE_WITH = (EventsFailedError.__name__, EventsRejectedError.__name__)


class Tables(NamedTuple):
    """
    The tables of one ledger.

    :param mismatches: None where no reconciliation has made it yet
    """

    ledger: Table
    runs: Table
    mismatches: Table | None


class View(NamedTuple):
    """
    A question and its query.

    :param name: what follows the ledger's name in the view's name
    :param question: the question that it answers
    :param query: a select without parameters
    :param time: the column by which a report is limited; None if it never is
    """

    name: str
    question: str
    query: Any
    time: str | None = None


def views(tables: Tables) -> list[View]:
    """Return the views of a ledger."""
    return [
        View("open", "Which refunds need attention, and why?", _open_problems(tables)),
        View("status", "What became of each refund?", _status(tables), "judged_at"),
        View("reversed", "What was reversed, by month and promoter?", _reversed(tables)),
        View("last_runs", "What did the last runs do?", _last_runs(tables), "started_at"),
    ]


def create_view(view: View, ledger: Table, dialect: Dialect) -> str:
    """Return the statement that creates or replaces a view, in a dialect; some databases can only create it."""
    query = view.query.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    return f"{_ledger_sql(dialect).create_view.format(_name(view, ledger, dialect))} AS\n{query}"


def drop_view(view: View, ledger: Table, dialect: Dialect) -> str:
    """Return the statement that drops a view where it exists."""
    return f"DROP VIEW IF EXISTS {_name(view, ledger, dialect)}"


def view_script(view: View, ledger: Table, dialect: Dialect) -> str:
    """Return statements that can be run again and again."""
    create = f"-- {view.question}\n{create_view(view, ledger, dialect)};"
    can_replace = "OR REPLACE" in _ledger_sql(dialect).create_view
    return create if can_replace else f"{drop_view(view, ledger, dialect)};\n{create}"


def _ledger_sql(dialect: Dialect) -> LedgerSql:
    sql = kind_of_dialect(dialect).ledger
    if sql is None:
        raise ConnectionSettingsError(f"The ledger cannot live in {kind_of_dialect(dialect).title}")
    return sql


def _name(view: View, ledger: Table, dialect: Dialect) -> str:
    quote = dialect.identifier_preparer.quote
    schema = f"{quote(ledger.schema)}." if ledger.schema else ""
    return f"{schema}{quote(f'{ledger.name}_{view.name}')}"


def _text(words: str) -> Any:
    return literal(words, String)


def _open_problems(tables: Tables) -> Any:
    c, runs = tables.ledger.c, tables.runs.c
    # A later run of the same query looked at every row and did not see this one: the query no longer has it, so it is
    # no problem. A run that was refused, killed or limited, or that stopped early, did not look at every row.
    no_longer_selected = exists(
        select(literal(1)).where(
            runs.account == c.account,
            runs.dag_id == c.dag_id,
            runs.task_id == c.task_id,
            runs.kind == "query",
            runs.ended_at.is_not(None),
            runs.stopped_because.is_(None),
            or_(runs.error.is_(None), runs.error.in_(COMPLETE_WITH)),
            func.coalesce(runs[Outcome.PENDING.value], 0) == 0,
            runs.started_at > c.last_seen_at,
        )
    )
    changed = and_(c.changed_amount.is_not(None), c.accepted_at.is_(None))
    difference = _text("recorded with amount ") + func.coalesce(c.row_amount, "?") + _text(", now ") + c.changed_amount
    refunds = select(
        c.account,
        c.event_id,
        cast(null(), BigInteger).label("commission_id"),
        case((changed, literal("changed")), else_=type_coerce(c.outcome, String)).label("problem"),
        case((changed, difference), else_=c.message).label("reason"),
        case((changed, c.reported_at), else_=c.judged_at).label("since"),
        c.last_seen_at,
        c.dag_id,
        c.run_id,
    ).where(or_(changed, c.outcome.in_(PROBLEMS)), ~no_longer_selected)
    if tables.mismatches is None:
        return refunds
    found = tables.mismatches.c
    mismatches = select(
        found.account,
        found.event_id,
        found.commission_id,
        found.kind,
        case(
            (found.other_event_id.is_not(None), _text("the same refund as ") + found.other_event_id),
            else_=null(),
        ),
        found.found_at,
        null(),
        found.dag_id,
        found.run_id,
    ).where(found.resolved_at.is_(None), found.accepted_at.is_(None))
    return union_all(refunds, mismatches)


def _status(tables: Tables) -> Any:
    c = tables.ledger.c
    changed = and_(c.changed_amount.is_not(None), c.accepted_at.is_(None))
    return select(
        c.account,
        c.event_id,
        case((changed, literal(Outcome.CHANGED.value)), else_=type_coerce(c.outcome, String)).label("status"),
        c.sale_event_id,
        c.sent_amount,
        c.sent_currency,
        c.recorded_amount,
        c.reward_id,
        c.reward_amount,
        c.reward_unit,
        c.reward_status,
        c.promoter_id,
        c.promoter_ref,
        c.message,
        c.refunded_at,
        c.first_sent_at,
        c.judged_at,
        c.dag_id,
        c.run_id,
    )


def _reversed(tables: Tables) -> Any:
    c = tables.ledger.c
    moment = func.coalesce(c.refunded_at, c.first_sent_at, c.judged_at, type_=c.judged_at.type)
    year, month = extract("year", moment), extract("month", moment)
    by = (c.account, year, month, c.promoter_id, c.reward_unit)
    return (
        select(
            c.account,
            year.label("year"),
            month.label("month"),
            c.promoter_id,
            func.max(c.promoter_ref).label("promoter_ref"),
            c.reward_unit,
            func.count().label("refunds"),
            func.sum(c.reward_amount).label("reversed"),
        )
        .where(c.outcome.in_(ON_RECORD), c.reward_id.is_not(None), func.coalesce(c.reward_status, "") != "denied")
        .group_by(*by)
    )


def _last_runs(tables: Tables) -> Any:
    c = tables.runs.c
    return select(
        c.account,
        c.kind,
        c.started_at,
        c.ended_at,
        c.dag_id,
        c.run_id,
        c.task_id,
        c.try_number,
        *(c[outcome.value] for outcome in Outcome),
        c.still_open,
        c.mismatches,
        c.sent,
        c.requests,
        c.rewards,
        c.stopped_because,
        c.error,
    )
