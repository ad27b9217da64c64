"""The platforms that conversions go to, each in the form that `upload` drives."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tributary.deliver.outbox import Answer, Event, Quota, Verdict
from tributary.deliver.policies import SomeRefused
from tributary.platforms.google import rules
from tributary.platforms.google.errors import WAITS, Do, Flaw, GoogleEventsRefused, gravest, whole
from tributary.platforms.meta import conversions as meta
from tributary.platforms.meta.client import Graph
from tributary.platforms.posthog import events as posthog

if TYPE_CHECKING:
    from tributary.platforms.google_ads.client import GoogleAds
    from tributary.platforms.google_data_manager.client import DataManager

log = logging.getLogger(__name__)

Sent = tuple[Mapping[UUID, Verdict], Answer]


class MetaPlatform:
    """Meta's Conversions API as a platform; the client must not repeat requests by itself."""

    max_batch = meta.MAX_BATCH
    quota: Quota | None = None

    def __init__(self, graph: Graph, settings: Mapping[str, Any]) -> None:
        self._graph, self._settings = graph, settings

    def flaw(self, event: Event) -> str | None:
        """As `Platform.flaw`."""
        return meta.flaw(event)

    def send(self, events: Sequence[Event]) -> Sent:
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
    quota: Quota | None = None

    def __init__(self, client: posthog.Posthog) -> None:
        self._client = client
        self._is_checked = False

    def flaw(self, event: Event) -> str | None:
        """As `Platform.flaw`."""
        return None

    def send(self, events: Sequence[Event]) -> Sent:
        """As `Platform.send`; the first request asks whether the key is of a project at all."""
        if not self._is_checked:
            self._client.check()
            self._is_checked = True
        self._client.send([posthog.payload(event) for event in events])
        return {}, Answer(200)


class DataManagerPlatform:
    """Google Data Manager as a platform. The events of a request have one name, kind and day.

    What it takes is `accepted`; `confirm` tells later what became of it.
    """

    def __init__(
        self,
        client: DataManager,
        settings: Mapping[str, Any],
        login_customer_id: str | None = None,
    ) -> None:
        from tributary.platforms.google_data_manager import client as data_manager

        self.client = client
        self._google, self._settings, self._login = data_manager, settings, login_customer_id
        self.max_batch = data_manager.MAX_BATCH
        self.quota: Quota | None = Quota(
            client.project, data_manager.REQUESTS_PER_MINUTE, data_manager.REQUESTS_PER_DAY
        )

    def flaw(self, event: Event) -> str | None:
        """As `Platform.flaw`."""
        return _flaw(event)

    def send(self, events: Sequence[Event]) -> Sent:
        """As `Platform.send`.

        Raises:
            SomeRefused: Google names the events for which it takes nothing of the request.
        """
        leaving, verdicts = _apart(events, self._settings["events"])
        target = self._google.Target(
            self._settings["customer_id"],
            self._settings["events"][events[0]["event_name"]],
            self._login,
        )
        payloads = [
            self._google.payload(event, personalization=not event["opt_out"]) for event in leaving
        ]
        only_checked = bool(self._settings.get("validate_only"))
        try:
            received = self.client.ingest(target, payloads, validate_only=only_checked)
        except GoogleEventsRefused as error:
            raise SomeRefused(
                error,
                {leaving[index]["id"]: verdict_of(flaw) for index, flaw in error.flaws.items()},
            ) from None
        if only_checked:
            verdicts |= {event["id"]: Verdict("skipped", "test") for event in leaving}
            return verdicts, Answer(200)
        return verdicts, Answer(
            200, None, received.request_id, self._google.FIRST_POLL, received.warnings
        )


class GoogleAdsPlatform:
    """The Google Ads API as a platform. The events of a request are of one kind."""

    quota: Quota | None = None  # the API says itself when to wait

    def __init__(self, client: GoogleAds, settings: Mapping[str, Any]) -> None:
        from tributary.platforms.google_ads import client as google_ads

        self.client = client
        self._google, self._settings = google_ads, settings
        self.max_batch = google_ads.MAX_BATCH

    def flaw(self, event: Event) -> str | None:
        """As `Platform.flaw`."""
        return _flaw(event)

    def send(self, events: Sequence[Event]) -> Sent:
        """As `Platform.send`; errors name their row, so that the others are told apart at once."""
        leaving, verdicts = _apart(events, self._settings["events"])
        customer = self._settings["customer_id"]
        only_checked = bool(self._settings.get("validate_only"))
        if leaving[0]["kind"] == "conversion":
            rows = [
                self._google.conversion(
                    event, self._action(event), personalization=not event["opt_out"]
                )
                for event in leaving
            ]
            done = self.client.upload(customer, rows, validate_only=only_checked)
        else:
            rows = [self._google.adjustment(event, self._action(event)) for event in leaving]
            done = self.client.adjust(customer, rows, validate_only=only_checked)
        flaws = {
            index: _of_row(gravest(found), leaving[index]) for index, found in done.flaws.items()
        }
        _stop_where_all_are_refused(flaws, len(leaving), customer)
        fine = Verdict("skipped", "test") if only_checked else Verdict("sent", "confirmed")
        for index, event in enumerate(leaving):
            verdicts[event["id"]] = verdict_of(flaws[index]) if index in flaws else fine
        return verdicts, Answer(200, None, done.request_id)

    def _action(self, event: Event) -> str:
        settings = self._settings
        return self._google.action_name(
            settings["customer_id"], settings["events"][event["event_name"]]
        )


_WAIT_OF_A_ROW = timedelta(minutes=15)
_WAIT_FOR_A_PERSON = timedelta(hours=1)
_OWN_REQUEST = Verdict(
    "failed", "same_id_in_request", "The same order is in this request already.",
    wait=timedelta(minutes=1),
)  # fmt: skip


def verdict_of(flaw: Flaw) -> Verdict:
    """What becomes of an event by what Google says of it; a code without a rule is told."""
    code, said, do = flaw
    match do:
        case Do.DUPLICATE:
            return Verdict("sent", "duplicate")
        case Do.UNMATCHED:
            return Verdict("sent", "unmatched")
        case Do.CONSENT:
            return Verdict("skipped", "no_consent", said)
        case Do.DEAD:
            return Verdict("dead", code, said, counts=True)
        case Do.LATER | Do.TOMORROW:
            return Verdict("failed", code, said, wait=timedelta(seconds=WAITS[do]))
        case Do.AGAIN | Do.SLOWER:
            return Verdict("failed", code, said, wait=_WAIT_OF_A_ROW)
        case Do.PAUSE | Do.MOVE:
            log.error("Google refuses events for a cause beyond them: %s: %s", code, said)
            return Verdict("failed", code, said, wait=_WAIT_FOR_A_PERSON)
        case Do.OURS:
            return Verdict("failed", code, said, counts=True)
        case _:
            log.error("Google gave an event a code that has no rule here: %s: %s", code, said)
            return Verdict("failed", code, said, counts=True)


def _flaw(event: Event) -> str | None:
    """What both of Google's APIs are known to refuse, before it leaves."""
    if event["event_value"] is not None and not event["currency"]:
        return "currency_missing"
    return None


def _apart(
    events: Sequence[Event], actions: Mapping[str, str]
) -> tuple[list[Event], dict[UUID, Verdict]]:
    """The events that may leave together: of one order only the first (DUPLICATE_ORDER_ID)."""
    leaving: dict[tuple[str, str], Event] = {}
    held: dict[UUID, Verdict] = {}
    for event in events:
        order = (actions[event["event_name"]], rules.dedup_key(event))
        if leaving.setdefault(order, event) is not event:
            held[event["id"]] = _OWN_REQUEST
    return list(leaving.values()), held


def _of_row(flaw: Flaw, event: Event) -> Flaw:
    """A changed amount of what was retracted before is not there already: it is lost."""
    if flaw.code.endswith(".CONVERSION_ALREADY_RETRACTED") and event["event_value"]:
        return flaw._replace(do=Do.DEAD)
    return flaw


def _stop_where_all_are_refused(flaws: Mapping[int, Flaw], rows: int, customer: str) -> None:
    """Where no row was taken, and a person must act, the destination has to stop."""
    stopping = [flaw for flaw in flaws.values() if flaw.do in (Do.PAUSE, Do.MOVE, Do.SLOWER)]
    if stopping and len(stopping) == rows:
        worst = gravest(stopping)
        raise whole(worst.do, worst.code, worst.said, f"customer {customer}")
