"""The Google Ads API as a destination: its errors name the events of a request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tributary.event import Event
from tributary.platforms.base import (
    Answer,
    Meaning,
    Sender,
    Sent,
    Verdict,
)
from tributary.platforms.google import rules, verdicts
from tributary.platforms.google.destination import GooglePlatform, connection_type
from tributary.platforms.google_ads import meanings
from tributary.platforms.google_ads.settings import GoogleAdsDestination

if TYPE_CHECKING:
    from tributary.platforms.google_ads.client import GoogleAds as Client


class GoogleAds(GooglePlatform[GoogleAdsDestination]):
    """The Google Ads API. Events of a request are of one kind."""

    name = "google_ads"
    title = "Google Ads"
    settings = GoogleAdsDestination
    connection = connection_type(
        "google_ads",
        "Google Ads",
        "tributary.platforms.google_ads.hook.GoogleAdsHook",
        "googleads.googleapis.com",
    )
    kinds = frozenset({"conversion", "adjustment", "enhancement"})
    first_adjustment = rules.FIRST_ADJUSTMENT
    max_batch = 2000

    def addressable(self, event: Event) -> bool:
        """As `Platform.addressable`."""
        return rules.addressable(event)

    def batch_key(self, event: Event) -> str:
        """As `Platform.batch_key`."""
        return rules.ads_batch(event)

    def sender(self, client: Client, settings: GoogleAdsDestination) -> GoogleAdsSender:
        """As `Platform.sender`."""
        return GoogleAdsSender(client, settings)

    def meaning(self, code: str) -> Meaning | None:
        """As `Platform.meaning`."""
        return meanings.meaning(code)

    def codes(self) -> Iterable[str]:
        """As `Platform.codes`."""
        return meanings.codes()


class GoogleAdsSender(Sender):
    """Sends conversions, or adjustments and enhancements; each row of a request has its result.

    It counts no quota: the API says itself when to wait.
    """

    def __init__(self, client: Client, settings: GoogleAdsDestination) -> None:
        from tributary.platforms.google_ads import client as api

        self.client = client
        self._api, self._settings = api, settings

    def send(self, events: Sequence[Event]) -> Sent:
        """As `Sender.send`."""
        settings, api = self._settings, self._api
        customer, actions = settings.customer_id, settings.events
        leaving, found = verdicts.without_repeated_orders(events, actions)
        named = [
            (event, api.action_name(customer, actions[event["event_name"]])) for event in leaving
        ]
        only_checked = settings.validate_only
        if leaving[0]["kind"] == "conversion":
            rows = [
                api.conversion(event, action, personalization=not event["opt_out"])
                for event, action in named
            ]
            done = self.client.upload(customer, rows, validate_only=only_checked)
        else:
            rows = [api.adjustment(event, action) for event, action in named]
            done = self.client.adjust(customer, rows, validate_only=only_checked)
        flaws = {
            index: verdicts.flaw_of_event(several, leaving[index])
            for index, several in done.flaws.items()
        }
        verdicts.raise_if_all_refused(flaws, len(leaving), customer)
        fine = Verdict("skipped", "test") if only_checked else Verdict("sent", "confirmed")
        for index, event in enumerate(leaving):
            found[event["id"]] = verdicts.verdict_of(flaws[index]) if index in flaws else fine
        return found, Answer(200, None, done.request_id)


PLATFORM = GoogleAds()
