"""From the outbox to a platform: batches, isolation of bad events, pauses.

A batch that the platform refuses for one of its events is halved until each bad one is alone; all
others are delivered. Those that may still be taken are tried again apart from the others, and after
them, so that they delay no other. Events that are known to be refused are found before a request is
made, so that this is rare. Several threads make requests, each with a connection and a client.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from tributary import warehouse
from tributary.config import cap_on_waits
from tributary.deliver import adjustments, destinations
from tributary.deliver.consent import consent_of, consent_required
from tributary.deliver.destinations import Destination
from tributary.deliver.identity import country_alpha2
from tributary.deliver.outbox import Batch, ClaimedEvent, Clock, LeaseLost, Outbox, now_of
from tributary.errors import TributaryError
from tributary.platforms import registry
from tributary.platforms.base import (
    Action,
    Answer,
    EventsRefused,
    PlatformError,
    QuotaReached,
    Sender,
    Verdict,
)

log = logging.getLogger(__name__)

_TRIES = 3  # of one request, while its answer may get lost
_FIRST_WAIT = 1.0
# After so many events refused one by one, and none taken, the events are not the cause.
_ALL_REFUSED = 50
_LASTING = 3  # runs that an outage stopped, after which one event may be its cause
_SOON = timedelta(minutes=15)


class _Refused(NamedTuple):
    """An event that was refused alone."""

    batch: Batch
    error: PlatformError
    answer: Answer


class DestinationStopped(TributaryError):
    """A destination stopped before its events were delivered; they stay in the outbox."""


@dataclass
class Summary:
    """What an upload did, in numbers and codes; without identifiers."""

    brand: str
    destination: str
    processed: int = 0
    succeeded: int = 0
    failed: int = 0  # will be tried again
    skipped: int = 0
    dead: int = 0
    requests: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    held: str | None = None  # why it stopped early
    needs_a_person: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, verdicts: Sequence[Verdict]) -> None:
        """Count deliveries that were settled."""
        with self._lock:
            self.processed += len(verdicts)
            for verdict in verdicts:
                match verdict.sync_status:
                    case "sent":
                        self.succeeded += 1
                    case "skipped":
                        self.skipped += 1
                    case "dead":
                        self.dead += 1
                    case _:
                        self.failed += 1
                if verdict.sync_status != "sent" and verdict.outcome:
                    self.errors[verdict.outcome] += 1

    def progress(self) -> str:
        """One line for the log."""
        return (
            f"{self.processed:,} processed in {self.requests:,} requests: {self.succeeded:,} "
            f"taken, {self.failed:,} kept for later, {self.skipped:,} skipped, {self.dead:,} dead"
        )

    def as_dict(self) -> dict[str, Any]:
        """For XCom."""
        names = (
            "brand", "destination", "processed", "succeeded", "failed", "skipped", "dead",
            "requests", "held",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names} | {"errors": dict(self.errors)}


def upload(
    uri: str,
    destination: Destination,
    senders: Callable[[], Sender],
    *,
    limit: int | None = None,
    run_id: str | None = None,
    clock: Clock = now_of,
    prechecks: bool = True,
) -> Summary:
    """Send what is due to one destination, until nothing is, or the platform says stop.

    Args:
        uri: of the warehouse.
        senders: makes a sender; called once per thread.
        limit: deliveries at most.
        prechecks: off only to see what the platform itself says.

    Raises:
        DestinationStopped: credentials, permissions or an outage; the text says what to do.
        WarehouseDown: the warehouse does not answer.
    """
    return _Upload(uri, destination, senders, limit, run_id, clock, prechecks).run()


class _Upload:
    def __init__(
        self,
        uri: str,
        destination: Destination,
        senders: Callable[[], Sender],
        limit: int | None,
        run_id: str | None,
        clock: Clock,
        prechecks: bool,
    ) -> None:
        self._uri, self._destination, self._senders = uri, destination, senders
        self._platform = registry.platform(destination.platform)
        self._run_id, self._clock, self._prechecks = run_id, clock, prechecks
        self._left = limit
        self._summary = Summary(destination.brand, destination.name)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._dead_alone = 0  # events that were refused alone for good
        self._flowing = False  # whether the platform has taken something

    def run(self) -> Summary:
        summary, name = self._summary, self._destination.name
        with warehouse.connect(self._uri, autocommit=True) as connection:
            now = self._clock(connection)
            known = destinations.one(connection, name, now)
            if known.paused:
                raise DestinationStopped(f"The destination {name} is paused {known.paused}")
            sender = self._senders()
            first = self._outbox(connection, sender)
            swept = first.sweep()
            dead = swept["outcome_unknown"] + swept["expired"]
            summary.add([Verdict("dead", "outcome_unknown")] * swept["outcome_unknown"])
            summary.add([Verdict("dead", "expired")] * swept["expired"])
            if dead:
                log.warning("%s: %d deliveries were not sent in time: %s", name, dead, swept)
            self._work(first, sender, only_one=True)  # a probe, after a failure
        threads = self._destination.settings.in_flight
        if self._flowing and not self._stopped.is_set():
            with ThreadPoolExecutor(threads, "upload") as pool:
                for done in [pool.submit(self._thread) for _ in range(threads)]:
                    done.result()
        with warehouse.connect(self._uri, autocommit=True) as connection:
            self._work(self._outbox(connection, sender), sender, tried=True)
            word = "held" if summary.needs_a_person else "throttled"
            status = "ok" if summary.held is None else f"{word}: {summary.held}"
            destinations.record_sync(
                connection, name, self._clock(connection), status[:300], summary.succeeded
            )
        log.info("%s: %s", name, summary.as_dict())
        if summary.needs_a_person:
            raise DestinationStopped(f"The destination {name} is stopped: {summary.held}")
        return summary

    def _thread(self) -> None:
        with warehouse.connect(self._uri, autocommit=True) as connection:
            sender = self._senders()
            self._work(self._outbox(connection, sender), sender)

    def _outbox(self, connection: warehouse.Connection, sender: Sender) -> Outbox:
        return Outbox(
            connection,
            self._destination.name,
            dedup_window=self._platform.dedup_window,
            run_id=self._run_id,
            clock=self._clock,
            quota=sender.quota,
            one_by_one="adjustment" in self._platform.kinds,
            settings=self._destination.stored,
        )

    def _work(
        self,
        outbox: Outbox,
        sender: Sender,
        *,
        only_one: bool = False,
        tried: bool = False,
    ) -> None:
        while not self._stopped.is_set():
            wanted = self._take()
            if wanted == 0:
                return
            try:
                judge = self._judge(outbox.now())
                batch, settled = outbox.claim(wanted, judge, tried=tried)
            except QuotaReached as error:
                self._stop(outbox, error)
                return
            self._give_back(wanted - len(batch.events if batch else ()) - len(settled))
            if batch is None:
                return
            self._summary.add(settled)
            if batch.events:
                try:
                    self._deliver(outbox, sender, batch)
                except LeaseLost as error:
                    log.warning("%s: %s", self._destination.name, error)
                log.info("%s: %s", self._destination.name, self._summary.progress())
                if only_one and self._flowing:
                    return

    def _take(self) -> int:
        """How many deliveries this thread may claim next."""
        most = self._platform.max_batch
        size = min(most, self._destination.settings.batch_size)
        with self._lock:
            if self._left is None:
                return size
            size = min(size, self._left)
            self._left -= size
            return size

    def _give_back(self, number: int) -> None:
        with self._lock:
            if self._left is not None:
                self._left += number

    def _judge(self, now: datetime) -> Callable[[ClaimedEvent], Verdict | None]:
        def judge(event: ClaimedEvent) -> Verdict | None:
            if event["erased_at"]:
                return Verdict("skipped", "erased")
            today = {
                "ad_user_data": event["ad_user_data"],
                "ad_personalization": event["ad_personalization"],
            }
            brand, given = self._destination.brand_settings, dict(event["consent"])
            given["required"] = given.get("required") or consent_required(
                country_alpha2(event["country"]), brand
            )
            consent = consent_of(given, brand, today)
            if not consent.user_data:
                return Verdict("skipped", "no_consent")
            event["opt_out"] = not consent.personalization
            if outcome := self._destination.not_taken(event):
                return Verdict("skipped", outcome)
            verdict = adjustments.wait_for_original(self._platform, event, now)
            if verdict is not None:
                return verdict
            code = self._platform.flaw(event) if self._prechecks else None
            if code is not None:
                return Verdict("dead", code, "Found before it was sent.")
            return None

        return judge

    def _deliver(self, outbox: Outbox, sender: Sender, batch: Batch) -> None:
        """Send a batch; where one of its events is refused, its halves, and theirs.

        Events that were refused alone for no final reason are settled last: where nothing at all
        was taken, they are not the cause, and go back with the rest.
        """
        unknown: set[UUID] = set()  # events of which a request may have been carried out
        waiting, alone = [batch], list[_Refused]()
        dropped = False
        while waiting:
            part, error, answer = self._send(outbox, sender, waiting.pop(), unknown)
            if error is None:
                continue
            if error.is_unknown_code:
                log.error("%s: %s", self._destination.name, error)
            if isinstance(error, EventsRefused):
                rest = self._drop(outbox, part, error, answer)
                if (
                    dropped
                ):  # it named all of them the first time: a second time it could go on for ever
                    self._release(outbox, rest, error, answer, unknown, _SOON)
                elif rest.events:
                    waiting.append(rest)
                dropped = True
                continue
            if self._isolates(error) and len(part.events) > 1:
                outbox.end(part, answer)
                middle = (len(part.events) + 1) // 2
                waiting += [Batch(part.id, part.events[middle:])]
                waiting += [Batch(part.id, part.events[:middle])]
                continue
            if error.is_final:
                self._refuse(outbox, _Refused(part, error, answer), unknown)
                self._dead_alone += 1
            else:
                alone.append(_Refused(part, error, answer))
            if not self._isolates(error) or self._nothing_is_taken(outbox, batch, alone):
                for rest in (*waiting, *(one.batch for one in alone)):
                    self._release(outbox, rest, error, answer, unknown)
                self._stop(outbox, error)
                return
        for one in alone:
            self._refuse(outbox, one, unknown)
        if alone:
            log.warning(
                "%s: %d events are refused one by one, and are tried again apart from the others: "
                "%s", self._destination.name, len(alone), alone[-1].error,
            )  # fmt: skip

    def _isolates(self, error: PlatformError) -> bool:
        """Whether to halve the batch; also when an answered 5xx lasts: one event may cause it."""
        answered = (error.http_status or 0) >= 500
        lasting = self._destination.failures >= _LASTING
        return error.action.isolates or (error.action is Action.RETRY and answered and lasting)

    def _nothing_is_taken(self, outbox: Outbox, batch: Batch, alone: Sequence[_Refused]) -> bool:
        """Whether the events are not the cause: so many were refused, and none was taken.

        Events that were refused before are the cause where others were taken since they were
        received; events that are new only where others are taken now.
        """
        if self._flowing:
            return False
        outage = alone and alone[-1].error.action is Action.RETRY
        all_alone = len(alone) == len(batch.events) > 1
        if not all_alone and len(alone) + self._dead_alone < (2 if outage else _ALL_REFUSED):
            return False
        tried = all(event["sync_attempts"] for event in batch.events)
        newest = max(event["came_at"] for event in batch.events)
        return bool(outage) or not tried or not outbox.took_since(newest)

    def _send(
        self, outbox: Outbox, sender: Sender, batch: Batch, unknown: set[UUID]
    ) -> tuple[Batch, PlatformError | None, Answer]:
        """One request, made again at once while its result is unknown; settles what was taken.

        Returns:
            The batch that holds the deliveries now, and why the platform took none of them.
        """
        for attempt in range(1, _TRIES + 1):
            if batch.is_used:
                try:
                    batch = outbox.part(batch)
                except QuotaReached as error:
                    return batch, error, Answer(error_code=error.label)
            batch.is_used = True
            with self._lock:
                self._summary.requests += 1
            try:
                exceptions, answer = sender.send(batch.events)
            except PlatformError as error:
                answer = Answer(error.http_status, error.label, error.trace_id)
                if not error.action.is_unknown:
                    return batch, error, answer
                unknown.update(batch.ids)
                if attempt == _TRIES:
                    return batch, error, answer
                outbox.end(batch, answer)
                log.warning("%s: try %d: %s", self._destination.name, attempt, error)
                wait = _FIRST_WAIT * 4 ** (attempt - 1) * random.uniform(0.8, 1.2)
                time.sleep(min(wait, cap_on_waits()))
            else:
                self._taken(outbox, batch, exceptions, answer)
                return batch, None, answer
        raise AssertionError("unreachable: the last try returns")

    def _taken(
        self, outbox: Outbox, batch: Batch, exceptions: Mapping[UUID, Verdict], answer: Answer
    ) -> None:
        accepted = Verdict("sent", "accepted", trace_id=answer.request_id)
        verdicts = {id_: exceptions.get(id_, accepted) for id_ in batch.ids}
        outbox.settle(batch, verdicts, answer)
        self._summary.add(list(verdicts.values()))
        with self._lock:
            first, self._flowing = not self._flowing, True
        if first and (self._destination.failures or self._destination.had_pause):
            destinations.recovered(outbox.connection, self._destination.name, outbox.now())

    def _drop(self, outbox: Outbox, batch: Batch, error: EventsRefused, answer: Answer) -> Batch:
        """Settle the events that were named; returns the others."""
        named = [event for event in batch.events if event["id"] in error.verdicts]
        rest = [event for event in batch.events if event["id"] not in error.verdicts]
        outbox.settle(Batch(batch.id, named), error.verdicts, answer)
        self._summary.add(list(error.verdicts.values()))
        log.warning("%s: %s", self._destination.name, error)
        return Batch(batch.id, rest)

    def _refuse(self, outbox: Outbox, one: _Refused, unknown: set[UUID]) -> None:
        """A verdict about one event: final where the code says so, one of five otherwise."""
        verdict = Verdict(
            "dead" if one.error.is_final else "failed",
            one.error.label,
            str(one.error),
            trace_id=one.answer.request_id,
            counts=True,
            unknown=bool(unknown.intersection(one.batch.ids)),
        )
        outbox.settle(one.batch, verdict, one.answer)
        self._summary.add([verdict])

    def _release(
        self,
        outbox: Outbox,
        batch: Batch,
        error: PlatformError,
        answer: Answer,
        unknown: set[UUID],
        wait: timedelta | None = None,
    ) -> None:
        """Back into the outbox: the error says nothing about the events themselves."""
        verdicts = {
            id_: Verdict("failed", error.label, str(error), unknown=id_ in unknown, wait=wait)
            for id_ in batch.ids
        }
        outbox.settle(batch, verdicts, answer)
        self._summary.add(list(verdicts.values()))

    def _stop(self, outbox: Outbox, error: PlatformError) -> None:
        """Pause the destination, once for all threads; the others finish their request."""
        with self._lock:
            if self._stopped.is_set():
                return
            self._stopped.set()
        name, now = self._destination.name, outbox.now()
        reason, action = str(error), error.action
        if action.isolates:
            reason = f"Events were refused one by one, and none was taken: {error}"
        if action.isolates or action is Action.PAUSE:
            seconds = destinations.pause(outbox.connection, name, now, reason)
        else:
            seconds = destinations.hold(outbox.connection, name, now, reason, error.wait)
        self._summary.held = reason
        self._summary.needs_a_person = not error.is_throttle
        log.warning("%s: stopped for %.0f s: %s", name, seconds, reason)
