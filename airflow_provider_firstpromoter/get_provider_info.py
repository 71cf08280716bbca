"""The provider info: what Airflow discovers of this provider, without importing any other module of it."""

from __future__ import annotations

from typing import Any

PACKAGE = "airflow_provider_firstpromoter"
INTEGRATION = "FirstPromoter"

#: The standard fields of Airflow's connection form; hidden ones have no meaning here. The JSON of the extra stays:
#: Airflow 3 shows it in any case, and Airflow 2's Test button does nothing on a page that opens without it. The port is
#: there because the Test button of Airflow 3.3.1 and 3.3.2 answers "Bad Request" for a connection without one.
UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["description", "schema"],
    "relabeling": {"login": "Account ID", "password": "API key", "host": "API base URL"},
    "placeholders": {
        "login": "FirstPromoter: Settings > Integrations",
        "password": "FirstPromoter: Settings > Integrations > Manage API Keys",
        "host": "https://api.firstpromoter.com/api/v2",
        "port": "443, if the Test button answers Bad Request",
    },
}

#: Airflow 3 folds them away under these headings; the standard fields are above them.
SECTION = "Ledger connection and currency"
LIMITS = "Limits"

#: The fields of the connection's extra, in the order of the form.
CONN_FIELDS: dict[str, Any] = {
    "ledger_conn_id": {
        "label": "Ledger connection",
        "schema": {"type": ["string", "null"], "section": SECTION},
        "description": "The ID of a SQL connection: its database remembers what became of each event, so that none is "
        "sent twice. The SQL operator and the sensor need one.",
    },
    "ledger_table": {
        "label": "Ledger table",
        "schema": {"type": ["string", "null"], "default": "firstpromoter_refunds", "section": SECTION},
        "description": "The table for refunds, made on first use; schema.table for one outside the default schema. "
        "That for sales is firstpromoter_sales, in the same schema.",
    },
    "currency": {
        "label": "Account currency",
        "schema": {"type": ["string", "null"], "maxLength": 3, "section": SECTION},
        "description": "Three letters, such as USD: for amounts in major units (19.99) whose row names no currency.",
    },
    "requests_per_minute": {
        "label": "Requests per minute",
        "schema": {
            "type": ["integer", "null"],
            "default": 400,
            "minimum": 1,
            "maximum": 1_000_000,
            "section": LIMITS,
        },
        "description": "FirstPromoter allows an account 400, all its clients together; "
        "give Airflow less if others send too.",
    },
    "timeout": {
        "label": "Timeout in seconds",
        "schema": {"type": ["integer", "null"], "default": 30, "minimum": 1, "maximum": 600, "section": LIMITS},
        "description": "For connecting, and again for the response.",
    },
    "max_attempts": {
        "label": "Attempts per request",
        "schema": {"type": ["integer", "null"], "default": 6, "minimum": 1, "maximum": 20, "section": LIMITS},
        "description": "After the last one the event is left for the task's next try.",
    },
}


def get_provider_info() -> dict[str, Any]:
    """Return what Airflow discovers: connection type, hook, operators, transfers, sensors, triggers and assets."""

    def modules(*names: str) -> list[dict[str, Any]]:
        return [{"integration-name": INTEGRATION, "python-modules": [f"{PACKAGE}.{name}" for name in names]}]

    asset_uris = [
        {
            "schemes": ["firstpromoter"],
            "handler": f"{PACKAGE}.assets.firstpromoter.sanitize_uri",
            "factory": f"{PACKAGE}.assets.firstpromoter.create_asset",
            "to_openlineage_converter": f"{PACKAGE}.assets.firstpromoter.convert_asset_to_openlineage",
        }
    ]

    return {
        "package-name": "airflow-provider-firstpromoter",
        "name": "FirstPromoter",
        "description": "Sales in a warehouse earn affiliate commissions, and refunds reverse them, once each.",
        "integrations": [
            {
                "integration-name": INTEGRATION,
                "external-doc-url": "https://docs.firstpromoter.com/",
                "tags": ["service"],
            }
        ],
        "connection-types": [
            {
                "connection-type": "firstpromoter",
                "hook-class-name": f"{PACKAGE}.hooks.firstpromoter.FirstPromoterHook",
                "hook-name": "FirstPromoter",
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": CONN_FIELDS,
            }
        ],
        "hooks": modules("hooks.firstpromoter"),
        "operators": modules("operators.track", "operators.reconcile", "operators.revert"),
        "transfers": [
            {
                "source-integration-name": "SQL",
                "target-integration-name": INTEGRATION,
                "python-module": f"{PACKAGE}.transfers.sql_to_firstpromoter",
            }
        ],
        "sensors": modules("sensors.unrecorded"),
        "triggers": modules("triggers.unrecorded"),
        "asset-uris": asset_uris,
        "dataset-uris": asset_uris,  # their name in Airflow 2
        "cli": [f"{PACKAGE}.cli.definition.get_firstpromoter_cli_commands"],  # known to Airflow 3.2 and later
        "extra-links": [f"{PACKAGE}.operators.base.FirstPromoterLink"],
    }
