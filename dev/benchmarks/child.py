"""Runs measurements in interpreters of their own: ``python -m dev.benchmarks.child CALL RESULT``, two JSON files."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dev.airflow import Connections
from dev.benchmarks.stage import Stage


def measured(
    stage: Stage, function: Callable[..., Any], connections: Connections | None = None, **arguments: Any
) -> Any:
    """
    Call a function of a module in a fresh interpreter.

    :param connections: the Airflow connections that exist there
    :param arguments: plain JSON
    :return: what the function returned, which must be plain JSON
    """
    call, result = stage.folder / "call.json", stage.folder / "result.json"
    call.write_text(json.dumps({"module": function.__module__, "function": function.__name__, "arguments": arguments}))
    stage.run_python("-m", "dev.benchmarks.child", str(call), str(result), connections=connections or {})
    return json.loads(result.read_text())


def main() -> None:
    call = json.loads(Path(sys.argv[1]).read_text())
    function = getattr(importlib.import_module(call["module"]), call["function"])
    # A file, because Airflow writes its log to standard output.
    Path(sys.argv[2]).write_text(json.dumps(function(**call["arguments"])))


if __name__ == "__main__":
    main()
