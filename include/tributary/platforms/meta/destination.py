"""Meta's Conversions API as a destination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from tributary.errors import SettingsError
from tributary.event import Event
from tributary.platforms.base import (
    Answer,
    ConnectionType,
    Field,
    MatchKeys,
    Meaning,
    Platform,
    Sender,
    Sent,
    send_one,
)
from tributary.platforms.meta import conversions, meanings, quality
from tributary.platforms.meta.errors import MetaError
from tributary.platforms.meta.settings import MetaDestination

if TYPE_CHECKING:
    from tributary.platforms.meta.client import Graph


class Meta(Platform[MetaDestination]):
    """Meta takes all events of a request or none, and does not say which one is wrong."""

    name = "meta"
    title = "Meta"
    settings = MetaDestination
    connection = ConnectionType(
        "meta",
        "Meta Ads",
        "tributary.platforms.meta.hook.MetaHook",
        hidden=("schema", "login", "extra"),
        relabeled={"password": "Access token", "host": "Graph base URL"},
        placeholders={"host": "https://graph.facebook.com"},
        fields={
            "app_id": Field("App id"),
            "app_secret": Field("App secret", secret=True),
            "api_version": Field("API version, such as v26.0"),
        },
    )
    errors = MetaError
    longest_age = conversions.LONGEST_AGE
    dedup_window = conversions.DEDUP_WINDOW
    max_batch = conversions.MAX_BATCH
    # The outbox repeats requests itself. Several minutes of a platform that accepts and does not
    # answer must not outlast the lease.
    client_options: ClassVar[Mapping[str, Any]] = {"attempts": 1, "timeout": (10, 60)}
    match_keys = MatchKeys(("meta", "em"), ("meta", "ph"), ("fbc",))
    place_key = "pixel_id"
    has_match_quality = True

    def deadline(self, event: Event) -> datetime:
        """As `Platform.deadline`."""
        return conversions.deadline(event)

    def addressable(self, event: Event) -> bool:
        """As `Platform.addressable`."""
        return conversions.addressable(event)

    def flaw(self, event: Event) -> str | None:
        """As `Platform.flaw`."""
        return conversions.flaw(event)

    def places(self, settings: MetaDestination) -> Mapping[str, str]:
        """As `Platform.places`."""
        return {"*": f"the pixel {settings.pixel_id}"}

    def counts_twice(
        self, one: MetaDestination, other: MetaDestination, place: str, brands: set[str]
    ) -> str:
        """As `Platform.counts_twice`."""
        return (
            f"The destinations {one.name} and {other.name} have the same pixel_id: Meta "
            "would get each event twice. Deactivate one of them first."
        )

    def test_mode(self, settings: MetaDestination) -> str | None:
        """As `Platform.test_mode`."""
        if code := settings.test_event_code:
            return (
                f"has the test_event_code {code}: Meta shows what it sends under Test Events, and "
                "counts it as real. Take the code out of the settings when the test is over."
            )
        return None

    def sender(self, client: Graph, settings: MetaDestination) -> MetaSender:
        """As `Platform.sender`; the client must not repeat requests by itself."""
        return MetaSender(client, settings)

    def send_test_event(
        self, client: Graph, settings: MetaDestination, event: Event, code: str | None
    ) -> str:
        """As `Platform.send_test_event`: Meta shows it under Test Events."""
        name = settings.name
        if code:
            settings = settings.model_copy(update={"test_event_code": code})
        if not settings.test_event_code:
            raise SettingsError(
                f"{name} has no test_event_code: take one from Events Manager → Test Events and "
                "give it with --test-event-code, else the event would count as a real one."
            )
        answer = send_one(self.sender(client, settings), event, name)
        return f"the platform took one test event (trace {answer.request_id})."

    def match_quality(self, client: Graph, settings: MetaDestination) -> dict[str, float]:
        """As `Platform.match_quality`."""
        return quality.match_quality(client, settings.pixel_id)

    def meaning(self, code: str) -> Meaning | None:
        """As `Platform.meaning`."""
        return meanings.meaning(code)

    def codes(self) -> Iterable[str]:
        """As `Platform.codes`."""
        return meanings.codes()


class MetaSender(Sender):
    """Sends events to one pixel."""

    def __init__(self, graph: Graph, settings: MetaDestination) -> None:
        self._graph, self._settings = graph, settings

    def send(self, events: Sequence[Event]) -> Sent:
        """As `Sender.send`."""
        limited = self._settings.limited_data_use
        received = conversions.send(
            self._graph,
            self._settings.pixel_id,
            [
                conversions.payload(event, limited_data_use=limited, opt_out=event["opt_out"])
                for event in events
            ],
            self._settings.test_event_code,
        )
        return {}, Answer(200, None, received.trace_id)


PLATFORM = Meta()
