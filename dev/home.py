"""Where the demo keeps its things, and what Airflow is told about them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DAGS = ROOT / "dags_examples"


@dataclass(frozen=True)
class Home:
    """A folder that is wiped at the start of every demo."""

    folder: Path

    @classmethod
    def fresh(cls, name: str) -> Home:
        folder = ROOT / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return cls(folder)

    @property
    def airflow(self) -> Path:
        return self.folder / "airflow"

    @property
    def warehouse(self) -> Path:
        return self.folder / "warehouse.db"

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of an Airflow that knows this folder and nothing of the machine's own Airflow."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        return {
            **inherited,
            "AIRFLOW_HOME": str(self.airflow),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # `airflow standalone` starts its parts by the name of the command.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            **more,
        }

    def connections(self, firstpromoter: dict[str, str]) -> dict[str, dict[str, object]]:
        """
        The two connections that the example DAG asks for.

        :param firstpromoter: the sandbox's `login`, `password` and `host`
        """
        return {
            "firstpromoter_default": {
                "conn_type": "firstpromoter",
                **firstpromoter,
                "extra": {"ledger_conn_id": "warehouse"},
            },
            "warehouse": {"conn_type": "sqlite", "host": str(self.warehouse)},
        }


def as_variables(connections: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """Connections as the environment variables that Airflow reads them from."""
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()}


def free_port(wanted: int = 0) -> int:
    """The wanted port of the loopback address if it is free, else any that is."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
