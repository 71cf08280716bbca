"""Runs commands in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from airflow_provider_firstpromoter.cli.definition import main


class Done(NamedTuple):
    """
    What a command did.

    :param code: its exit code; what argparse and errors give to ``sys.exit``
    """

    code: Any
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """``cli("report", "firstpromoter_default")``."""

    def cli(*arguments: str) -> Done:
        capsys.readouterr()
        code = None
        try:
            main(arguments)
        except SystemExit as exit:
            code = exit.code
        return Done(code, *capsys.readouterr())

    return cli
