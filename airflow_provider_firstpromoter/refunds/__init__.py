"""
The vocabulary of the provider: what a refund, an outcome, a result and a summary are, and what a row may hold.

Pure: no input or output, no Airflow, and no import of another room.
"""

from airflow_provider_firstpromoter.refunds.masking import MAX_MESSAGE_LENGTH, masked
from airflow_provider_firstpromoter.refunds.outcome import Outcome
from airflow_provider_firstpromoter.refunds.refund import (
    REFUND_COLUMNS,
    InvalidRefund,
    Refund,
    event_id_of,
    fingerprint,
    known_columns,
    missing_columns,
    portable,
)
from airflow_provider_firstpromoter.refunds.result import Lead, Number, Private, Promoter, Result, Reward, Word
from airflow_provider_firstpromoter.refunds.rows import Row, batches, marking_repeats, numbered
from airflow_provider_firstpromoter.refunds.summary import Summary
from airflow_provider_firstpromoter.refunds.values import (
    MANY_DECIMAL_CURRENCIES,
    MAX_AMOUNT,
    MAX_AMOUNT_LENGTH,
    MAX_ID_LENGTH,
    ZERO_DECIMAL_CURRENCIES,
    AmountUnit,
    Identity,
    Validation,
    amount_text,
    same_amount,
)

__all__ = [
    "MANY_DECIMAL_CURRENCIES",
    "MAX_AMOUNT",
    "MAX_AMOUNT_LENGTH",
    "MAX_ID_LENGTH",
    "MAX_MESSAGE_LENGTH",
    "REFUND_COLUMNS",
    "ZERO_DECIMAL_CURRENCIES",
    "AmountUnit",
    "Identity",
    "InvalidRefund",
    "Lead",
    "Number",
    "Outcome",
    "Private",
    "Promoter",
    "Refund",
    "Result",
    "Reward",
    "Row",
    "Summary",
    "Validation",
    "Word",
    "amount_text",
    "batches",
    "event_id_of",
    "fingerprint",
    "known_columns",
    "marking_repeats",
    "masked",
    "missing_columns",
    "numbered",
    "portable",
    "same_amount",
]
