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
    distinct,
    exists,
    extract,
    func,
    literal,
    null,
    or_,
    select,
    true,
    type_coerce,
    union_all,
)
from sqlalchemy.engine import Dialect

from airflow_provider_firstpromoter.calls import REFUND, SALE, Call, Outcome
from airflow_provider_firstpromoter.database import LedgerSql, kind_of_dialect
from airflow_provider_firstpromoter.exceptions import ConnectionSettingsError, EventsFailedError, EventsRejectedError
from airflow_provider_firstpromoter.ledger.runs import READ_ALL
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
    commissions: Table
    runs: Table
    mismatches: Table | None

    def joined(self) -> Any:
        """Join the events with their commissions."""
        c, part = self.ledger.c, self.commissions.c
        return self.ledger.join(self.commissions, and_(part.account == c.account, part.event_id == c.event_id))


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

    def create(self, ledger: Table, dialect: Dialect, *, replace: bool = True) -> str:
        """Return the statement that creates it, in a dialect; or replaces it, where the database can and it may."""
        query = self.query.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        statement = _ledger_sql(dialect).create_view if replace else "CREATE VIEW {}"
        return f"{statement.format(self._full_name(ledger, dialect))} AS\n{query}"

    def drop(self, ledger: Table, dialect: Dialect) -> str:
        """Return the statement that drops it where it exists."""
        return f"DROP VIEW IF EXISTS {self._full_name(ledger, dialect)}"

    def script(self, ledger: Table, dialect: Dialect) -> str:
        """Return statements that can be run again and again."""
        create = f"-- {self.question}\n{self.create(ledger, dialect)};"
        can_replace = "OR REPLACE" in _ledger_sql(dialect).create_view
        return create if can_replace else f"{self.drop(ledger, dialect)};\n{create}"

    def _full_name(self, ledger: Table, dialect: Dialect) -> str:
        quote = dialect.identifier_preparer.quote
        schema = f"{quote(ledger.schema)}." if ledger.schema else ""
        return f"{schema}{quote(f'{ledger.name}_{self.name}')}"


def views(tables: Tables, call: Call = REFUND, refunds: Tables | None = None) -> list[View]:
    """
    Return the views of a ledger.

    :param refunds: with the ledger of sales, that of their refunds: adds the views over both
    """
    over_both = []
    if call == SALE and refunds is not None:
        over_both = [
            View("net", "What did each promoter earn by month, net of refunds?", _net(tables, refunds)),
            View(
                "refunds_without_sale",
                "Which refunds name a sale that has no referral, or that was not sent?",
                _refunds_without_sale(tables, refunds),
                "judged_at",
            ),
        ]
    return [
        View("open", f"Which {call.plural} need attention, and why?", _open_problems(tables)),
        View("status", f"What became of each {call.name}?", _status(tables, call), "judged_at"),
        View(call.verb, f"What was {call.verb}, by month and promoter?", _by_promoter(tables, call)),
        View("last_runs", "What did the last runs do?", _last_runs(tables), "started_at"),
        *over_both,
    ]


def _ledger_sql(dialect: Dialect) -> LedgerSql:
    kind = kind_of_dialect(dialect)
    if kind.ledger is None:
        raise ConnectionSettingsError(f"The ledger cannot live in {kind.title}")
    return kind.ledger


def _text(words: str) -> Any:
    return literal(words, String)


def _is_changed(c: Any) -> Any:
    return and_(c.changed_amount.is_not(None), c.accepted_at.is_(None))


def _open_problems(tables: Tables) -> Any:
    c, runs = tables.ledger.c, tables.runs.c
    # A later run of the same query looked at every row and did not see this one: the query no longer has it, so it is
    # no problem. A run that was refused, killed or limited, that stopped early, or that read only what is new, did not
    # look at every row.
    no_longer_selected = exists(
        select(literal(1)).where(
            runs.account == c.account,
            runs.dag_id == c.dag_id,
            runs.task_id == c.task_id,
            func.coalesce(runs.map_index, -1) == func.coalesce(c.map_index, -1),
            runs.kind == "query",
            func.coalesce(runs.read, READ_ALL) == READ_ALL,
            runs.ended_at.is_not(None),
            runs.stopped_because.is_(None),
            or_(runs.error.is_(None), runs.error.in_(COMPLETE_WITH)),
            func.coalesce(runs[Outcome.PENDING.value], 0) == 0,
            runs.started_at > c.last_seen_at,
        )
    )
    changed = _is_changed(c)
    difference = _text("recorded with amount ") + func.coalesce(c.row_amount, "?") + _text(", now ") + c.changed_amount
    other_lead = and_(c.lead_differs, c.accepted_at.is_(None), c.outcome.in_(ON_RECORD))
    reason = _text("FirstPromoter found a lead by e-mail that has another uid than the row")
    events = select(
        c.account,
        c.event_id,
        cast(null(), BigInteger).label("commission_id"),
        case((or_(changed, other_lead), literal("changed")), else_=type_coerce(c.outcome, String)).label("problem"),
        case((changed, difference), (other_lead, reason), else_=c.message).label("reason"),
        case((or_(changed, other_lead), c.reported_at), else_=c.judged_at).label("since"),
        c.last_seen_at,
        c.dag_id,
        c.run_id,
    ).where(or_(other_lead, and_(or_(changed, c.outcome.in_(PROBLEMS)), ~no_longer_selected)))
    if tables.mismatches is None:
        return events
    found = tables.mismatches.c
    mismatches = select(
        found.account,
        found.event_id,
        found.commission_id,
        found.kind,
        case((found.other_event_id.is_not(None), _text("the same as ") + found.other_event_id), else_=null()),
        found.found_at,
        null(),
        found.dag_id,
        found.run_id,
    ).where(found.resolved_at.is_(None), found.accepted_at.is_(None))
    return union_all(events, mismatches)


def _status(tables: Tables, call: Call) -> Any:
    c = tables.ledger.c
    rewards = _rewards_of_events(tables.commissions).subquery("r")
    return select(
        c.account,
        c.event_id,
        case((_is_changed(c), literal(Outcome.CHANGED.value)), else_=type_coerce(c.outcome, String)).label("status"),
        c.sale_event_id,
        c.sent_amount,
        c.sent_currency,
        c.recorded_amount,
        rewards.c.commissions,
        rewards.c.reward_amount,
        rewards.c.reward_unit,
        rewards.c.reward_status,
        rewards.c.promoter_id,
        c.message,
        c[call.moment],
        c.first_sent_at,
        c.judged_at,
        c.sent_run_id,
        c.dag_id,
        c.run_id,
    ).select_from(
        tables.ledger.outerjoin(rewards, and_(rewards.c.account == c.account, rewards.c.event_id == c.event_id))
    )


def _rewards_of_events(commissions: Table) -> Any:
    """Sum the commissions of each event; amounts of several units are never added, and are left out."""
    c = commissions.c
    state = case((c.is_paid == true(), _text("paid")), else_=func.coalesce(c.status, _text("unknown")))

    def the_only(column: Any, several: Any) -> Any:
        return case((func.min(column) == func.max(column), func.min(column)), else_=several)

    return select(
        c.account,
        c.event_id,
        func.count().label("commissions"),
        case(
            (func.min(c.unit) == func.max(c.unit), func.sum(case((state == "denied", 0), else_=c.amount))),
            else_=null(),
        ).label("reward_amount"),
        the_only(c.unit, _text("several")).label("reward_unit"),
        the_only(state, _text("several")).label("reward_status"),
        the_only(c.promoter_id, null()).label("promoter_id"),
    ).group_by(c.account, c.event_id)


def _by_promoter(tables: Tables, call: Call) -> Any:
    c, part = tables.ledger.c, tables.commissions.c
    year, month = _month(tables, call)
    return (
        select(
            c.account,
            year.label("year"),
            month.label("month"),
            part.promoter_id,
            func.max(part.promoter_ref).label("promoter_ref"),
            part.unit.label("reward_unit"),
            func.count(distinct(c.event_id)).label(call.plural),
            func.sum(part.amount).label(call.verb),
        )
        .select_from(tables.joined())
        .where(func.coalesce(part.status, "") != "denied")
        .group_by(c.account, year, month, part.promoter_id, part.unit)
    )


def _month(tables: Tables, call: Call) -> tuple[Any, Any]:
    """Return the year and the month of each event: of its own time or, where that is not known, when it was sent."""
    c = tables.ledger.c
    moment = func.coalesce(c[call.moment], c.first_sent_at, c.judged_at, type_=c.judged_at.type)
    return extract("year", moment), extract("month", moment)


def _net(sales: Tables, refunds: Tables) -> Any:
    """Sum the commissions in effect of both calls: those of refunds are negative."""

    def amounts(tables: Tables, call: Call) -> Any:
        part = tables.commissions.c
        year, month = _month(tables, call)
        no = literal(0, BigInteger)
        return (
            select(
                tables.ledger.c.account,
                year.label("year"),
                month.label("month"),
                part.promoter_id,
                part.promoter_ref,
                part.unit.label("reward_unit"),
                (part.amount if call == SALE else no).label("earned"),
                (part.amount if call == REFUND else no).label("reversed"),
                part.amount.label("net"),
                case((part.is_paid == true(), part.amount), else_=0).label("paid"),
            )
            .select_from(tables.joined())
            .where(func.coalesce(part.status, "") != "denied")
        )

    c = union_all(amounts(sales, SALE), amounts(refunds, REFUND)).subquery("both_calls").c
    sums = [func.sum(one).label(one.name) for one in (c.earned, c.reversed, c.net, c.paid)]
    return select(
        c.account,
        c.year,
        c.month,
        c.promoter_id,
        func.max(c.promoter_ref).label("promoter_ref"),
        c.reward_unit,
        *sums,
        (func.sum(c.net) - func.sum(c.paid)).label("unpaid"),
    ).group_by(c.account, c.year, c.month, c.promoter_id, c.reward_unit)


def _refunds_without_sale(sales: Tables, refunds: Tables) -> Any:
    """Select refunds whose sale the ledger of sales has as not referred, or not at all."""
    c, sale = refunds.ledger.c, sales.ledger.alias("sale")
    same = and_(sale.c.account == c.account, sale.c.event_id == c.sale_event_id)
    return (
        select(
            c.account,
            c.event_id,
            type_coerce(c.outcome, String).label("outcome"),
            c.sale_event_id,
            type_coerce(sale.c.outcome, String).label("sale_outcome"),
            c.sent_amount,
            c.sent_currency,
            c.judged_at,
        )
        .select_from(refunds.ledger.outerjoin(sale, same))
        .where(
            c.sale_event_id.is_not(None),
            or_(sale.c.outcome.is_(None), sale.c.outcome == Outcome.NOT_REFERRED.value),
        )
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
        c.read,
        c.rewards,
        c.stopped_because,
        c.error,
    )
