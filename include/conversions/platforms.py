"""The platforms that conversions go to, each in the form that `upload` drives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from include.conversions.outbox import Answer, Event, Verdict
from include.meta import conversions as meta
from include.meta.client import Graph
from include.posthog import events as posthog


class MetaPlatform:
    """Meta's Conversions API as a platform; the client must not repeat requests by itself."""

    max_batch = meta.MAX_BATCH
    dedup_window: timedelta | None = meta.DEDUP_WINDOW

    def __init__(self, graph: Graph, settings: Mapping[str, Any]) -> None:
        self._graph, self._settings = graph, settings

    def flaw(self, event: Event) -> str | None:
        """As `Platform.flaw`."""
        return meta.flaw(event)

    def send(self, events: Sequence[Event]) -> tuple[Mapping[UUID, Verdict], Answer]:
        """As `Platform.send`."""
        limited = self._settings.get("limited_data_use", False)
        received = meta.send(
            self._graph,
            self._settings["pixel_id"],
            [
                meta.payload(event, limited_data_use=limited, opt_out=event["opt_out"])
                for event in events
            ],
            self._settings.get("test_event_code"),
        )
        return {}, Answer(200, None, received.trace_id)


class PosthogPlatform:
    """PostHog as a platform: product analytics, which knows people by contact id."""

    max_batch = posthog.MAX_BATCH
    dedup_window: timedelta | None = None  # an event's uuid is known for good

    def __init__(self, client: posthog.Posthog) -> None:
        self._client = client
        self._is_checked = False

    def flaw(self, event: Event) -> str | None:
        """As `Platform.flaw`."""
        return None

    def send(self, events: Sequence[Event]) -> tuple[Mapping[UUID, Verdict], Answer]:
        """As `Platform.send`; the first request asks whether the key is of a project at all."""
        if not self._is_checked:
            self._client.check()
            self._is_checked = True
        self._client.send([posthog.payload(event) for event in events])
        return {}, Answer(200)
