"""Deletion of personal data whose time is over: IP addresses, user agents, webhook payloads.

It also ends deliveries that a platform no longer takes (`dead / expired`): no upload does it for a
paused destination.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tributary.deliver import destinations, outbox
from tributary.platforms import registry
from tributary.warehouse import Connection, deliveries

_PAYLOADS_KEPT = timedelta(days=7)
# Payloads that wait for their payment: delayed payment methods take up to 14 days.
# https://docs.stripe.com/payments/payment-methods#payment-notification
_WAITING_KEPT = timedelta(days=30)
_AUDIT_KEPT = timedelta(days=400)  # a year, and time for a yearly audit


def enforce(connection: Connection, now: datetime) -> dict[str, int]:
    """End expired deliveries of every destination, and delete data that is no longer needed.

    Args:
        connection: autocommit; each step is its own transaction.

    Returns:
        Numbers of rows: `expired`, `outcome_unknown` and `inactive` deliveries, `people` (events
        whose IP and user agent were cleared), `payloads`, `audit` (entries of the audit log).
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
        "inactive": deliveries.retire(connection, now=now),
        "people": forget_people(connection, now),
        "payloads": forget_payloads(connection, now),
        "audit": forget_audit(connection, now),
    }


def forget_people(connection: Connection, now: datetime) -> int:
    """Clear IP and user agent of events whose deliveries have all ended.

    A delivery that can be put back by hand counts as ended after its deadline.
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
    """Delete webhook payloads after 7 days, those that wait for their payment after 30."""
    return connection.execute(
        "delete from ops.webhook_payloads where received_at < %s "
        "and (status <> 'waiting' or received_at < %s)",
        [now - _PAYLOADS_KEPT, now - _WAITING_KEPT],
    ).rowcount


def forget_audit(connection: Connection, now: datetime) -> int:
    """Delete entries of the REST API's audit log after 400 days."""
    return connection.execute(
        "delete from ops.audit_log where at < %s", [now - _AUDIT_KEPT]
    ).rowcount
