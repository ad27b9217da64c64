"""What may be kept no longer goes, whatever is paused: people's addresses, browsers and payloads.

No upload ends the deliveries of a paused destination: what a platform takes no longer becomes
`dead / expired` here as well.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tributary.deliver import destinations, outbox
from tributary.platforms import registry
from tributary.warehouse import Connection

_PAYLOADS_KEPT = timedelta(days=7)
# What waits for its payment: those of delayed methods take up to 14 days.
# https://docs.stripe.com/payments/payment-methods#payment-notification
_WAITING_KEPT = timedelta(days=30)
_AUDIT_KEPT = timedelta(days=400)  # a year, and what a yearly look at it takes


def enforce(connection: Connection, now: datetime) -> dict[str, int]:
    """End what has run out, at every destination, and forget what nothing needs any more.

    Args:
        connection: autocommit; each step is a transaction of its own.

    Returns:
        Rows by what was done: `expired`, `outcome_unknown` and `inactive` deliveries, `people`
        (events without IP and user agent from now on), `payloads`, `audit` (of the edge's log).
    """
    ended = dict.fromkeys(("expired", "outcome_unknown"), 0)
    for one in destinations.load(connection, now):
        window = registry.platform(one.platform).dedup_window
        swept = outbox.Outbox(
            connection, one.name, dedup_window=window, clock=lambda _: now
        ).sweep()
        for what in ended:
            ended[what] += swept[what]
    return {
        **ended,
        "inactive": outbox.retire(connection, now),
        "people": forget_people(connection, now),
        "payloads": forget_payloads(connection, now),
        "audit": forget_audit(connection, now),
    }


def forget_people(connection: Connection, now: datetime) -> int:
    """Clear IP and user agent of events whose deliveries have all ended.

    One that a person may yet bring back has ended when the platform would not take it either.
    """
    return connection.execute(
        "update ops.conversion_events as e set user_ip = null, user_agent = null, "
        "updated_at = %(now)s "
        "where (e.user_ip is not null or e.user_agent is not null) and not exists ("
        "select 1 from ops.conversion_deliveries as d where d.event = e.id "
        "and (d.sync_status in ('pending', 'queued', 'failed') "
        "or (d.deadline > %(now)s and (d.sync_status = 'dead' "
        "or d.outcome in ('inactive', 'before_send_from', 'cancelled')))))",
        {"now": now},
    ).rowcount


def forget_payloads(connection: Connection, now: datetime) -> int:
    """Drop what webhooks brought after seven days, what waits for its payment after thirty."""
    return connection.execute(
        "delete from ops.webhook_payloads where received_at < %s "
        "and (status <> 'waiting' or received_at < %s)",
        [now - _PAYLOADS_KEPT, now - _WAITING_KEPT],
    ).rowcount


def forget_audit(connection: Connection, now: datetime) -> int:
    """Drop what the edge's audit log has of changes more than 400 days ago."""
    return connection.execute(
        "delete from ops.audit_log where at < %s", [now - _AUDIT_KEPT]
    ).rowcount
