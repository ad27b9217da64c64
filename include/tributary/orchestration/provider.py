"""Registers the project's connection types with Airflow: UI form, masking, `connections add`."""

from __future__ import annotations

from typing import Any


def _text(label: str, *, secret: bool = False) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": ["string", "null"]}
    if secret:
        schema["format"] = "password"
    return {"label": label, "schema": schema}


def _google(conn_type: str, name: str, hook: str, host: str) -> dict[str, Any]:
    return {
        "connection-type": conn_type,
        "hook-class-name": f"tributary.orchestration.hooks.{hook}",
        "hook-name": name,
        "ui-field-behaviour": {
            "hidden-fields": ["port", "schema", "login", "password", "extra"],
            "relabeling": {"host": "Endpoint"},
            "placeholders": {"host": host},
        },
        "conn-fields": {
            "client_id": _text("OAuth client id"),
            "client_secret": _text("OAuth client secret", secret=True),
            "refresh_token": _text("Refresh token", secret=True),
            "service_account_json": _text(
                "Service account key file (its text), instead of the three above", secret=True
            ),
            "developer_token": _text("Developer token (Google Ads; optional)", secret=True),
            "login_customer_id": _text("Manager account id, if access goes through one"),
            "token_uri": _text("OAuth token endpoint, if not Google's"),
        },
    }


def get_provider_info() -> dict[str, Any]:
    """What Airflow's provider manager reads through the entry point in `pyproject.toml`."""
    return {
        "package-name": "tributary",
        "name": "Tributary",
        "description": "Meta and Google ads in, conversions back.",
        "connection-types": [
            {
                "connection-type": "meta",
                "hook-class-name": "tributary.orchestration.hooks.MetaHook",
                "hook-name": "Meta Ads",
                "ui-field-behaviour": {
                    "hidden-fields": ["port", "schema", "login", "extra"],
                    "relabeling": {"password": "Access token", "host": "Graph base URL"},
                    "placeholders": {"host": "https://graph.facebook.com"},
                },
                "conn-fields": {
                    "app_id": _text("App id"),
                    "app_secret": _text("App secret", secret=True),
                    "api_version": _text("API version, such as v26.0"),
                },
            },
            _google(
                "google_data_manager",
                "Google Data Manager",
                "GoogleDataManagerHook",
                "https://datamanager.googleapis.com",
            ),
            _google("google_ads", "Google Ads", "GoogleAdsHook", "googleads.googleapis.com"),
            {
                "connection-type": "posthog",
                "hook-class-name": "tributary.orchestration.hooks.PosthogHook",
                "hook-name": "PostHog",
                "ui-field-behaviour": {
                    "hidden-fields": ["port", "schema", "login", "extra"],
                    "relabeling": {"password": "Project key", "host": "Host"},
                    "placeholders": {"host": "https://us.i.posthog.com", "password": "phc_…"},
                },
            },
            {
                "connection-type": "tributary_webhook",
                "hook-class-name": "tributary.orchestration.hooks.WebhookHook",
                "hook-name": "Tributary webhook",
                "ui-field-behaviour": {
                    "hidden-fields": ["host", "port", "schema", "login", "extra"],
                    "relabeling": {"password": "Signing secret"},
                },
            },
        ],
    }
