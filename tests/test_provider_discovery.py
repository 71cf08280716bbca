"""What Airflow itself makes of the provider, once it is installed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest

from airflow_provider_firstpromoter.get_provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR, get_provider_info
from airflow_provider_firstpromoter.hooks import FirstPromoterHook

NAME = "airflow-provider-firstpromoter"
AIRFLOW_2 = version("apache-airflow").startswith("2.")
#: Prints the connection form of Airflow 3, which replaces modules and therefore needs an interpreter of its own.
PRINT_FORM = """
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
[form] = [hook for hook in HookMetaService.hook_meta_data() if hook.connection_type == "firstpromoter"]
print("\\n" + form.model_dump_json())
"""
HOOK = f"{FirstPromoterHook.__module__}.{FirstPromoterHook.__name__}"


@pytest.fixture(scope="module")
def manager() -> Any:
    from airflow.providers_manager import ProvidersManager

    return ProvidersManager()


def airflow(*arguments: str) -> str:
    return python("-m", "airflow", *arguments)


def python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "1000"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_airflow_discovers_the_provider(manager: Any) -> None:
    assert NAME in manager.providers
    assert manager.providers[NAME].version == version(NAME)


def test_airflow_discovers_the_hook(manager: Any) -> None:
    found = manager.hooks["firstpromoter"]
    assert (found.hook_class_name, found.hook_name) == (HOOK, "FirstPromoter")
    assert found.package_name == NAME
    assert found.connection_id_attribute_name == "firstpromoter_conn_id"
    assert found.connection_testable


@pytest.mark.skipif(AIRFLOW_2, reason="Airflow 2 makes its form in another way")
def test_airflow_3_shows_the_form_fields() -> None:
    """The fields as Airflow's UI gets them: from the provider info since Airflow 3.2, from the hook before."""
    form = json.loads(python("-c", PRINT_FORM).splitlines()[-1])
    if form["extra_fields"] is None:
        pytest.skip("Airflow 3.0 shows the fields of a form only if the FAB provider is installed")
    assert list(form["extra_fields"]) == list(CONN_FIELDS)
    for name, field in CONN_FIELDS.items():
        shown = form["extra_fields"][name]
        assert (shown["schema"]["title"], shown["description"]) == (field["label"], field["description"])
        assert shown["value"] == field["schema"].get("default")
    standard = form["standard_fields"]
    assert standard["host"]["title"] == UI_FIELD_BEHAVIOUR["relabeling"]["host"]
    assert standard["host"]["placeholder"] == UI_FIELD_BEHAVIOUR["placeholders"]["host"]
    assert standard["port"]["hidden"] == ("port" in UI_FIELD_BEHAVIOUR["hidden-fields"])


@pytest.mark.skipif(not AIRFLOW_2, reason="Airflow 3 makes its form in another way")
def test_airflow_2_discovers_the_form_fields(manager: Any) -> None:
    assert manager.hooks["firstpromoter"]
    prefix = "extra__firstpromoter__"
    found = [name.removeprefix(prefix) for name in manager.connection_form_widgets if name.startswith(prefix)]
    assert found == list(CONN_FIELDS)
    behaviour = manager.field_behaviours["firstpromoter"]
    assert behaviour["hidden_fields"] == UI_FIELD_BEHAVIOUR["hidden-fields"]
    assert behaviour["relabeling"] == UI_FIELD_BEHAVIOUR["relabeling"]
    assert behaviour["placeholders"] == UI_FIELD_BEHAVIOUR["placeholders"]


@pytest.mark.skipif(not AIRFLOW_2, reason="Airflow 3 makes its form in another way")
def test_airflow_2_has_the_same_form_fields() -> None:
    wtforms = importlib.import_module("wtforms")
    validators = importlib.import_module("wtforms.validators")

    class Asked(wtforms.Form):  # type: ignore[misc, name-defined]
        pass

    widgets = FirstPromoterHook.get_connection_form_widgets()
    assert list(widgets) == list(CONN_FIELDS)
    for name, widget in widgets.items():
        setattr(Asked, name, widget)
    form = Asked()
    for name, field in CONN_FIELDS.items():
        schema = field["schema"]
        made = form[name]
        assert type(made) is (wtforms.IntegerField if "integer" in schema["type"] else wtforms.StringField)
        assert (made.label.text, made.description) == (field["label"], field["description"])
        assert made.data == schema.get("default")
        for validator in made.validators:
            if isinstance(validator, validators.NumberRange):
                assert (validator.min, validator.max) == (schema["minimum"], schema["maximum"])
        # All connection types share one form: another type's must go through with nothing in ours.
        assert isinstance(made.validators[0], validators.Optional)


def test_airflow_command_line_shows_the_provider() -> None:
    printed = airflow("providers", "get", NAME, "--full", "--output", "json")
    info = get_provider_info()
    modules = [transfer["python-module"] for transfer in info["transfers"]]
    for kind in ("hooks", "operators", "sensors", "triggers"):
        modules += [module for integration in info[kind] for module in integration["python-modules"]]
    for name in [HOOK, *modules, *CONN_FIELDS, *UI_FIELD_BEHAVIOUR["relabeling"].values()]:
        assert name in printed, name
    for name in modules:
        importlib.import_module(name)


def test_airflow_command_line_imports_the_hook() -> None:
    hooks = airflow("providers", "hooks", "--output", "json")
    (ours,) = [hook for hook in json.loads(hooks[hooks.index("[{") :]) if hook["connection_type"] == "firstpromoter"]
    assert HOOK in ours.values()
