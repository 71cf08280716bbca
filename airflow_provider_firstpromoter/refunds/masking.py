"""A server's message, fit to be kept: bounded, and without the customer's data."""

from __future__ import annotations

import re

from airflow_provider_firstpromoter.refunds.values import UNSENDABLE

MAX_MESSAGE_LENGTH = 500
_EMAIL = re.compile(r"[^\s@'\"<>(),;:]+(?:'[^\s@'\"<>(),;:]*)*@[^\s@'\"<>(),;:]+")


def masked(message: object, *private: str | None) -> str | None:
    """
    A server's message, fit to be kept: bounded, on one line, without e-mails or the given private texts.

    :param private: texts of the refund that must not travel on
    """
    if not isinstance(message, str) or not message.strip():
        return None
    text = " ".join(UNSENDABLE.sub(" ", message[: 4 * MAX_MESSAGE_LENGTH]).split())
    for secret in sorted(filter(None, (" ".join((part or "").split()) for part in private)), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _EMAIL.sub("***", text)
    return text if len(text) <= MAX_MESSAGE_LENGTH else text[: MAX_MESSAGE_LENGTH - 1] + "…"
