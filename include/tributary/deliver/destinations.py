"""Destinations: their settings, whether they are due, and the pauses that protect them.

A pause has a reason in one sentence. It ends after a time: then one request is sent alone, and only
when the platform takes it the others follow. Each failure in a row lengthens the next pause. A
person's pause (until infinity) ends when a person resumes; psycopg cannot read that time, so it
stays in SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from tributary.deliver.consent import consent_of
from tributary.errors import SettingsError
from tributary.event import Event
from tributary.platforms import registry
from tributary.platforms.settings import DestinationSettings
from tributary.settings import models
from tributary.settings.models import Brand
from tributary.warehouse import Connection

_FIRST_HOLD = 60.0
_LONGEST_HOLD = 900.0
_COOL_DOWN = 3600.0  # until credentials and permissions are probed again
_SLACK = timedelta(seconds=30)  # a schedule's runs do not begin on the very second


@dataclass(frozen=True)
class Destination:
    """A row of `ops.destinations`, with its brand."""

    name: str
    platform: str
    conn_id: str
    is_active: bool
    send_from: datetime
    stored: Mapping[str, Any]  # the settings as `ops.destinations` has them
    brand_id: UUID
    brand: str
    brand_settings: Brand
    failures: int = 0
    paused: str | None = None  # until when and why, for people
    had_pause: bool = False  # it has ended, and no request was made since
    last_sync_at: datetime | None = None

    @cached_property
    def settings(self) -> DestinationSettings:
        """As a model of the platform's own, with defaults.

        Raises:
            SettingsError: the platform is unknown.
        """
        return models.destination(self.platform, self.stored)

    @property
    def is_for_tests(self) -> bool:
        """Whether test events may go there."""
        return registry.platform(self.platform).test_mode(self.settings) is not None

    def not_taken(self, event: Event) -> str | None:
        """The outcome of an event whose name or kind is not sent here; None: it is."""
        if event["kind"] not in registry.platform(self.platform).kinds:
            return "not_adjustable" if event["kind"] == "adjustment" else "not_mapped"
        events = self.settings.events
        return None if events is None or event["event_name"] in events else "not_mapped"


class FirstState(NamedTuple):
    """A delivery when it is created."""

    sync_status: str
    outcome: str | None
    deadline: datetime
    batch_key: str
    due: datetime  # not before it happened: platforms refuse what is ahead of their own clock


def first_state(event: Event, destination: Destination, now: datetime) -> FirstState:
    """`pending`, or `skipped` with the reason why the event is rightly not sent.

    Args:
        event: a row of `ops.conversion_events`.

    Raises:
        SettingsError: the destination's platform is unknown.
    """
    platform = registry.platform(destination.platform)
    until = platform.deadline(event)
    outcome = None
    if event.get("erased_at"):
        outcome = "erased"
    elif refusal := destination.not_taken(event):
        outcome = refusal
    elif event["is_test"] and not destination.is_for_tests:
        outcome = "test"
    elif not consent_of(event["consent"], destination.brand_settings).user_data:
        outcome = "no_consent"
    elif not platform.addressable(event):
        outcome = "unaddressable"
    elif event["event_time"] < destination.send_from:
        outcome = "before_send_from"
    elif until <= now:
        outcome = "expired"
    status = "skipped" if outcome else "pending"
    due = max(now, event["event_time"])
    return FirstState(status, outcome, until, platform.batch_key(event), due)


def longest_age(found: Iterable[Destination]) -> timedelta:
    """How old an event may be that any of these destinations still takes."""
    ages = (registry.platform(one.platform).longest_age for one in found)
    return max(ages, default=timedelta(0))


_SELECT = """
select d.name, d.platform, d.conn_id, d.is_active, d.send_from,
    d.settings as stored, d.brand_id,
    b.slug as brand, b.settings as brand_settings, d.failures, d.last_sync_at,
    case when d.paused_until > %(now)s then format('until %%s: %%s', case
        when isfinite(d.paused_until) then
            to_char(d.paused_until at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')
        else 'it is resumed' end, d.paused_reason) end as paused,
    d.paused_until is not null as had_pause
from ops.destinations as d inner join ops.brands as b on b.id = d.brand_id
"""


def load(
    connection: Connection, now: datetime, *, brand: str | None = None, name: str | None = None
) -> list[Destination]:
    """All destinations, or those of a brand (its slug), or one; ordered by name."""
    rows = connection.execute(
        _SELECT + "where (%(brand)s::text is null or b.slug = %(brand)s) "
        "and (%(name)s::text is null or d.name = %(name)s) order by d.name",
        {"now": now, "brand": brand, "name": name},
    )
    return [_destination(row) for row in rows]


def _destination(row: dict[str, Any]) -> Destination:
    return Destination(**{**row, "brand_settings": Brand.of_stored(row["brand_settings"])})


def active_for_intake(connection: Connection, brand_id: UUID, now: datetime) -> list[Destination]:
    """The brand's active destinations, locked against a change until the transaction ends.

    The lock on the brand keeps out an erasure, which must not miss an event of this moment.
    """
    rows = connection.execute(
        _SELECT + "where d.brand_id = %(brand)s and d.is_active order by d.name "
        "for share of d for key share of b",
        {"now": now, "brand": brand_id},
    ).fetchall()
    if not rows:
        connection.execute("select 1 from ops.brands where id = %s for key share", [brand_id])
    return [_destination(row) for row in rows]


def one(connection: Connection, name: str, now: datetime) -> Destination:
    """The destination of that name.

    Raises:
        SettingsError: there is none.
    """
    found = load(connection, now, name=name)
    if not found:
        raise _unknown(name)
    return found[0]


def _unknown(name: str) -> SettingsError:
    return SettingsError(
        f"There is no destination {name!r}: add it to the settings file and apply it with "
        "`tributary configure FILE.yaml`."
    )


def to_upload(
    connection: Connection, now: datetime, *, brand: str | None = None, name: str | None = None
) -> list[Destination]:
    """The destinations of a run: those that are due, or those that were asked for.

    Asking ignores the interval and never a pause; a paused destination that was asked for by name
    is in the list, so that its own task can say why nothing is sent.

    Raises:
        SettingsError: there is no such brand or destination.
    """
    if (
        brand is not None
        and not connection.execute("select 1 from ops.brands where slug = %s", [brand]).fetchone()
    ):
        raise SettingsError(f"There is no brand {brand!r}.")
    if name is not None:
        found = one(connection, name, now)
        if brand not in (None, found.brand):
            raise SettingsError(
                f"The destination {name!r} belongs to the brand {found.brand!r}, not to {brand!r}: "
                "leave the brand out, or name a destination of that brand."
            )
        return [found]
    return [
        one
        for one in load(connection, now, brand=brand)
        if one.is_active and not one.paused and (brand is not None or _due(one, now))
    ]


def _due(destination: Destination, now: datetime) -> bool:
    if destination.platform not in registry.names():
        return True  # its own task reports that
    at = due_at(destination)
    return at is None or at <= now


def due_at(destination: Destination) -> datetime | None:
    """When the destination's interval ends; None: it has not been synced yet."""
    interval = timedelta(minutes=destination.settings.sync_interval_minutes)
    last = destination.last_sync_at
    return None if last is None else last + interval - _SLACK


def next_attempt(connection: Connection, name: str) -> datetime | None:
    """When the first of the destination's waiting deliveries is to be tried; None: none waits."""
    row = connection.execute(
        "select min(next_attempt_at) as at from ops.conversion_deliveries "
        "where destination = %s and sync_status in ('pending', 'failed')",
        [name],
    ).fetchone()
    return row["at"] if row else None


def hold(
    connection: Connection, name: str, now: datetime, reason: str, wait: float | None
) -> float:
    """Leave a destination alone after a throttle or an outage; an earlier pause is kept.

    Args:
        wait: seconds that the platform asked for; None: 60, doubling to 900.

    Returns:
        Seconds until the next request; 0 where there is a pause already.
    """
    row = connection.execute(
        "update ops.destinations set failures = failures + 1, paused_reason = %(reason)s, "
        "paused_until = %(now)s + make_interval(secs => coalesce("
        "%(wait)s, least(%(longest)s, %(first)s * 2 ^ least(failures, 10)))) "
        "where name = %(name)s and (paused_until is null or paused_until <= %(now)s) "
        "returning extract(epoch from paused_until - %(now)s)::float as seconds",
        {
            "name": name,
            "now": now,
            "reason": reason,
            "wait": wait,
            "first": _FIRST_HOLD,
            "longest": _LONGEST_HOLD,
        },
    ).fetchone()
    return 0.0 if row is None else float(row["seconds"])


def pause(connection: Connection, name: str, now: datetime, reason: str) -> float:
    """Stop a destination whose credentials, permissions or settings the platform refuses."""
    return hold(connection, name, now, reason, _COOL_DOWN)


def recovered(connection: Connection, name: str, now: datetime) -> None:
    """The platform takes events again: forget past failures, but keep a pause that goes on."""
    connection.execute(
        "update ops.destinations set failures = 0, paused_until = null, paused_reason = null "
        "where name = %s and (paused_until is null or paused_until <= %s)",
        [name, now],
    )


def stop(connection: Connection, name: str, reason: str) -> None:
    """Leave a destination alone until a person resumes it; nothing else ends this pause.

    Args:
        reason: says who stopped it, and why.

    Raises:
        SettingsError: there is no such destination.
    """
    if not connection.execute(
        "update ops.destinations set paused_until = 'infinity', paused_reason = %s where name = %s",
        [reason, name],
    ).rowcount:
        raise _unknown(name)


def resume(connection: Connection, name: str) -> bool:
    """A person ends a pause, whoever began it; whether there was one.

    Raises:
        SettingsError: there is no such destination.
    """
    with connection.transaction():
        known = connection.execute(
            "select paused_until > now() as paused from ops.destinations where name = %s "
            "for update",
            [name],
        ).fetchone()
        if known is None:
            raise _unknown(name)
        connection.execute(
            "update ops.destinations set failures = 0, paused_until = null, paused_reason = null "
            "where name = %s",
            [name],
        )
    return bool(known["paused"])


def record_sync(connection: Connection, name: str, now: datetime, status: str, count: int) -> None:
    """Store the result of the latest upload, for the page and `status`."""
    connection.execute(
        "update ops.destinations set last_sync_at = %s, last_sync_status = %s, "
        "last_sync_count = %s where name = %s",
        [now, status, count, name],
    )
