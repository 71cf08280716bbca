"""Every promise of docs/guarantees.md is held by tests that exist: held_by.toml beside this file names them."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HELD_BY: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("held_by.toml").read_text())
PROMISES: list[str] = re.findall(r"^\| ([A-Z]\d+) \|", (ROOT / "docs" / "guarantees.md").read_text(), re.MULTILINE)


def test_each_promise_has_a_number_of_its_own_and_each_number_a_promise() -> None:
    assert len(PROMISES) > 100
    assert sorted(PROMISES) == sorted(HELD_BY)


@pytest.mark.parametrize("promise", HELD_BY)
def test_promise_is_held_by_existing_tests(promise: str) -> None:
    assert HELD_BY[promise], "no test holds it"
    for test in HELD_BY[promise]:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test
