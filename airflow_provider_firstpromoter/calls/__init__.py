"""
The vocabulary of the provider: what a refund, an outcome, a result and a summary are, and what a row can contain.

Pure functions and data types: no input or output, no Airflow, and no import of another package of the provider.
"""

from airflow_provider_firstpromoter.calls.call import Call, Cancellation, Signup, TrackedEvent, event_id_of
from airflow_provider_firstpromoter.calls.masking import MAX_MESSAGE_LENGTH, masked
from airflow_provider_firstpromoter.calls.outcome import Outcome
from airflow_provider_firstpromoter.calls.refund import (
    REFUND,
    Refund,
)
from airflow_provider_firstpromoter.calls.result import (
    Commission,
    CommissionState,
    Number,
    Result,
    Word,
    shortened,
)
from airflow_provider_firstpromoter.calls.row import (
    CALLS,
    DIGEST_COLUMN,
    REASON_COLUMN,
    Row,
    add_digest,
    batches,
    content_token,
    fingerprint,
    is_known_content,
    numbered,
)
from airflow_provider_firstpromoter.calls.sale import SALE, Sale
from airflow_provider_firstpromoter.calls.summary import Summary, Totals
from airflow_provider_firstpromoter.calls.values import (
    MANY_DECIMAL_CURRENCIES,
    MAX_AMOUNT,
    MAX_AMOUNT_LENGTH,
    MAX_ID_LENGTH,
    ZERO_DECIMAL_CURRENCIES,
    AmountUnit,
    Identity,
    Validation,
    amount_text,
    money_text,
    reward_text,
    same_amount,
)

__all__ = [
    "CALLS",
    "DIGEST_COLUMN",
    "MANY_DECIMAL_CURRENCIES",
    "MAX_AMOUNT",
    "MAX_AMOUNT_LENGTH",
    "MAX_ID_LENGTH",
    "MAX_MESSAGE_LENGTH",
    "REASON_COLUMN",
    "REFUND",
    "SALE",
    "ZERO_DECIMAL_CURRENCIES",
    "AmountUnit",
    "Call",
    "Cancellation",
    "Commission",
    "CommissionState",
    "Identity",
    "Number",
    "Outcome",
    "Refund",
    "Result",
    "Row",
    "Sale",
    "Signup",
    "Summary",
    "Totals",
    "TrackedEvent",
    "Validation",
    "Word",
    "add_digest",
    "amount_text",
    "batches",
    "content_token",
    "event_id_of",
    "fingerprint",
    "is_known_content",
    "masked",
    "money_text",
    "numbered",
    "reward_text",
    "same_amount",
    "shortened",
]
