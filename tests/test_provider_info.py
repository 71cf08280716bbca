"""What Airflow discovers of the provider: all of it is there, and discovering it costs nothing."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_provider_firstpromoter.get_provider_info import CONN_FIELDS, get_provider_info
from airflow_provider_firstpromoter.hooks import FirstPromoterHook


def named(info: Any) -> Iterator[str]:
    """Every module or class of the package that is named anywhere in the provider's info."""
    if isinstance(info, str):
        if info.startswith("airflow_provider_firstpromoter."):
            yield info
    elif isinstance(info, dict | list):
        for part in info.values() if isinstance(info, dict) else info:
            yield from named(part)


NAMED = sorted(set(named(get_provider_info())))


def imported_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after this code, without those of before its last line."""
    *before, last = code.splitlines()
    script = "\n".join([*before, "import sys, json", "had = set(sys.modules)", last])
    script += "\nprint('\\n' + json.dumps(sorted(set(sys.modules) - had)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return set(json.loads(ran.stdout.splitlines()[-1]))


def test_provider_info_satisfies_airflows_schema() -> None:
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_provider_info_names_the_public_modules() -> None:
    text = " ".join(NAMED)
    for module in ("hooks.firstpromoter", "operators.track", "sensors.unrecorded", "transfers.sql_to_firstpromoter"):
        assert f"airflow_provider_firstpromoter.{module}" in text


@pytest.mark.parametrize("name", NAMED)
def test_every_name_in_provider_info_can_be_imported(name: str) -> None:
    """Names of classes and functions, and of modules."""
    assert pkgutil.resolve_name(name)


def test_providers_page_links_to_an_address_that_exists() -> None:
    """Airflow 3 takes it from the package's metadata; without it, the page guesses one on airflow.apache.org."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    (integration,) = get_provider_info()["integrations"]
    assert project["urls"]["Documentation"] == integration["external-doc-url"] == "https://docs.firstpromoter.com/"


def test_connection_type_is_that_of_the_hook() -> None:
    (connection_type,) = get_provider_info()["connection-types"]
    assert connection_type["connection-type"] == FirstPromoterHook.conn_type
    assert connection_type["hook-class-name"].endswith(f".{FirstPromoterHook.__name__}")
    assert connection_type["conn-fields"] == CONN_FIELDS


def test_form_has_the_fields_that_the_connection_needs() -> None:
    behaviour = FirstPromoterHook.get_ui_field_behaviour()
    assert set(behaviour["relabeling"]) == {"login", "password", "host"}
    assert set(behaviour["hidden_fields"]) == {"description", "schema"}


@pytest.mark.parametrize("field", CONN_FIELDS)
def test_every_form_field_has_a_description_and_a_valid_default(field: str) -> None:
    offered = CONN_FIELDS[field]
    assert offered["label"]
    assert offered["description"].endswith(".")
    jsonschema.Draft202012Validator.check_schema(offered["schema"])
    jsonschema.validate(offered["schema"].get("default"), offered["schema"])


def test_discovering_the_provider_imports_nothing_else() -> None:
    code = "\nfrom airflow_provider_firstpromoter.get_provider_info import get_provider_info; get_provider_info()"
    modules = {name for name in imported_by(code) if name.split(".")[0] not in sys.stdlib_module_names}
    assert modules == {"airflow_provider_firstpromoter", "airflow_provider_firstpromoter.get_provider_info"}


def test_importing_operators_does_not_import_their_dependencies() -> None:
    """Airflow's own imports come first: what it loads by itself is not ours to save."""
    code = (
        "from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator, XCom\n"
        "import airflow_provider_firstpromoter.operators.track, airflow_provider_firstpromoter.operators.reconcile, "
        "airflow_provider_firstpromoter.operators.revert, airflow_provider_firstpromoter.sensors.unrecorded, "
        "airflow_provider_firstpromoter.transfers.sql_to_firstpromoter"
    )
    modules = imported_by(code)
    assert "airflow_provider_firstpromoter.operators.track" in modules
    ours = {name.removeprefix("airflow_provider_firstpromoter.") for name in modules}
    assert not ours & {"account", "api", "calls", "database", "hooks", "ledger", "pending", "reconcile", "sync"}
    heavy = {"requests", "sqlalchemy", "pydantic", "tenacity", "pendulum"}
    assert not {name.split(".")[0] for name in modules} & heavy


def test_what_a_run_imports_before_its_first_request_does_not_include_requests() -> None:
    """Most runs have nothing to send. Airflow's own imports come first, those of a warehouse's hook among them."""
    code = (
        "import airflow.providers.common.sql.hooks.sql, airflow_provider_firstpromoter.operators.track\n"
        "import airflow_provider_firstpromoter.sync"
    )
    modules = imported_by(code)
    assert "airflow_provider_firstpromoter.api.client" in modules
    assert "airflow_provider_firstpromoter.api.transport" not in modules
    assert not {name.split(".")[0] for name in modules} & {"requests", "urllib3"}
