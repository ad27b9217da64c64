"""What Google's two destinations have in common: rules, settings, and how they are tested."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from tributary.event import Event
from tributary.platforms.base import (
    ConnectionType,
    Field,
    MatchKeys,
    Platform,
    send_one,
)
from tributary.platforms.google import rules
from tributary.platforms.google.errors import GoogleError
from tributary.platforms.google.settings import GoogleDestination

G = TypeVar("G", bound=GoogleDestination)

_TEST_EMAIL = hashlib.sha256(b"tributary-test@example.com").hexdigest()


class GooglePlatform(Platform[G]):
    """A destination whose events count in conversion actions of a Google Ads customer."""

    errors = GoogleError
    longest_age = rules.LONGEST_AGE
    match_keys = MatchKeys(("google", "email"), ("google", "phone"), rules.CLICK_IDS)
    place_key = "customer_id"

    def deadline(self, event: Event) -> datetime:
        """As `Platform.deadline`."""
        return rules.deadline(event)

    def flaw(self, event: Event) -> str | None:
        """As `Platform.flaw`; both APIs refuse a value without a currency."""
        if event["event_value"] is not None and not event["currency"]:
            return "currency_missing"
        return None

    def places(self, settings: G) -> Mapping[str, str]:
        """As `Platform.places`; both APIs count in the same conversion actions."""
        return {
            event: f"the conversion action {action} of the customer {settings.customer_id}"
            for event, action in settings.events.items()
        }

    def counts_twice(self, one: G, other: G, place: str, brands: set[str]) -> str:
        """As `Platform.counts_twice`.

        Google keeps one conversion per action and order id, whichever of its two APIs brings it:
        https://support.google.com/google-ads/answer/6386790.
        """
        if one.validate_only or other.validate_only:
            return ""  # of what it only checks, Google keeps nothing
        if len(brands) == 1:
            problem = "would get each event twice"
        else:
            both = " and ".join(sorted(brands))
            problem = f"would take orders of the brands {both} that have one number for one order"
        return (
            f"The destinations {one.name} and {other.name} both send to {place}: Google "
            f"{problem}. Give each a conversion action of its own. To go from one API to the "
            "other, write `is_active: false` at the old destination in the same file, and send "
            "what waited there with `tributary deliveries backfill --destination NEW --since "
            "DAY`: Google keeps one of each order that it has already."
        )

    def test_mode(self, settings: G) -> str | None:
        """As `Platform.test_mode`."""
        if settings.validate_only:
            return "has validate_only: the platform checks what it sends, and keeps nothing of it."
        return None

    def send_test_event(self, client: Any, settings: G, event: Event, code: str | None) -> str:
        """As `Platform.send_test_event`: Google checks one and keeps nothing of it."""
        name = next(iter(settings.events))
        one: Event = {
            **event,
            "event_name": name,
            "user_hashes": {"google": {"email": [_TEST_EMAIL]}},
        }
        checked = settings.model_copy(update={"validate_only": True})
        send_one(self.sender(client, checked), one, settings.name)
        return "the platform has checked one test event, and stored nothing."


def connection_type(conn_type: str, title: str, hook: str, endpoint: str) -> ConnectionType:
    """The connection of one of the APIs: OAuth client and refresh token, or a service account."""
    return ConnectionType(
        conn_type,
        title,
        hook,
        hidden=("schema", "login", "password", "extra"),
        relabeled={"host": "Endpoint"},
        placeholders={"host": endpoint},
        fields={
            "client_id": Field("OAuth client id"),
            "client_secret": Field("OAuth client secret", secret=True),
            "refresh_token": Field("Refresh token", secret=True),
            "service_account_json": Field(
                "Service account key file (its text), instead of the three above", secret=True
            ),
            "developer_token": Field("Developer token (Google Ads; optional)", secret=True),
            "login_customer_id": Field("Manager account id, if access goes through one"),
            "token_uri": Field("OAuth token endpoint, if not Google's"),
        },
    )
