"""
Keyed hashes of a row's content, used to detect that it changed.

A stored fingerprint is up to :data:`MOST_TOKENS` tokens, one for each content that was tried. A query that joins a row
with two e-mail addresses gives two rows of one event_id: both are remembered. The key is the account's salt, which the
ledger has and which never changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any

from airflow_provider_firstpromoter.calls.refund import portable
from airflow_provider_firstpromoter.calls.values import MAX_AMOUNT_LENGTH, amount_text, canonical_text

#: Hexadecimal digits of one token.
TOKEN_LENGTH = 16
#: Contents of one event_id that are remembered: as many as fit into the ledger's column of 255 characters.
MOST_TOKENS = 15
#: The default context would round a long amount, and take two amounts for the same.
_EXACTLY = Context(prec=2 * MAX_AMOUNT_LENGTH)


def content_token(row: Mapping[str, Any], key: bytes) -> str:
    """
    Return a keyed hash of a row's columns of the refund call, without the event_id.

    :param key: keeps customers' e-mail addresses from being found by hashing guesses
    :returns: 16 hexadecimal digits
    """
    digest = hashlib.blake2b(key=key, digest_size=TOKEN_LENGTH // 2)
    for name, value in portable(row).items():
        if name == "event_id":
            continue
        text = canonical_text(value)
        if name == "amount" and amount_text(value):
            text = format(Decimal(text or "0").normalize(_EXACTLY), "f")  # 10.5 and 10.50 are the same amount
        if text is not None:
            digest.update(f"{name}\0{len(text)}\0{text}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def is_known_content(stored: str | None, row: Mapping[str, Any], key: bytes) -> bool:
    """
    Return whether this content was tried before.

    :param stored: the ledger's fingerprint; None is no content
    """
    return bool(stored) and content_token(row, key) in str(stored).split(" ")


def fingerprint(row: Mapping[str, Any], key: bytes, earlier: str | None = None) -> str:
    """
    Return the fingerprint of a row, to be stored.

    :param earlier: the stored fingerprint of other contents of the same event_id
    """
    return " ".join(_with(earlier.split(" ") if earlier else [], content_token(row, key)))


def add_digest(earlier: str | None, digest: str | None) -> str | None:
    """Add a digest to the stored digests of a refund's contents, and return them all."""
    return " ".join(_with(earlier.split(" ") if earlier else [], digest)) if digest else earlier


def _with(tokens: list[str], token: str) -> list[str]:
    return [*(one for one in tokens if one != token), token][-MOST_TOKENS:]
