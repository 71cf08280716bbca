"""Refunds from rows with the values that warehouses hold."""

from __future__ import annotations

import numbers

import pytest

from airflow_provider_firstpromoter.calls import (
    Refund,
    Validation,
)
from airflow_provider_firstpromoter.exceptions import InvalidRowError

ROW = {"event_id": "re_1", "amount": 1999, "uid": "cus_1"}


NAN = float("nan")


MANY_DIGITS = 10**5000  # more than Python writes in decimal


def refund(how: Validation | None = None, /, **columns: object) -> Refund:
    return Refund.from_row({**ROW, **columns}, how)


def reason(how: Validation | None = None, /, **columns: object) -> str:
    with pytest.raises(InvalidRowError) as caught:
        refund(how, **columns)
    return caught.value.reason


class WarehouseInteger:
    """An integer that is no ``int``, registered as numpy registers its own."""

    def __repr__(self) -> str:
        return "WarehouseInteger()"

    def __init__(self, value: int) -> None:
        self.value = value

    def __int__(self) -> int:
        return self.value


numbers.Integral.register(WarehouseInteger)
