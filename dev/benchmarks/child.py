"""Measurements in own interpreters: ``python -m dev.benchmarks.child FILE`` with a call on its standard input."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dev.benchmarks.stage import Connections, Stage


def measured(
    stage: Stage, function: Callable[..., Any], connections: Connections | None = None, **arguments: Any
) -> Any:
    """
    Call a function of a module in a fresh interpreter.

    :param connections: the Airflow connections that it finds
    :param arguments: plain JSON, as is what the function returns
    """
    answer = stage.folder / "answer.json"
    call = {"module": function.__module__, "function": function.__name__, "arguments": arguments}
    stage.run(["-m", "dev.benchmarks.child", str(answer)], connections, stdin=json.dumps(call))
    return json.loads(answer.read_text())


def main() -> None:
    call = json.load(sys.stdin)
    function = getattr(importlib.import_module(call["module"]), call["function"])
    # Not on standard output, where Airflow logs.
    Path(sys.argv[1]).write_text(json.dumps(function(**call["arguments"])))


if __name__ == "__main__":
    main()
