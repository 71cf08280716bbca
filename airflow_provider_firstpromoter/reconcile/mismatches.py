"""The kinds of difference between ledger and FirstPromoter, one such difference, and the table that holds them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, String, Table

from airflow_provider_firstpromoter.calls import MAX_ID_LENGTH
from airflow_provider_firstpromoter.database import Utc, key_text

#: The name of the table of mismatches is the ledger's, followed by this.
SUFFIX = "_mismatches"


class MismatchKind(StrEnum):
    """How the ledger and FirstPromoter differ in one refund."""

    #: The ledger has the refund as recorded, and FirstPromoter has no negative commission for it.
    MISSING_IN_FIRSTPROMOTER = "missing_in_firstpromoter"
    #: FirstPromoter has a negative commission, and the ledger does not have the refund as recorded.
    MISSING_IN_LEDGER = "missing_in_ledger"
    #: FirstPromoter has a negative commission of the same lead and amount as a refund that was sent, under an event_id
    #: that was not sent.
    REVERSED_TWICE = "reversed_twice"
    #: FirstPromoter recorded another amount than was sent.
    AMOUNT_DIFFERS = "amount_differs"
    #: The ledger has the refund as reverted, and its commission is not denied.
    REVERTED_NOT_DENIED = "reverted_not_denied"
    #: The reward was denied or paid, or its amount changed, since the ledger was last brought up to date. This is no
    #: fault, and the ledger has the new reward now.
    REWARD_CHANGED = "reward_changed"

    @property
    def needs_attention(self) -> bool:
        """Whether the mismatch counts against ``max_mismatches``."""
        return self is not MismatchKind.REWARD_CHANGED


#: What identifies a mismatch of an account: kind, event_id and commission_id.
Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """
    One refund in which the ledger and FirstPromoter differ.

    :param event_id: FirstPromoter's; empty for a commission without one
    :param commission_id: 0 if there is no commission
    :param happened_at: when the commission was made; without a commission, when the refund was last sent
    :param other_event_id: for ``reversed_twice``, the refund that was sent
    :param ledger_amount: the refund's amount, negative, in minor units of ``currency``
    :param firstpromoter_amount: likewise
    :param currency: None is the account's own
    :param ledger_reward: negative, in ``reward_unit``
    :param firstpromoter_reward: likewise
    """

    kind: MismatchKind
    event_id: str
    commission_id: int
    happened_at: datetime
    other_event_id: str | None = None
    ledger_outcome: str | None = None
    ledger_amount: int | None = None
    firstpromoter_amount: int | None = None
    currency: str | None = None
    ledger_reward: int | None = None
    firstpromoter_reward: int | None = None
    reward_unit: str | None = None
    ledger_reward_status: str | None = None
    firstpromoter_reward_status: str | None = None
    promoter_id: int | None = None
    lead_id: int | None = None

    @property
    def key(self) -> Key:
        """What identifies the mismatch among those of its account."""
        return self.kind.value, self.event_id, self.commission_id

    def to_json(self) -> dict[str, Any]:
        """Return the mismatch as plain JSON, without empty fields."""
        values = {name: value for name, value in asdict(self).items() if value not in (None, "", 0)}
        values |= {"kind": self.kind.value, "event_id": self.event_id, "happened_at": self.happened_at.isoformat()}
        return values


def mismatch_table(name: str) -> Table:
    """
    Return the columns of the table of mismatches. New ones may only be added, and only nullable.

    :param name: ``table`` or ``schema.table``
    """
    schema, _, table = name.rpartition(".")
    return Table(
        table,
        MetaData(),
        Column("account", key_text(), primary_key=True),
        Column("kind", key_text(32), primary_key=True, comment=", ".join(MismatchKind)),
        Column("event_id", key_text(), primary_key=True, comment="FirstPromoter's; empty if it has none"),
        Column("commission_id", BigInteger, primary_key=True, autoincrement=False, comment="0 without a commission"),
        Column("happened_at", Utc, comment="when the commission was made, else when the refund was sent; UTC"),
        Column("other_event_id", String(MAX_ID_LENGTH), comment="reversed_twice: the refund that was sent"),
        Column("ledger_outcome", String(32)),
        Column("ledger_amount", BigInteger, comment="negative, minor units of currency"),
        Column("firstpromoter_amount", BigInteger, comment="negative, minor units of currency"),
        Column("currency", String(3), comment="empty: the account's own"),
        Column("ledger_reward", BigInteger, comment="negative, in reward_unit"),
        Column("firstpromoter_reward", BigInteger, comment="negative, in reward_unit"),
        Column("reward_unit", String(64)),
        Column("ledger_reward_status", String(64)),
        Column("firstpromoter_reward_status", String(64)),
        Column("promoter_id", BigInteger),
        Column("lead_id", BigInteger),
        Column("dag_id", String(250), comment="the run that found it"),
        Column("run_id", String(250)),
        Column("found_at", Utc, comment="UTC"),
        Column("resolved_at", Utc, comment="when a later run no longer found it; UTC"),
        Column("accepted_at", Utc, comment="when an operator accepted it as it is; UTC"),
        schema=schema or None,
        mysql_charset="utf8mb4",
    )
