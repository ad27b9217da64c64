"""The outbox: deliveries are claimed under a lease, and settled in one transaction.

A worker that dies does so between two commits: its lease ends and the delivery is due again. A
request that may have been carried out leaves `unknown_since` behind: while the platform still
drops duplicates the same event is sent again, afterwards it is `dead / outcome_unknown`.

Times are the warehouse's own, so that workers with wrong clocks agree; tests give a virtual one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, cast
from uuid import UUID, uuid4

import orjson
from psycopg.types.json import Jsonb, set_json_loads

from tributary.deliver import destinations
from tributary.errors import WarehouseError
from tributary.event import CLAIMED, Event
from tributary.platforms import registry
from tributary.platforms.base import Answer, Quota, QuotaReached, Verdict
from tributary.warehouse import Connection

LEASE = timedelta(minutes=10)  # longer than all tries of one request take together
VERDICTS = 5
_FIRST_DELAY = timedelta(minutes=5)  # then 20, 80, 320 minutes
_LATELY = timedelta(days=7)  # longer than five verdicts take, also of a daily upload


class ClaimedEvent(Event, total=False):
    """An event as a claim reads it: with its delivery, the person's profile, and its adjustments.

    `original_*` are of the delivery of the event that it adjusts, to the same destination.
    """

    sync_attempts: int
    unknown_since: datetime | None
    came_at: datetime  # when the delivery was created
    ad_user_data: bool | None  # the answers of the profile today
    ad_personalization: bool | None
    country: str | None
    original_status: str | None
    original_outcome: str | None
    original_synced_at: datetime
    original_state: str | None  # of the request that held it
    is_superseded: bool | None
    is_underway: bool | None


class LeaseLost(WarehouseError):
    """Another worker has leased these deliveries since; their results are not written."""


@dataclass
class Batch:
    """Deliveries that are leased to us, to leave in one request."""

    id: UUID  # of the request's row in `ops.upload_batches`
    events: Sequence[ClaimedEvent]
    is_used: bool = True  # whether that row is of a request already made

    @property
    def ids(self) -> list[UUID]:
        """Of the events."""
        return [event["id"] for event in self.events]


def now_of(connection: Connection) -> datetime:
    """The warehouse's time."""
    row = connection.execute("select clock_timestamp() as now").fetchone()
    assert row is not None
    return row["now"]  # type: ignore[no-any-return]


Clock = Callable[[Connection], datetime]
Judge = Callable[[ClaimedEvent], Verdict | None]


def count_call(connection: Connection, quota: Quota, now: datetime) -> None:
    """Count a request that is about to leave, in the transaction of the connection.

    Raises:
        QuotaReached: it must not leave yet; the error says for how many seconds.
    """
    named = {
        "project": quota.project,
        "at": now.replace(microsecond=0),
        "minute": now - timedelta(seconds=60),
        "day": now - timedelta(days=1),
        "lock": f"quota|{quota.project}",
    }
    connection.execute("select pg_advisory_xact_lock(hashtextextended(%(lock)s, 0))", named)
    connection.execute(
        "delete from ops.platform_calls where project = %(project)s and at <= %(day)s", named
    )
    used = connection.execute(
        "select coalesce(sum(calls), 0)::int as day, min(at) as day_began, "
        "coalesce(sum(calls) filter (where at > %(minute)s), 0)::int as minute, "
        "min(at) filter (where at > %(minute)s) as minute_began "
        "from ops.platform_calls where project = %(project)s",
        named,
    ).fetchone()
    assert used is not None
    for number, allowed, began, length in (
        (used["day"], quota.per_day, used["day_began"], timedelta(days=1)),
        (used["minute"], quota.per_minute, used["minute_began"], timedelta(seconds=60)),
    ):
        if number >= allowed:
            # A second is counted as a whole: it may have begun just before it ended.
            wait = (began + length - now).total_seconds() + 1
            raise QuotaReached(quota.project, max(1.0, wait))
    connection.execute(
        "insert into ops.platform_calls as c (project, at, calls) values (%(project)s, %(at)s, 1) "
        "on conflict (project, at) do update set calls = c.calls + 1",
        named,
    )


class Outbox:
    """One destination's deliveries over one autocommit connection.

    Args:
        dedup_window: how long the platform drops duplicates; None: for ever.
        quota: what every request is counted against before it leaves.
        one_by_one: claims of the destination wait for each other, so that an adjustment and its
            successor are never claimed at the same moment.
        settings: the destination's, as they are stored while the caller sends: nothing is claimed
            once they are others, since an event whose answer gets lost would go elsewhere at its
            next try.
    """

    def __init__(
        self,
        connection: Connection,
        destination: str,
        *,
        dedup_window: timedelta | None,
        run_id: str | None = None,
        clock: Clock = now_of,
        quota: Quota | None = None,
        one_by_one: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        set_json_loads(orjson.loads, connection)
        self.connection = connection
        self._destination = destination
        self._dedup_window = dedup_window
        self._run_id = run_id
        self._clock = clock
        self._quota, self._one_by_one = quota, one_by_one
        self._settings = None if settings is None else Jsonb(dict(settings))

    def now(self) -> datetime:
        """The time that counts."""
        return self._clock(self.connection)

    def sweep(self) -> dict[str, int]:
        """Take back expired leases and end what the platform takes no longer.

        Returns:
            Deliveries by what was done: `lost_lease`, `outcome_unknown`, `expired`.
        """
        named = {"destination": self._destination, "now": self.now()}
        with self.connection.transaction():
            lost = self.connection.execute(
                "update ops.conversion_deliveries set sync_status = "
                "case when sync_attempts > 0 then 'failed' else 'pending' end, "
                "lease_until = null, updated_at = %(now)s "
                "where destination = %(destination)s and sync_status = 'queued' "
                "and lease_until <= %(now)s returning batch_id",
                named,
            ).fetchall()
            self.connection.execute(
                "update ops.upload_batches set ended_at = %(now)s, error_code = 'lease_lost' "
                "where id = any(%(ids)s) and ended_at is null",
                {**named, "ids": list({row["batch_id"] for row in lost})},
            )
            unknown = self.connection.execute(
                "update ops.conversion_deliveries set sync_status = 'dead', "
                "outcome = 'outcome_unknown', updated_at = %(now)s, sync_error = "
                "'A request went out and no answer came; to send it again now could count twice.' "
                "where destination = %(destination)s and sync_status in ('pending', 'failed') "
                "and unknown_since <= %(now)s - %(window)s::interval",
                {**named, "window": self._dedup_window},
            ).rowcount
            expired = self.connection.execute(
                "update ops.conversion_deliveries set sync_status = 'dead', outcome = "
                "case when unknown_since is null then 'expired' else 'outcome_unknown' end, "
                "updated_at = %(now)s, sync_error = coalesce(sync_error, "
                "'It waited until the platform takes it no longer.') "
                "where destination = %(destination)s and sync_status in ('pending', 'failed') "
                "and deadline <= %(now)s",
                named,
            ).rowcount
        return {"lost_lease": len(lost), "outcome_unknown": unknown, "expired": expired}

    def claim(
        self, limit: int, judge: Judge, *, tried: bool = False
    ) -> tuple[Batch | None, list[Verdict]]:
        """Lease the deliveries whose deadline is nearest, commit the request's row, then return.

        All of them have the same `batch_key`: that of the delivery which is due first.

        Args:
            tried: those that have a verdict against them, instead of those that have none.
            judge: says of an event that it is not sent (its consent was withdrawn, it is known to
                be refused); such deliveries are settled at once.

        Returns:
            The batch, None when nothing is due or the destination is paused or inactive, and the
            verdicts of those settled at once.

        Raises:
            QuotaReached: no request may leave yet; nothing was claimed.
        """
        now = self.now()
        with self.connection.transaction():
            if self._one_by_one:
                self.connection.execute(
                    "select pg_advisory_xact_lock(hashtextextended(%s, 0))",
                    [f"claim|{self._destination}"],
                )
            if not self._is_open(now):
                return None, []
            due = self.connection.execute(
                _DUE,
                {"destination": self._destination, "now": now, "limit": limit, "tried": tried},
            ).fetchall()
            if not due:
                return None, []
            # In a statement of its own: it sees what changed until the deliveries were locked.
            events = _distinct(
                cast(
                    Iterable[ClaimedEvent],
                    self.connection.execute(
                        _EVENTS,
                        {"destination": self._destination, "ids": [row["event"] for row in due]},
                    ),
                )
            )
            judged = [(event, judge(event)) for event in events]
            ended = [(event["id"], verdict) for event, verdict in judged if verdict]
            leaving = [event for event, verdict in judged if verdict is None]
            batch = Batch(uuid4(), leaving, is_used=False)
            if leaving and self._quota:
                count_call(self.connection, self._quota, now)
            self._insert(batch, None, now)
            self.connection.execute(
                "update ops.conversion_deliveries set sync_status = 'queued', batch_id = %s, "
                "lease_until = %s, unknown_since = coalesce(unknown_since, %s), updated_at = %s "
                "where destination = %s and event = any(%s)",
                [batch.id, now + LEASE, now, now, self._destination, [e["id"] for e in events]],
            )
            if ended:
                restored = Batch(batch.id, [event for event, verdict in judged if verdict])
                self._settle(restored, dict(ended), now)
            if not leaving:
                self.connection.execute(
                    "update ops.upload_batches set ended_at = %s where id = %s", [now, batch.id]
                )
        return batch, [verdict for _, verdict in ended]

    def took_since(self, moment: datetime) -> bool:
        """Whether the platform has taken a request since that moment, within the last week."""
        found = self.connection.execute(
            "select 1 from ops.upload_batches where destination = %s and started_at >= %s "
            "and http_status = 200 and error_code is null limit 1",
            [self._destination, max(moment, self.now() - _LATELY)],
        )
        return found.fetchone() is not None

    def _is_open(self, now: datetime) -> bool:
        """Whether the destination has not been paused, deactivated or changed meanwhile."""
        found = self.connection.execute(
            "select 1 from ops.destinations where name = %s and is_active "
            "and (paused_until is null or paused_until <= %s) "
            "and coalesce(settings = %s, true) for key share",
            [self._destination, now, self._settings],
        )
        return found.fetchone() is not None

    def part(self, batch: Batch) -> Batch:
        """The same deliveries (all or some of the batch's row) in a new request.

        Raises:
            LeaseLost: another worker has leased them since.
            QuotaReached: no request may leave yet; nothing has changed.
        """
        now = self.now()
        part = Batch(uuid4(), batch.events, is_used=False)
        with self.connection.transaction():
            if self._quota:
                count_call(self.connection, self._quota, now)
            self._insert(part, batch.id, now)
            moved = self.connection.execute(
                "update ops.conversion_deliveries set batch_id = %s, lease_until = %s "
                "where destination = %s and event = any(%s) and batch_id = %s "
                "and sync_status = 'queued'",
                [part.id, now + LEASE, self._destination, part.ids, batch.id],
            ).rowcount
            if moved != len(part.ids):
                raise LeaseLost("The lease of a batch ended before its work did.")
        return part

    def end(self, batch: Batch, answer: Answer) -> None:
        """Note how a request ended whose deliveries go on in another one."""
        self._end(batch, answer, self.now())

    def settle(
        self, batch: Batch, verdicts: Mapping[UUID, Verdict] | Verdict, answer: Answer
    ) -> None:
        """Write the new state of a batch's deliveries, all in one transaction.

        Args:
            verdicts: one for all, or one per event.

        Raises:
            LeaseLost: another worker has leased some since; nothing was written for those.
        """
        if isinstance(verdicts, Verdict):
            verdicts = dict.fromkeys(batch.ids, verdicts)
        now = self.now()
        with self.connection.transaction():
            self._end(batch, answer, now)
            settled = self._settle(batch, verdicts, now)
        if settled != len(verdicts):
            raise LeaseLost("The lease of a batch ended before its answer came.")

    def _insert(self, batch: Batch, parent: UUID | None, now: datetime) -> None:
        self.connection.execute(
            "insert into ops.upload_batches "
            "(id, destination, parent, event_count, run_id, started_at) "
            "values (%s, %s, %s, %s, %s, %s)",
            [batch.id, self._destination, parent, len(batch.events), self._run_id, now],
        )

    def _end(self, batch: Batch, answer: Answer, now: datetime) -> None:
        self.connection.execute(
            "update ops.upload_batches set ended_at = %s, http_status = %s, error_code = %s, "
            "request_id = %s, state = %s, poll_at = %s, answer = %s "
            "where id = %s and ended_at is null",
            [
                now,
                answer.http_status,
                answer.error_code,
                answer.request_id,
                answer.poll_after and "PROCESSING",
                answer.poll_after and now + answer.poll_after,
                Jsonb({"warnings": list(answer.warnings)}) if answer.warnings else None,
                batch.id,
            ],
        )

    def _settle(self, batch: Batch, verdicts: Mapping[UUID, Verdict], now: datetime) -> int:
        if not verdicts:  # no event of the batch is left
            return 0
        before = {event["id"]: event for event in batch.events}
        rows = [_settled(before[event], verdict, now) for event, verdict in verdicts.items()]
        columns = list(zip(*rows, strict=True))
        return self.connection.execute(
            _SETTLE,
            [now, *(list(column) for column in columns), self._destination, batch.id],
        ).rowcount


def _settled(event: ClaimedEvent, verdict: Verdict, now: datetime) -> tuple[object, ...]:
    """A delivery's new state, in the order of `_SETTLE`."""
    status, outcome, error = verdict.sync_status, verdict.outcome, verdict.error
    attempts = event["sync_attempts"] + verdict.counts
    next_attempt = now + (verdict.wait or timedelta(0))
    if status == "failed" and verdict.counts:
        if attempts >= VERDICTS:
            status, outcome, error = "dead", "attempts", f"{outcome}: {error}"
        if verdict.wait is None:
            next_attempt += _FIRST_DELAY * 4 ** (attempts - 1) * random.uniform(0.8, 1.2)
    elif status == "failed" and attempts == 0 and not verdict.unknown and verdict.wait is None:
        status, outcome, error = "pending", None, None  # nothing is known against the event
    return (
        event["id"], status, outcome, attempts, next_attempt, verdict.unknown,
        None if status in ("sent", "skipped") else event["unknown_since"],
        now if status == "sent" else None, error and error[:500], verdict.trace_id,
    )  # fmt: skip


def _distinct(rows: Iterable[ClaimedEvent]) -> list[ClaimedEvent]:
    """One row per event: a person who has two profiles has said no when either says no."""
    events: dict[UUID, ClaimedEvent] = {}
    for row in rows:
        known = events.setdefault(row["id"], row)
        for key in _PROFILE_ANSWERS:
            if row[key] is False or known[key] is None:
                known[key] = row[key]
    return list(events.values())


_PROFILE_ANSWERS: tuple[Literal["ad_user_data", "ad_personalization"], ...] = (
    "ad_user_data", "ad_personalization",
)  # fmt: skip

_DUE = """
select event from ops.conversion_deliveries
where destination = %(destination)s and sync_status in ('pending', 'failed')
    and next_attempt_at <= %(now)s and (sync_attempts > 0) = %(tried)s and batch_key = (
        select batch_key from ops.conversion_deliveries
        where destination = %(destination)s and sync_status in ('pending', 'failed')
            and next_attempt_at <= %(now)s and (sync_attempts > 0) = %(tried)s
        order by deadline limit 1
    )
order by deadline limit %(limit)s for update skip locked
"""

_CLAIMED = ", ".join(f"e.{name}" for name in CLAIMED if name not in ("event_value", "currency"))
# A purchase that no request has held is sent with the value and currency of its newest adjustment;
# destinations that have it already get the adjustment itself.
_EVENTS = f"""
select {_CLAIMED},
    coalesce(c.event_value, e.event_value) as event_value,
    case when c.event_value is null then e.currency else c.currency end as currency,
    coalesce(c.event_value = 0, false) as is_void,
    due.sync_attempts, due.unknown_since, due.created_at as came_at,
    p.consent_ad_user_data as ad_user_data,
    p.consent_ad_personalization as ad_personalization, p.country,
    o.event_time as adjusts_time, od.sync_status as original_status,
    od.outcome as original_outcome, od.synced_at as original_synced_at,
    ob.state as original_state, n.is_superseded, n.is_underway
from ops.conversion_deliveries as due
inner join ops.conversion_events as e on e.id = due.event
inner join ops.brands as b on b.id = e.brand_id
left join app.profiles as p on p.profile_id = e.contact_id and p.brand_slug = b.slug
left join ops.conversion_events as o on o.id = e.adjusts
left join ops.conversion_deliveries as od
    on od.event = e.adjusts and od.destination = %(destination)s
left join ops.upload_batches as ob on ob.id = od.batch_id
left join lateral (
    select bool_or(a.revision > e.revision) as is_superseded,
        bool_or(ad.sync_status = 'queued') as is_underway
    from ops.conversion_events as a inner join ops.conversion_deliveries as ad
        on ad.event = a.id and ad.destination = %(destination)s
    where a.adjusts = e.adjusts and a.kind = e.kind and a.id <> e.id
) as n on e.adjusts is not null
left join lateral (
    select a.event_value, a.currency from ops.conversion_events as a
    where a.adjusts = e.id and a.kind = 'adjustment' order by a.revision desc limit 1
) as c on due.sync_status = 'pending' and due.unknown_since is null
where due.destination = %(destination)s and due.event = any(%(ids)s)
order by due.deadline
"""

_SETTLE = """
update ops.conversion_deliveries as d set
    sync_status = v.status, outcome = v.outcome, sync_attempts = v.attempts,
    next_attempt_at = v.next_attempt, lease_until = null,
    unknown_since = case when v.unknown then d.unknown_since else v.unknown_before end,
    synced_at = v.synced, sync_error = v.error, platform_trace_id = v.trace_id, updated_at = %s
from unnest(
    %s::uuid[], %s::text[], %s::text[], %s::int[], %s::timestamptz[], %s::bool[],
    %s::timestamptz[], %s::timestamptz[], %s::text[], %s::text[]
) as v (
    event, status, outcome, attempts, next_attempt, unknown, unknown_before, synced, error, trace_id
)
where d.event = v.event and d.destination = %s and d.batch_id = %s and d.sync_status = 'queued'
"""


def retry(
    connection: Connection,
    now: datetime,
    *,
    brand: str | None = None,
    destination: str | None = None,
    outcome: str | None = None,
    since: datetime | None = None,
    statuses: Iterable[str] = ("dead",),
) -> dict[str, int]:
    """Put ended deliveries back: pending, with no verdict counted against them.

    What the platform would no longer take stays as it is. So does what it may have taken so long
    ago that it would count twice; only asking for the outcome `outcome_unknown` takes that risk.

    Args:
        since: only those that ended from this moment on.

    Returns:
        How many were put back, by destination.
    """
    counts: dict[str, int] = {}
    for target in destinations.load(connection, now, brand=brand, name=destination):
        number = connection.execute(
            "update ops.conversion_deliveries set sync_status = 'pending', outcome = null, "
            "sync_attempts = 0, next_attempt_at = %(now)s, sync_error = null, "
            "updated_at = %(now)s, "
            "unknown_since = case when %(risk)s then null else unknown_since end "
            "where destination = %(name)s and %(active)s and sync_status = any(%(statuses)s) "
            "and deadline > %(now)s and (%(outcome)s::text is null or outcome = %(outcome)s) "
            "and (%(risk)s or outcome is distinct from 'outcome_unknown') "
            "and (%(risk)s or unknown_since is null or %(window)s::interval is null "
            "or unknown_since > %(now)s - %(window)s::interval) "
            "and (%(since)s::timestamptz is null or updated_at >= %(since)s)",
            {
                "name": target.name,
                "active": target.is_active,
                "now": now,
                "risk": outcome == "outcome_unknown",
                "window": registry.platform(target.platform).dedup_window,
                "outcome": outcome,
                "since": since,
                "statuses": list(statuses),
            },
        ).rowcount
        if number:
            counts[target.name] = number
    return counts


def backfill(connection: Connection, destination: str, since: datetime, now: datetime) -> int:
    """Send a destination events from before it was configured, on a person's request.

    Events of its brand from `since` on that have no delivery to it get one, and those skipped as
    `before_send_from` become pending; the upload judges each as any other.

    Returns:
        Deliveries added or put back.

    Raises:
        SettingsError: there is no such destination.
    """
    target = replace(destinations.one(connection, destination, now), send_from=since)
    key = registry.platform(target.platform).place_key
    with connection.transaction():
        events = connection.execute(
            "select e.*, o.event_time as adjusts_time from ops.conversion_events as e "
            "left join ops.conversion_events as o on o.id = e.adjusts "
            "where e.brand_id = %(brand)s and e.event_time >= %(since)s and not exists (select 1 "
            "from ops.conversion_deliveries as d where d.event = e.id "
            "and d.destination = %(name)s and d.outcome is distinct from 'before_send_from') "
            # Under another name the same pixel may have it already.
            "and not exists (select 1 from ops.conversion_deliveries as d "
            "inner join ops.destinations as o on o.name = d.destination where d.event = e.id "
            "and o.name <> %(name)s and o.platform = %(platform)s "
            "and o.settings ->> %(key)s = %(value)s "
            "and (d.sync_status in ('sent', 'queued') or d.unknown_since is not null))",
            {
                "brand": target.brand_id,
                "since": since,
                "name": destination,
                "platform": target.platform,
                "key": key,
                "value": key and getattr(target.settings, key),
            },
        ).fetchall()
        states = [destinations.first_state(cast(Event, one), target, now) for one in events]
        added = connection.execute(
            "insert into ops.conversion_deliveries as d (event, destination, sync_status, "
            "outcome, deadline, batch_key, next_attempt_at) "
            "select event, %s, status, outcome, deadline, batch_key, due "
            "from unnest(%s::uuid[], %s::text[], %s::text[], %s::timestamptz[], %s::text[], "
            "%s::timestamptz[]) as v (event, status, outcome, deadline, batch_key, due) "
            "on conflict (event, destination) do update "
            "set sync_status = excluded.sync_status, outcome = excluded.outcome, "
            "next_attempt_at = excluded.next_attempt_at, updated_at = %s "
            "where d.outcome = 'before_send_from'",
            [
                destination,
                [event["id"] for event in events],
                [state.sync_status for state in states],
                [state.outcome for state in states],
                [state.deadline for state in states],
                [state.batch_key for state in states],
                [state.due for state in states],
                now,
            ],
        ).rowcount
        connection.execute(
            "update ops.conversion_events set destinations = array_append(destinations, %s) "
            "where id = any(%s) and %s <> all (destinations)",
            [destination, [event["id"] for event in events], destination],
        )
    return added
