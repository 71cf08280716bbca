"""Tests that the sandbox's documentation names everything that a user can set or call."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

from fastapi.routing import APIRoute

from airflow_provider_firstpromoter.sandbox import Sandbox
from airflow_provider_firstpromoter.sandbox.control import make_control_api
from airflow_provider_firstpromoter.sandbox.faults import Fault, Kind
from airflow_provider_firstpromoter.sandbox.seeds import LeadSeed

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()


def first_cells() -> set[str]:
    """Return all code in the first cells of the page's tables."""
    cells = re.findall(r"^\| (`[^|]*`) \|", PAGE, re.MULTILINE)
    return {code for cell in cells for code in re.findall(r"`([^`]+)`", cell)}


def test_every_fault_and_field_is_documented() -> None:
    assert set(get_args(Kind)) - first_cells() == set()
    assert {field.name for field in fields(Fault)} - set(re.findall(r":param (\w+):", Fault.__doc__ or "")) == set()


def test_every_field_of_a_lead_is_documented() -> None:
    assert set(LeadSeed.__annotations__) - first_cells() == set()


def test_every_control_call_is_documented(sandbox: Sandbox) -> None:
    calls = {
        re.sub(r"\{\w+_id\}", "{id}", f"{method} /sandbox{route.path}")
        for route in make_control_api(sandbox).routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert len(calls) > 10
    assert {cell for cell in first_cells() if " /sandbox/" in cell} == calls
