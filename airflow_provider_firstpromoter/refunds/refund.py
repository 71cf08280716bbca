"""
The vocabulary: what a refund is, what can become of one, and what a run adds up to.

Pure: no I/O, no Airflow. A warehouse row becomes a :class:`Refund` or an :class:`InvalidRefund`;
FirstPromoter's answer becomes a :class:`Result`; results add up to a :class:`Summary`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Context, Decimal
from enum import StrEnum
from numbers import Integral, Real
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

AmountUnit: TypeAlias = Literal["minor", "major"]
Identity: TypeAlias = Literal["uid", "email"]

#: The refund call's own field names: the columns that a query or a mapping may carry. Others are ignored.
REFUND_COLUMNS = (
    "event_id",
    "amount",
    "currency",
    "uid",
    "email",
    "quantity",
    "sale_event_id",
    "skip_email_notification",
)

IDENTIFIER_COLUMNS = ("event_id", "uid", "email", "sale_event_id")

#: Currencies without decimals: ISO 4217, exponent 0. FirstPromoter takes these in whole units.
ZERO_DECIMAL_CURRENCIES = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())
#: ISO 4217, exponent 3 or 4. FirstPromoter wants these times 100 too: their "minor unit" is ambiguous.
MANY_DECIMAL_CURRENCIES = frozenset("BHD IQD JOD KWD LYD OMR TND CLF UYW".split())

#: In minor units; the largest whole number that every JSON reader keeps exact.
MAX_AMOUNT = 2**53 - 1
MAX_ID_LENGTH = 255
MAX_AMOUNT_LENGTH = 64
MAX_MESSAGE_LENGTH = 500

#: The default context would round a long fraction away instead of refusing it.
_EXACTLY = Context(prec=2 * MAX_AMOUNT_LENGTH)
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d{1,3})?", re.ASCII)
_UNSENDABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_EMAIL = re.compile(r"[^\s@'\"<>(),;:]+(?:'[^\s@'\"<>(),;:]*)*@[^\s@'\"<>(),;:]+")


class Outcome(StrEnum):
    """What became of one refund, in a word."""

    RECORDED = "recorded"
    ALREADY_RECORDED = "already_recorded"
    NOT_REFERRED = "not_referred"
    REJECTED = "rejected"
    CHANGED = "changed"
    FAILED = "failed"
    #: Not sent: a preview, or the run stopped before its turn. The next run takes it up.
    PENDING = "pending"

    @property
    def settled(self) -> bool:
        """Whether nothing more is to be done for the refund."""
        return self in SETTLED


SETTLED = frozenset({Outcome.RECORDED, Outcome.ALREADY_RECORDED, Outcome.NOT_REFERRED})


class InvalidRefund(ValueError):
    """
    A row that cannot be sent as it is.

    :param event_id: the row's event_id, or None where it has no usable one
    :param reason: what is wrong, by column; carries no value of the row
    """

    def __init__(self, event_id: str | None, reason: str) -> None:
        super().__init__(f"refund {event_id!r}: {reason}" if event_id else f"refund without event_id: {reason}")
        self.event_id = event_id
        self.reason = reason


class Validation(NamedTuple):
    """How rows are to be read: passed to pydantic as its context."""

    amount_unit: AmountUnit = "minor"
    #: The account's own currency, for rows that name none.
    currency: str | None = None
    #: For rows that don't say.
    skip_email_notification: bool | None = None
    identify_by: tuple[Identity, ...] = ("uid", "email")


# --- reading what a warehouse can hold ------------------------------------------------------------------


def canonical_text(value: object) -> str | None:
    """
    The one text of a value, the same from a driver and out of XCom; None where there is none (NULL, NaN, '').

    :param value: what a database driver or XCom gave: a text, number, bool, UUID, bytes
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        if value.is_nan():
            return None
        return format(value, "f") if abs(value.adjusted()) <= MAX_AMOUNT_LENGTH else str(value)
    if isinstance(value, Integral):
        # Python refuses to write very long ones in decimal; nobody accepts them anyway.
        return str(int(value)) if int(value).bit_length() < 2**12 else hex(int(value))
    if isinstance(value, Real):
        return None if math.isnan(value) else repr(float(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    return str(value) or None


def _identifier(value: object) -> str | None:
    """Text, or a whole number, as text: never trimmed, cased or padded."""
    if isinstance(value, bool):
        raise ValueError("must be text or a whole number")
    if not isinstance(value, str | Integral | Real | Decimal | UUID | None):
        raise ValueError(f"must be text or a whole number, not {type(value).__name__}")
    text = canonical_text(value)
    if text is None or not text.strip():
        return None
    if isinstance(value, Real | Decimal) and not isinstance(value, Integral):
        text = str(_whole(value))
    if len(text) > MAX_ID_LENGTH:
        raise ValueError(f"has {len(text)} characters; at most {MAX_ID_LENGTH} can be sent")
    if text != text.strip():
        raise ValueError("has white space at an end; trim it in the query")
    if _UNSENDABLE.search(text):
        raise ValueError("has a control character or half a surrogate pair")
    return text


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | Integral | Real | Decimal | None):
        raise ValueError(f"must be a number, not {type(value).__name__}")
    text = canonical_text(value)
    if text is None or not text.strip():
        return None
    if not _NUMBER.fullmatch(text):
        raise ValueError("is not a number")
    if len(text) > MAX_AMOUNT_LENGTH:
        raise ValueError("has too many digits")
    return Decimal(text)


def _whole(value: object) -> int | None:
    number = _number(value)
    if number is None:
        return None
    if abs(number) > MAX_AMOUNT:
        # Checked first: a float this large is no longer exact, and 1e999 as an int would take all memory.
        raise ValueError("is too large to be exact")
    if number != int(number):
        raise ValueError("must be a whole number")
    return int(number)


def _currency(value: object) -> str | None:
    """Three letters; the case is ours to mend, because ISO 4217 knows no other."""
    text = canonical_text(value)
    if text is None or not text.strip():
        return None
    if not re.fullmatch(r"[A-Za-z]{3}", text):
        raise ValueError("must be a three-letter currency code")
    return text.upper()


def _flag(value: object) -> str | bool | None:
    """Booleans also as 0 and 1 (databases without a boolean type) and as text."""
    if isinstance(value, str | None):
        return value or None
    whole = _whole(int(value) if isinstance(value, bool) else value)
    if whole not in (0, 1, None):
        raise ValueError("must be true or false")
    return None if whole is None else bool(whole)


def _event_id(value: object) -> str:
    event_id = _identifier(value)
    if event_id is None:
        raise ValueError("is missing")
    return event_id


def _quantity(value: object) -> int | None:
    quantity = _whole(value)
    if quantity is not None and quantity < 1:
        raise ValueError("must be at least 1, or left out")
    return quantity


def _minor_units(value: object, info: ValidationInfo) -> int:
    how = info.context or Validation()
    number = _number(value)
    if number is None:
        raise ValueError("is missing")
    if number <= 0:
        raise ValueError("must be above zero; leave reversed and failed refunds out of the query")
    if number > MAX_AMOUNT:
        raise ValueError("is too large to be exact")
    currency = info.data.get("currency") or how.currency
    if how.amount_unit == "minor":
        if currency in MANY_DECIMAL_CURRENCIES:
            raise ValueError(f"in minor units of {currency} is ambiguous; give it with amount_unit='major'")
        if number != int(number):
            raise ValueError("must be a whole number of minor units; is amount_unit='major' meant?")
        return int(number)
    if currency is None:
        raise ValueError("in major units needs a currency, in the row or in the connection's extra")
    minor = number if currency in ZERO_DECIMAL_CURRENCIES else _EXACTLY.multiply(number, Decimal(100))
    if minor != int(minor):
        raise ValueError(f"has more decimals than FirstPromoter takes for {currency}")
    if minor > MAX_AMOUNT:
        raise ValueError("is too large to be exact")
    return int(minor)


Identifier = Annotated[str | None, BeforeValidator(_identifier)]


class Refund(BaseModel):
    """
    One refund, ready to be sent: FirstPromoter's own field names, validated.

    :param event_id: the refund's own id (Stripe: ``re_…``), at most 255 characters; what makes it unique
    :param amount: how much was refunded, positive, in minor units (whole units for zero-decimal currencies)
    :param currency: ISO 4217 code, where it may differ from the account's own
    :param uid: the lead's uid
    :param email: the lead's e-mail
    :param quantity: how many items were refunded
    :param sale_event_id: the event id of the sale that is refunded
    :param skip_email_notification: whether the promoter is not told by e-mail
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    event_id: Annotated[str, BeforeValidator(_event_id)]
    currency: Annotated[str | None, BeforeValidator(_currency)] = None
    amount: Annotated[int, BeforeValidator(_minor_units)]  # after currency, which its validator reads
    uid: Identifier = Field(default=None, repr=False)
    email: Identifier = Field(default=None, repr=False)
    quantity: Annotated[int | None, BeforeValidator(_quantity)] = None
    sale_event_id: Identifier = None
    skip_email_notification: Annotated[bool | None, BeforeValidator(_flag)] = None

    @model_validator(mode="after")
    def _has_an_identity(self) -> Refund:
        if self.uid is None and self.email is None:
            raise ValueError("neither uid nor email has a value")
        return self

    @classmethod
    def from_row(cls, row: Mapping[str, Any], how: Validation | None = None) -> Refund:
        """
        Read a row of a warehouse.

        :param row: a mapping whose keys are :data:`REFUND_COLUMNS` (upper case will do); others are ignored
        :param how: unit, default currency, which identities count
        :raises InvalidRefund: if the row cannot be sent as it is; names the columns, not their values
        """
        how = how or Validation()
        row = {"event_id": None, "amount": None, **known_columns(row)}
        for identity in {"uid", "email"}.difference(how.identify_by):
            row.pop(identity, None)
        if canonical_text(row.get("skip_email_notification")) is None and how.skip_email_notification is not None:
            row["skip_email_notification"] = how.skip_email_notification
        try:
            return cls.model_validate(row, context=how)
        except ValidationError as error:
            raise InvalidRefund(event_id_of(row), _reasons(error)) from None

    def identities(self, identify_by: Iterable[Identity] = ("uid", "email")) -> list[tuple[Identity, str]]:
        """The ids that this refund can be found by, in the order to be asked."""
        return [(name, value) for name in identify_by if (value := getattr(self, name)) is not None]

    def body(self, identity: Identity) -> dict[str, str | bool]:
        """
        The request's body: amount and quantity as strings, one of uid and email, absent fields left out.

        :param identity: which of the two names the lead; the API's schema takes exactly one
        """
        body: dict[str, str | bool] = {
            "event_id": self.event_id,
            "amount": str(self.amount),
            identity: getattr(self, identity),
        }
        if self.currency is not None:
            body["currency"] = self.currency
        if self.quantity is not None:
            body["quantity"] = str(self.quantity)
        if self.sale_event_id is not None:
            body["sale_event_id"] = self.sale_event_id
        if self.skip_email_notification is not None:
            body["skip_email_notification"] = self.skip_email_notification
        return body


def _reasons(error: ValidationError) -> str:
    """One line, by column: what is wrong, never with what value."""
    return "; ".join(
        " ".join([*(str(part) for part in problem["loc"]), problem["msg"].removeprefix("Value error, ")])
        for problem in error.errors(include_input=False, include_url=False, include_context=False)
    )


def known_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row's columns that the refund call knows, by lower-case names (some databases shout theirs)."""
    lowered = {str(name).lower(): value for name, value in row.items()}
    return {name: lowered[name] for name in REFUND_COLUMNS if name in lowered}


def missing_columns(columns: Iterable[str], identify_by: Iterable[Identity] = ("uid", "email")) -> list[str]:
    """Which columns rows with these columns lack to be refunds; empty if none."""
    present = {str(column).lower() for column in columns}
    missing = [column for column in ("event_id", "amount") if column not in present]
    if present.isdisjoint(identify_by):
        missing.append(" or ".join(identify_by))
    return missing


def event_id_of(row: Mapping[str, Any]) -> str | None:
    """The row's event_id, or None where it has none that could be sent."""
    try:
        return _identifier(known_columns(row).get("event_id"))
    except ValueError:
        return None


def portable(row: Mapping[str, Any]) -> dict[str, str | int | bool | None]:
    """
    The row as it travels through XCom: the call's columns, without Decimal, UUID or float.

    It is read as the row itself is: an id that is a whole Decimal becomes its digits, and what is refused in a column
    (a date or 12.5 as an id, bytes as a quantity) becomes something else that is: not a text that would pass, nor
    None, with which the refund would go out by its other id or without the column.
    """
    return {name: _portable(name, value) for name, value in known_columns(row).items()}


def _portable(name: str, value: object) -> str | int | bool | None:
    if isinstance(value, bool | int | str | None):
        return value
    try:
        if name in IDENTIFIER_COLUMNS:
            return _identifier(value)
        if name == "skip_email_notification":
            return _flag(value)
        if name in ("amount", "quantity"):
            _number(value)
    except ValueError:
        return False if name in IDENTIFIER_COLUMNS else "unusable"
    return canonical_text(value)


def fingerprint(row: Mapping[str, Any], key: bytes) -> str:
    """
    A text that changes when the row's content does, and tells nothing of it.

    :param key: keeps e-mails from being guessed by hashing candidates
    :returns: 32 hexadecimal digits
    """
    digest = hashlib.blake2b(key=key, digest_size=16)
    for name, value in portable(row).items():
        if (text := canonical_text(value)) is not None:
            digest.update(f"{name}\0{len(text)}\0{text}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def amount_text(value: object) -> str | None:
    """The amount's canonical text, fit to be kept; None for what is no number (it could be anything, an e-mail too)."""
    text = canonical_text(value)
    return text if text and len(text) <= MAX_AMOUNT_LENGTH and _NUMBER.fullmatch(text) else None


def same_amount(one: str | None, other: str | None) -> bool:
    """Whether two texts are the same number: ``10.5`` and ``10.50`` are."""
    if one == other:
        return True
    if one is None or other is None or not (_NUMBER.fullmatch(one) and _NUMBER.fullmatch(other)):
        return False
    return Decimal(one) == Decimal(other)


def masked(message: object, *private: str | None) -> str | None:
    """
    A server's message, fit to be kept: bounded, on one line, without e-mails or the given private texts.

    :param private: texts of the refund that must not travel on
    """
    if not isinstance(message, str) or not message.strip():
        return None
    text = " ".join(_UNSENDABLE.sub(" ", message[: 4 * MAX_MESSAGE_LENGTH]).split())
    for secret in sorted(filter(None, (" ".join((part or "").split()) for part in private)), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _EMAIL.sub("***", text)
    return text if len(text) <= MAX_MESSAGE_LENGTH else text[: MAX_MESSAGE_LENGTH - 1] + "…"


# --- what comes back ------------------------------------------------------------------------------------


def _none_if_unreadable(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """An answer with a field of an unexpected type is still an answer: the refund is recorded."""
    try:
        read = handler(value)
    except ValidationError:
        return None
    return None if isinstance(read, str) and _UNSENDABLE.search(read) else read


Number = Annotated[int | None, Field(ge=-(2**63), lt=2**63), WrapValidator(_none_if_unreadable)]
Word = Annotated[str | None, Field(max_length=64), WrapValidator(_none_if_unreadable)]
Private = Annotated[str | None, WrapValidator(_none_if_unreadable), Field(exclude=True, repr=False)]


class _Answered(BaseModel):
    """An allow-list: what FirstPromoter answers besides these fields is dropped, credentials first of all."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Reward(_Answered):
    """
    The negative commission that a refund makes.

    :param amount: negative; in ``unit``, minor units of the account's currency when that is ``cash``
    :param conversion_amount: the refund's amount, negative, minor units of the account's currency
    """

    id: Number = None
    status: Word = None
    amount: Number = None
    unit: Word = None
    created_at: Word = None
    conversion_amount: Number = None
    tier_level: Number = None
    split_type: Word = None


class Lead(_Answered):
    """The customer. The e-mail and uid are for Python only and never written anywhere."""

    id: Number = None
    state: Word = None
    email: Private = None
    uid: Private = None


class Promoter(_Answered):
    """The affiliate. The e-mail is for Python only and never written anywhere."""

    id: Number = None
    status: Word = None
    default_ref_id: Word = None
    email: Private = None


class Result(BaseModel):
    """
    What became of one refund.

    :param sent: whether this run asked FirstPromoter; False for what the ledger already knew
    :param http_status: of the answer that decided; None if there was none
    :param recorded_amount: as FirstPromoter recorded it: negative, minor units of the account's currency
    :param refund_id: FirstPromoter's id of the refund
    :param message: why, in a sentence, for whatever has no reward
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    event_id: str | None
    outcome: Outcome
    sent: bool = False
    http_status: int | None = None
    recorded_amount: int | None = None
    refund_id: int | None = None
    reward: Reward | None = None
    lead: Lead | None = None
    promoter: Promoter | None = None
    message: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for XCom and the ledger: ids, no e-mails."""
        return self.model_dump(mode="json")


class Problem(BaseModel):
    """A refund that somebody should look at."""

    event_id: str | None
    outcome: Outcome
    reason: str | None


class Summary(BaseModel):
    """
    What a run adds up to.

    :param outcomes: how many refunds of each outcome, those that the ledger already knew included
    :param sent: refunds that FirstPromoter was asked about
    :param skipped: refunds that the ledger already knew
    :param rechecked: of those sent, the ones that were ``not_referred`` before
    :param repeated: rows that name an event_id again, with the same amount
    :param left_pending: refunds that this run did not get to
    :param rewards_unknown: recorded, but the reward is not known (its answer was lost)
    :param reversed: sum of the rewards by unit, negative (``cash``: minor units of the account's currency)
    :param refunded: sum of the recorded refunds by currency, minor units (``account`` where a row names none)
    :param without_sale_event_id: recorded refunds that name no sale
    :param problems: the first refunds that somebody should look at, twenty of an outcome at most
    :param stopped_because: why the run ended early; None if it did not
    :param seconds: how long it took
    :param requests: HTTP requests, retries included
    """

    outcomes: Counter[Outcome] = Field(default_factory=Counter)
    sent: int = 0
    skipped: int = 0
    rechecked: int = 0
    repeated: int = 0
    left_pending: int = 0
    rewards_unknown: int = 0
    reversed: Counter[str] = Field(default_factory=Counter)
    refunded: Counter[str] = Field(default_factory=Counter)
    without_sale_event_id: int = 0
    problems: list[Problem] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    stopped_because: str | None = None
    preview: bool = False
    seconds: float = 0.0
    requests: int = 0

    MAX_PROBLEMS: ClassVar[int] = 20

    def add(
        self,
        result: Result,
        *,
        amount: int | None = None,
        currency: str | None = None,
        sale_event_id: str | None = None,
    ) -> None:
        """
        Count one refund.

        :param amount: what was sent, in minor units of ``currency``; None where it is not known
        """
        self.outcomes[result.outcome] += 1
        self.sent += result.sent
        self.skipped += not result.sent and result.outcome.settled
        if result.outcome in (Outcome.RECORDED, Outcome.ALREADY_RECORDED):
            if result.reward is None or result.reward.amount is None:
                self.rewards_unknown += 1
            else:
                self.reversed[result.reward.unit or "unknown"] += result.reward.amount
            if amount is not None:
                self.refunded[currency or "account"] += amount
                self.without_sale_event_id += sale_event_id is None
        needs_a_look = result.outcome in (Outcome.REJECTED, Outcome.CHANGED, Outcome.FAILED)
        if needs_a_look and self.outcomes[result.outcome] <= self.MAX_PROBLEMS:
            self.problems.append(Problem(event_id=result.event_id, outcome=result.outcome, reason=result.message))

    @property
    def needing_a_person(self) -> int:
        """Refunds that no retry will mend."""
        return self.outcomes[Outcome.REJECTED] + self.outcomes[Outcome.CHANGED]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for XCom; every outcome is present, if as 0."""
        return {
            **self.model_dump(mode="json"),
            "outcomes": {outcome.value: self.outcomes[outcome] for outcome in Outcome},
        }
