"""What became of requests whose end a platform tells later, as counts and not by row.

A count is told of the rows wherever it leaves no doubt: when all of a batch share it, or when what
it asks for does no harm to the others of the batch. Else the rows stay `accepted`, and the counts
are kept in `ops.upload_batches.answer`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from psycopg.types.json import Jsonb

from tributary import warehouse
from tributary.deliver import destinations, outbox
from tributary.deliver.destinations import Destination
from tributary.deliver.outbox import Clock, Quota, Verdict, now_of
from tributary.deliver.policies import Action, QuotaReached, action_for, is_throttle
from tributary.deliver.upload import Troubled
from tributary.errors import TributaryError
from tributary.platforms.google.errors import WAITS, Do, GoogleStatusGone, processing
from tributary.warehouse import Connection

log = logging.getLogger(__name__)

_FIRST_STEP = timedelta(minutes=30)  # then 60, 120, …
_LONGEST_STEP = timedelta(hours=12)
_GIVE_UP = timedelta(days=7)  # Google answers for about 50 days; nothing takes as long
_AGAIN = timedelta(hours=6)


class Status(Protocol):
    """What a platform says of a request."""

    @property
    def state(self) -> str:
        """In the platform's words."""

    @property
    def rows(self) -> int:
        """How many events the request had."""

    @property
    def errors(self) -> Mapping[str, int]:
        """Rows by reason."""

    @property
    def warnings(self) -> Mapping[str, int]:
        """Rows by reason."""

    @property
    def has_ended(self) -> bool:
        """Whether it stays so."""


class Client(Protocol):
    """What can be asked for a status."""

    def status(self, request_id: str) -> Status:
        """The status of a request."""


@dataclass
class Summary:
    """What a confirmation found out, in numbers and codes."""

    brand: str
    destination: str
    requests: int = 0  # that were asked about
    open: int = 0  # of those, still under way
    told: Counter[str] = field(default_factory=Counter)  # rows by what became of them
    reasons: Counter[str] = field(default_factory=Counter)  # rows by the platform's reasons
    untold: int = 0  # rows that stay `accepted`, since only counts are known
    held: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For XCom."""
        return {
            **{key: getattr(self, key) for key in _SHOWN},
            "told": dict(self.told),
            "reasons": dict(self.reasons),
        }


_SHOWN = ("brand", "destination", "requests", "open", "untold", "held")


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
    client: Client,
    *,
    quota: Quota | None = None,
    clock: Clock = now_of,
) -> Summary:
    """Ask about every request of a destination that is due, and tell its rows.

    Raises:
        Troubled: the credentials are refused; the destination is paused.
    """
    summary = Summary(destination.brand, destination.name)
    with warehouse.connect(uri, autocommit=True) as connection:
        for request in _due(connection, destination.name, clock(connection)):
            try:
                if quota:
                    with connection.transaction():
                        outbox.count_call(connection, quota, clock(connection))
                status = client.status(request.request_id)
            except GoogleStatusGone as error:
                _close(connection, request, "GONE", {"error": error.label})
                log.error("%s: the status of a request is gone: %s", destination.name, error)
            except TributaryError as error:
                if isinstance(error, QuotaReached) or _is_passing(error):
                    summary.held = str(error)
                    log.warning("%s: %s", destination.name, error)
                    break
                reason, now = str(error), clock(connection)
                destinations.pause(connection, destination.name, now, reason)
                raise Troubled(f"The destination {destination.name} is stopped: {reason}") from None
            else:
                summary.requests += 1
                _note(connection, destination, request, status, clock(connection), summary)
    log.info("%s: %s", destination.name, summary.as_dict())
    return summary


def _is_passing(error: TributaryError) -> bool:
    return action_for(error) in (Action.RETRY, Action.HOLD) or is_throttle(error)


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
    status: Status,
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
            log.error("%s: a request is under way for a week", destination.name)
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
        verdict = told(status.rows, status.errors) if rows else None
        _close(connection, request, status.state, answer)
        if verdict is None:
            summary.untold += len(rows)
        else:
            summary.told[f"{verdict.sync_status}/{verdict.outcome}"] += len(rows)
            _tell(connection, destination.name, [row["event"] for row in rows], verdict, now)
    _alert(connection, destination, status, now)


def told(rows: int, errors: Mapping[str, int]) -> Verdict | None:
    """What a request's counts say of each of its rows; None when they do not say it.

    Where some rows came too early, or failed for a passing reason, the whole batch comes back:
    those that Google has are recognised by their transaction id.
    """
    if not errors:
        return Verdict("sent", "confirmed")
    actions = {processing(reason) for reason in errors}
    if actions & {Do.LATER, Do.AGAIN}:
        reason = next(r for r in errors if processing(r) in (Do.LATER, Do.AGAIN))
        wait = timedelta(seconds=WAITS[Do.LATER]) if Do.LATER in actions else _AGAIN
        return Verdict("failed", reason, "Google could not settle it yet.", wait=wait)
    if sum(errors.values()) != rows:
        return None
    if len(actions) != 1:
        return None
    reason = next(iter(errors)) if len(errors) == 1 else ", ".join(sorted(errors))
    match actions.pop():
        case Do.DUPLICATE:
            return Verdict("sent", "duplicate")
        case Do.UNMATCHED:
            return Verdict("sent", "unmatched")
        case Do.CONSENT:
            return Verdict("skipped", "no_consent", f"Google refuses it: {reason}")
        case Do.PAUSE:
            return Verdict("failed", reason, f"Google refuses it: {reason}", wait=_AGAIN)
        case Do.DEAD:
            return Verdict("dead", reason, f"Google refuses it: {reason}", counts=True)
        case _:
            return Verdict("failed", reason, f"Google refuses it: {reason}", counts=True)


def _tell(
    connection: Connection, destination: str, events: list[UUID], verdict: Verdict, now: datetime
) -> None:
    """Write what became of rows that were `accepted`; a try that counts may be the last one."""
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


def _alert(connection: Connection, destination: Destination, status: Status, now: datetime) -> None:
    """Say aloud what nobody has a rule for, and stop where a person must act."""
    unknown = [reason for reason in status.errors if processing(reason) is Do.UNKNOWN]
    if unknown:
        log.error("%s: reasons that have no rule here: %s", destination.name, unknown)
    stopping = [reason for reason in status.errors if processing(reason) is Do.PAUSE]
    if stopping:
        reason = f"Google could not process events: {', '.join(stopping)}. Set it right in Google "
        reason += "Ads; what is left then goes on by itself."
        destinations.pause(connection, destination.name, now, reason)
        log.error("%s: %s", destination.name, reason)
