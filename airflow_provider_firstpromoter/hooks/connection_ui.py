"""The fields of the connection form in Airflow before 3.2; later versions read the provider info."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_firstpromoter.get_provider_info import CONN_FIELDS


def form_widgets() -> dict[str, Any]:
    """Return the form's fields for the extra, by name. They need Flask-AppBuilder, which only Airflow 2 requires."""
    return {name: _widget(field) for name, field in CONN_FIELDS.items()}


def _widget(field: Mapping[str, Any]) -> Any:
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from wtforms import IntegerField, StringField
    from wtforms.validators import Length, NumberRange, Optional

    schema = field["schema"]
    kind = IntegerField if "integer" in schema["type"] else StringField
    # Airflow 2 has the fields of all connection types in one form: an empty one must not hold up others.
    validators: list[Any] = [Optional()]
    if "minimum" in schema:
        validators.append(NumberRange(schema["minimum"], schema["maximum"]))
    if "maxLength" in schema:
        validators.append(Length(max=schema["maxLength"]))
    return kind(
        field["label"],
        validators=validators,
        description=field["description"],
        default=schema.get("default"),
        widget=BS3TextFieldWidget(),
    )
