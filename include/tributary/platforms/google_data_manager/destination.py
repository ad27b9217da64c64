"""Google Data Manager as a destination: requests it takes at once and processes later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tributary.event import Event
from tributary.platforms.base import (
    Answer,
    EventsRefused,
    Meaning,
    Quota,
    RequestStatus,
    Sender,
    Sent,
    Verdict,
)
from tributary.platforms.google import rules, verdicts
from tributary.platforms.google.destination import GooglePlatform, connection_type
from tributary.platforms.google.errors import GoogleEventsRefused
from tributary.platforms.google_data_manager import meanings
from tributary.platforms.google_data_manager.settings import DataManagerDestination

if TYPE_CHECKING:
    from tributary.platforms.google_data_manager.client import DataManager


class GoogleDataManager(GooglePlatform[DataManagerDestination]):
    """The Data Manager API. Events of a request have one name, kind, day and identifier kind."""

    name = "google_data_manager"
    title = "Google Data Manager"
    settings = DataManagerDestination
    connection = connection_type(
        "google_data_manager",
        "Google Data Manager",
        "tributary.platforms.google_data_manager.hook.GoogleDataManagerHook",
        "https://datamanager.googleapis.com",
    )
    kinds = frozenset({"conversion", "adjustment"})
    max_batch = 2000  # IngestEventsRequest.events

    def addressable(self, event: Event) -> bool:
        """As `Platform.addressable`."""
        return rules.addressable_by_address(event)

    def batch_key(self, event: Event) -> str:
        """As `Platform.batch_key`."""
        return rules.data_manager_batch(event)

    def sender(self, client: DataManager, settings: DataManagerDestination) -> DataManagerSender:
        """As `Platform.sender`."""
        return DataManagerSender(client, settings)

    def meaning(self, code: str) -> Meaning | None:
        """As `Platform.meaning`."""
        return meanings.meaning(code)

    def codes(self) -> Iterable[str]:
        """As `Platform.codes`."""
        return meanings.codes()


class DataManagerSender(Sender):
    """Sends events, which are `accepted`, and asks later how they were processed."""

    def __init__(self, client: DataManager, settings: DataManagerDestination) -> None:
        from tributary.platforms.google_data_manager import client as api

        self.client = client
        self._api, self._settings = api, settings
        self.quota = Quota(client.project, api.REQUESTS_PER_MINUTE, api.REQUESTS_PER_DAY)

    def send(self, events: Sequence[Event]) -> Sent:
        """As `Sender.send`.

        Raises:
            EventsRefused: Google names the events for which it takes nothing of the request.
        """
        actions = self._settings.events
        leaving, repeated = verdicts.without_repeated_orders(events, actions)
        target = self._api.Target(self._settings.customer_id, actions[events[0]["event_name"]])
        payloads = [
            self._api.payload(event, personalization=not event["opt_out"]) for event in leaving
        ]
        only_checked = self._settings.validate_only
        try:
            received = self.client.ingest(target, payloads, validate_only=only_checked)
        except GoogleEventsRefused as error:
            raise EventsRefused(
                error,
                {
                    leaving[index]["id"]: verdicts.verdict_of(flaw)
                    for index, flaw in error.flaws.items()
                },
            ) from None
        if only_checked:
            checked = {event["id"]: Verdict("skipped", "test") for event in leaving}
            return repeated | checked, Answer(200)
        return repeated, Answer(
            200, None, received.request_id, self._api.FIRST_POLL, received.warnings
        )

    def poll(self, request_id: str) -> RequestStatus:
        """As `Sender.poll`."""
        return self.client.status(request_id)


PLATFORM = GoogleDataManager()
