"""What Airflow discovers of this provider, without importing any of it."""

from __future__ import annotations

from typing import Any

PACKAGE = "airflow_provider_firstpromoter"
INTEGRATION = "FirstPromoter"

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "port", "extra"],
    "relabeling": {"login": "Account ID", "password": "API key", "host": "API base URL"},
    "placeholders": {
        "login": "FirstPromoter: Settings > Integrations",
        "password": "FirstPromoter: Settings > Integrations > Manage API Keys",
        "host": "https://api.firstpromoter.com/api/v2",
    },
}

CONN_FIELDS: dict[str, Any] = {
    "requests_per_minute": {
        "label": "Requests per minute",
        "schema": {"type": ["integer", "null"], "default": 400, "minimum": 1},
        "description": "The account's limit is 400 for all its clients; give Airflow less if others send too.",
    },
    "timeout": {
        "label": "Timeout",
        "schema": {"type": ["number", "null"], "default": 30},
        "description": "Seconds to wait for a connection, and again for an answer.",
    },
    "max_attempts": {
        "label": "Attempts per request",
        "schema": {"type": ["integer", "null"], "default": 6, "minimum": 1, "maximum": 20},
        "description": "How often one request is tried before the refund is left for the next run.",
    },
    "currency": {
        "label": "Account currency",
        "schema": {"type": ["string", "null"]},
        "description": "Three letters; for rows with amount_unit='major' that name no currency.",
    },
    "ledger_conn_id": {
        "label": "Ledger connection",
        "schema": {"type": ["string", "null"]},
        "description": "The SQL connection whose database remembers what became of each refund.",
    },
    "ledger_table": {
        "label": "Ledger table",
        "schema": {"type": ["string", "null"], "default": "firstpromoter_refunds"},
        "description": "Its table, with the schema if need be: schema.table.",
    },
}


def get_provider_info() -> dict[str, Any]:
    """The provider's doors: connection type, hook, operators, transfers, sensors, triggers."""

    def modules(*names: str) -> list[dict[str, Any]]:
        return [{"integration-name": INTEGRATION, "python-modules": [f"{PACKAGE}.{name}" for name in names]}]

    return {
        "package-name": "airflow-provider-firstpromoter",
        "name": "FirstPromoter",
        "description": "Refunds in a warehouse take back the affiliate commissions paid on them, once each.",
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
        "operators": modules("operators.refund"),
        "transfers": [
            {
                "source-integration-name": "SQL",
                "target-integration-name": INTEGRATION,
                "python-module": f"{PACKAGE}.transfers.sql_to_firstpromoter",
            }
        ],
        "sensors": modules("sensors.refund"),
        "triggers": modules("triggers.refund"),
    }
