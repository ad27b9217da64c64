"""Registers the project's connection types with Airflow: UI form, masking, `connections add`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tributary.platforms.base import ConnectionType

# Airflow 3.3.2 answers 400 to *Test* on its list for a connection that is stored without a port;
# https://github.com/apache/airflow/pull/73298 corrects that in a later release.
_PORT = "443 (Airflow 3.3.2 tests no connection without a port)"


def get_provider_info() -> dict[str, Any]:
    """What Airflow's provider manager reads through the entry point in `pyproject.toml`."""
    from tributary.platforms import registry
    from tributary.platforms.base import ConnectionType

    webhook = ConnectionType(
        "tributary_webhook",
        "Tributary webhook",
        "tributary.orchestration.webhook_hook.WebhookHook",
        hidden=("host", "schema", "login", "extra"),
        relabeled={"password": "Signing secret"},
    )
    platforms = [registry.platform(name).connection for name in registry.names()]
    return {
        "package-name": "tributary",
        "name": "Tributary",
        "description": "Meta and Google ads in, conversions back.",
        "connection-types": [_described(one) for one in (*platforms, webhook)],
    }


def _described(one: ConnectionType) -> dict[str, Any]:
    described: dict[str, Any] = {
        "connection-type": one.conn_type,
        "hook-class-name": one.hook,
        "hook-name": one.title,
        "ui-field-behaviour": {
            "hidden-fields": list(one.hidden),
            "relabeling": dict(one.relabeled),
            "placeholders": {"port": _PORT, **one.placeholders},
        },
    }
    if one.fields:
        described["conn-fields"] = {
            name: {"label": field.label, "schema": _schema(field.secret)}
            for name, field in one.fields.items()
        }
    return described


def _schema(secret: bool) -> dict[str, Any]:
    text: dict[str, Any] = {"type": ["string", "null"]}
    return {**text, "format": "password"} if secret else text
