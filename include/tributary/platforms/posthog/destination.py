"""PostHog as a destination: product analytics, which knows people by contact id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from tributary.event import Event
from tributary.platforms.base import (
    Answer,
    ConnectionType,
    Meaning,
    Platform,
    Sender,
    Sent,
)
from tributary.platforms.posthog import events as form
from tributary.platforms.posthog.errors import PosthogError
from tributary.platforms.posthog.settings import PosthogDestination

if TYPE_CHECKING:
    from tributary.platforms.posthog.client import Posthog as Client


class Posthog(Platform[PosthogDestination]):
    """PostHog keeps one event per name, person and day: two destinations count nothing twice."""

    name = "posthog"
    title = "PostHog"
    settings = PosthogDestination
    connection = ConnectionType(
        "posthog",
        "PostHog",
        "tributary.platforms.posthog.hook.PosthogHook",
        hidden=("schema", "login", "extra"),
        relabeled={"password": "Project key", "host": "Host"},
        placeholders={"host": "https://us.i.posthog.com", "password": "phc_…"},
    )
    errors = PosthogError
    longest_age = form.LONGEST_AGE
    max_batch = 1000  # of 20 MB that PostHog takes at most
    # As Meta's: it must not outlast the lease.
    client_options: ClassVar[Mapping[str, Any]] = {"timeout": (10, 60)}

    def deadline(self, event: Event) -> datetime:
        """As `Platform.deadline`."""
        return form.deadline(event)

    def addressable(self, event: Event) -> bool:
        """As `Platform.addressable`."""
        return form.distinct_id(event) is not None

    def places(self, settings: PosthogDestination) -> Mapping[str, str]:
        """As `Platform.places`; a project is known by its connection alone."""
        return {"*": f"the project of the connection {settings.conn_id}"}

    def sender(self, client: Client, settings: PosthogDestination) -> PosthogSender:
        """As `Platform.sender`."""
        return PosthogSender(client)

    def send_test_event(
        self, client: Client, settings: PosthogDestination, event: Event, code: str | None
    ) -> str:
        """As `Platform.send_test_event`; only the key is checked."""
        client.check()
        return "PostHog knows the project key. No event was sent: PostHog has no test events."

    def meaning(self, code: str) -> Meaning | None:
        """As `Platform.meaning`; PostHog has no codes of its own."""
        return None

    def codes(self) -> Iterable[str]:
        """As `Platform.codes`."""
        return ()


class PosthogSender(Sender):
    """Sends events to one project."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._is_checked = False

    def send(self, events: Sequence[Event]) -> Sent:
        """As `Sender.send`; before the first it asks whether the key is of a project at all."""
        if not self._is_checked:
            self._client.check()
            self._is_checked = True
        self._client.send([form.payload(event) for event in events])
        return {}, Answer(200)


PLATFORM = Posthog()
