"""Confirm requests that a platform processes after its answer: it reports counts, not rows.

Where the counts say it of each event (`RequestStatus.verdict`), the deliveries get that state. Else
they stay `accepted`, and the counts are stored in `ops.upload_batches.answer`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from tributary import warehouse
from tributary.deliver import destinations, outbox
from tributary.deliver.destinations import Destination
from tributary.deliver.outbox import Clock, now_of
from tributary.deliver.upload import DestinationStopped
from tributary.platforms.base import (
    Action,
    PlatformError,
    RequestStatus,
    Sender,
    StatusGone,
    Verdict,
)
from tributary.warehouse import Connection

log = logging.getLogger(__name__)

_FIRST_STEP = timedelta(minutes=30)  # then 60, 120, …
_LONGEST_STEP = timedelta(hours=12)
_GIVE_UP = timedelta(days=7)  # Google answers for about 50 days; no request takes as long
_AGAIN = timedelta(hours=6)


@dataclass
class Summary:
    """What a confirmation found out, in numbers and codes."""

    brand: str
    destination: str
    requests: int = 0  # that were asked about
    open: int = 0  # of those, still under way
    states: Counter[str] = field(default_factory=Counter)  # events by their new state
    reasons: Counter[str] = field(default_factory=Counter)  # events by the platform's reasons
    undecided: int = 0  # events that stay `accepted`, since only counts are known
    held: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For XCom."""
        return {
            "brand": self.brand,
            "destination": self.destination,
            "requests": self.requests,
            "open": self.open,
            "told": dict(self.states),
            "untold": self.undecided,
            "reasons": dict(self.reasons),
            "held": self.held,
        }


class _Request(NamedTuple):
    id: UUID
    request_id: str
    polls: int
    started_at: datetime


def due(connection: Connection, now: datetime) -> list[str]:
    """Names of the destinations with requests whose status is to be asked for now."""
    rows = connection.execute(
        "select distinct b.destination from ops.upload_batches as b "
        "inner join ops.destinations as d on d.name = b.destination "
        "where b.poll_at <= %(now)s and (d.paused_until is null or d.paused_until <= %(now)s) "
        "order by 1",
        {"now": now},
    )
    return [row["destination"] for row in rows]


def confirm(
    uri: str,
    destination: Destination,
    sender: Sender,
    *,
    clock: Clock = now_of,
) -> Summary:
    """Ask about every request of a destination that is due, and update its deliveries.

    Raises:
        DestinationStopped: the credentials are refused; the destination is paused.
    """
    summary = Summary(destination.brand, destination.name)
    with warehouse.connect(uri, autocommit=True) as connection:
        for request in _due(connection, destination.name, clock(connection)):
            try:
                if sender.quota:
                    with connection.transaction():
                        outbox.count_call(connection, sender.quota, clock(connection))
                status = sender.poll(request.request_id)
            except StatusGone as error:
                _close(connection, request, "GONE", {"error": error.label})
                log.error("%s: the status of a request is gone: %s", destination.name, error)
            except PlatformError as error:
                if error.action in (Action.RETRY, Action.HOLD):
                    summary.held = str(error)
                    log.warning("%s: %s", destination.name, error)
                    break
                reason, now = str(error), clock(connection)
                destinations.pause(connection, destination.name, now, reason)
                raise DestinationStopped(
                    f"The destination {destination.name} is stopped: {reason}"
                ) from None
            else:
                summary.requests += 1
                _note(connection, destination, request, status, clock(connection), summary)
    log.info("%s: %s", destination.name, summary.as_dict())
    return summary


def _due(connection: Connection, name: str, now: datetime) -> list[_Request]:
    rows = connection.execute(
        "select id, request_id, polls, started_at from ops.upload_batches "
        "where destination = %s and poll_at <= %s order by poll_at",
        [name, now],
    )
    return [_Request(**row) for row in rows]


def _note(
    connection: Connection,
    destination: Destination,
    request: _Request,
    status: RequestStatus,
    now: datetime,
    summary: Summary,
) -> None:
    if not status.has_ended:
        if now - request.started_at < _GIVE_UP:
            summary.open += 1
            step = min(_FIRST_STEP * 2 ** min(request.polls + 1, 10), _LONGEST_STEP)
            connection.execute(
                "update ops.upload_batches set state = %s, polls = polls + 1, poll_at = %s "
                "where id = %s",
                [status.state, now + step, request.id],
            )
        else:
            _close(connection, request, "NEVER_ENDED", {"state": status.state})
            log.error("%s: a request is still processed after a week", destination.name)
        return
    answer = {
        "rows": status.rows,
        "errors": dict(status.errors),
        "warnings": dict(status.warnings),
    }
    summary.reasons.update(status.errors)
    with connection.transaction():
        rows = connection.execute(
            "select event from ops.conversion_deliveries where batch_id = %s "
            "and destination = %s and sync_status = 'sent' and outcome = 'accepted' for update",
            [request.id, destination.name],
        ).fetchall()
        verdict = status.verdict if rows else None
        _close(connection, request, status.state, answer)
        if verdict is None:
            summary.undecided += len(rows)
        else:
            summary.states[f"{verdict.sync_status}/{verdict.outcome}"] += len(rows)
            _update(connection, destination.name, [row["event"] for row in rows], verdict, now)
    _alert(connection, destination, status, now)


def _update(
    connection: Connection, destination: str, events: list[UUID], verdict: Verdict, now: datetime
) -> None:
    """Write the new state of deliveries that were `accepted`; a try that counts may be the last."""
    connection.execute(
        "update ops.conversion_deliveries set "
        "sync_attempts = sync_attempts + %(counts)s::int, "
        "sync_status = case when %(status)s = 'failed' and %(counts)s "
        "and sync_attempts + 1 >= %(most)s then 'dead' else %(status)s end, "
        "outcome = case when %(status)s = 'failed' and %(counts)s "
        "and sync_attempts + 1 >= %(most)s then 'attempts' else %(outcome)s end, "
        "sync_error = %(error)s, updated_at = %(now)s, "
        "synced_at = case when %(status)s = 'sent' then synced_at end, "
        "next_attempt_at = %(next)s "
        "where destination = %(destination)s and event = any(%(events)s)",
        {
            "status": verdict.sync_status,
            "outcome": verdict.outcome,
            "error": verdict.error,
            "counts": verdict.counts,
            "most": outbox.VERDICTS,
            "now": now,
            "next": now + (verdict.wait or _AGAIN),
            "destination": destination,
            "events": events,
        },
    )


def _close(
    connection: Connection, request: _Request, state: str, answer: Mapping[str, Any]
) -> None:
    connection.execute(
        "update ops.upload_batches set state = %s, polls = polls + 1, poll_at = null, "
        "answer = coalesce(answer, '{}') || %s where id = %s",
        [state, Jsonb(dict(answer)), request.id],
    )


def _alert(
    connection: Connection, destination: Destination, status: RequestStatus, now: datetime
) -> None:
    """Log reasons that have no rule, and pause the destination where a person must act."""
    if status.unknown_reasons:
        log.error(
            "%s: reasons that have no rule here: %s", destination.name, list(status.unknown_reasons)
        )
    if status.pause_reason:
        destinations.pause(connection, destination.name, now, status.pause_reason)
        log.error("%s: %s", destination.name, status.pause_reason)
