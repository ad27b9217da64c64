"""The user's own transactions as events: what is not yet in the outbox, and refunds of what is.

No watermark: rows of a view may appear late, and their `updated_at` is not to be trusted. Every
run compares all confirmed transactions of the widest window that a destination takes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import psycopg

from include import warehouse
from include.conversions import destinations, intake, policies
from include.conversions.outbox import Clock, now_of
from include.errors import WarehouseError

log = logging.getLogger(__name__)

_CHUNK = 5_000
_MANY = 10_000
_TOUCHES = timedelta(days=90)  # how long Meta and Google keep a click


def enqueue(
    uri: str, *, brand: str | None = None, clock: Clock = now_of
) -> dict[str, dict[str, int]]:
    """Hand new transactions and refunds of every brand with an active destination to intake.

    Returns:
        By brand: `accepted`, `duplicate`, `refused` (with a warning in the log that tells why),
        `adjustments`.

    Raises:
        WarehouseError: a brand's rows cannot be read or stored; the other brands' are.
    """
    done = {}
    failed = []
    with warehouse.connect(uri, autocommit=True) as writing:
        now = clock(writing)
        for slug, known in intake.brands(writing).items():
            if brand not in (None, slug):
                continue
            active = [one for one in destinations.load(writing, now, brand=slug) if one.is_active]
            since = now - policies.widest_window({one.platform for one in active})
            counts: Counter[str] = Counter()
            try:
                if active:
                    new = _new_transactions(uri, known, since, now)
                    counts.update(_take(writing, known, new, now))
                    refunds = _take(writing, known, _adjustments(uri, known, since, now), now)
                    counts["adjustments"] = refunds["accepted"]
            except (WarehouseError, psycopg.Error) as error:
                # A user's own view may break for one brand; its message may quote a row.
                failed.append(slug)
                log.error("%s: its transactions cannot be read: %s", slug, _told(error))
            if counts["accepted"] >= _MANY:  # or the next comparison would be planned for few
                writing.execute("analyze ops.conversion_events, ops.conversion_deliveries")
            done[slug] = dict(counts)
    if failed:
        raise WarehouseError(
            f"Transactions of {', '.join(failed)} could not be put into the outbox; see above. "
            "Those of the other brands were."
        )
    return done


def _told(error: Exception) -> str:
    if isinstance(error, WarehouseError):
        return str(error)
    return f"{type(error).__name__} {getattr(error, 'sqlstate', None) or ''}".rstrip()


def _take(
    connection: warehouse.Connection, brand: intake.Brand, raws: Iterator[intake.Raw], now: datetime
) -> Counter[str]:
    counts: Counter[str] = Counter(accepted=0, duplicate=0, refused=0)
    reasons: Counter[str] = Counter()
    while chunk := list(islice(raws, _CHUNK)):
        receipts = intake.take(
            connection, brand, chunk, source="transactions", now=now, internal=True
        )
        counts.update(intake.counted(receipts))
        reasons.update(receipt.reason for receipt in receipts if receipt.reason)
    for reason, number in reasons.most_common():
        log.warning("%s: %d transactions were refused: %s", brand.slug, number, reason)
    return counts


def _new_transactions(
    uri: str, brand: intake.Brand, since: datetime, now: datetime
) -> Iterator[intake.Raw]:
    for row in _rows(uri, _NEW, {"brand": brand.id, "slug": brand.slug, "since": since,
                                 "now": now, "touches": _TOUCHES}):  # fmt: skip
        yield {"event_name": "Purchase", **row}


def _adjustments(
    uri: str, brand: intake.Brand, since: datetime, now: datetime
) -> Iterator[intake.Raw]:
    """Transactions whose value is not (or no longer) what was last recorded of it."""
    for row in _rows(uri, _CHANGED, {"brand": brand.id, "slug": brand.slug, "since": since,
                                     "now": now}):  # fmt: skip
        yield {"kind": "adjustment", **row}


def _rows(uri: str, query: str, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a query through a cursor on the server: memory stays bounded."""
    with warehouse.connect(uri) as reading, reading.cursor("rows") as cursor:
        cursor.itersize = _CHUNK
        cursor.execute(query, given)
        yield from cursor


# A touchpoint's ip or user agent never stands in for the purchase's.
_NEW = """
with wanted as materialized (
    select t.* from app.transactions as t
    where t.brand_slug = %(slug)s and t.status in ('completed', 'refunded')
        and t.transacted_at >= %(since)s and t.transacted_at <= %(now)s
        and not exists (
            select 1 from ops.conversion_events as e
            where e.brand_id = %(brand)s and e.transaction_id = t.transaction_id
                and e.event_name = 'Purchase' and e.kind = 'conversion'
        )
), seen as (
    select w.transaction_id, p.touched_at, p.fbc, p.fbclid, p.fbp, p.ad_id,
        p.gclid, p.gbraid, p.wbraid,
        min(p.touched_at) over (partition by w.transaction_id, p.fbclid) as fbclid_seen_at
    from wanted as w inner join app.touchpoints as p
        on p.brand_slug = w.brand_slug and p.profile_id = w.profile_id
        and p.touched_at <= w.transacted_at and p.touched_at > w.transacted_at - %(touches)s
), touches as (
    select transaction_id,
        (array_agg(fbc order by touched_at desc)
            filter (where fbc is not null or fbclid is not null))[1] as fbc,
        (array_agg(fbclid order by touched_at desc)
            filter (where fbc is not null or fbclid is not null))[1] as fbclid,
        (array_agg(fbclid_seen_at order by touched_at desc)
            filter (where fbc is not null or fbclid is not null))[1] as fbclid_seen_at,
        (array_agg(fbp order by touched_at desc) filter (where fbp is not null))[1] as fbp,
        (array_agg(ad_id order by touched_at desc) filter (where ad_id is not null))[1] as ad_id,
        (array_agg(gclid order by touched_at desc) filter (where gclid is not null))[1] as gclid,
        (array_agg(gbraid order by touched_at desc) filter (where gbraid is not null))[1] as gbraid,
        (array_agg(wbraid order by touched_at desc) filter (where wbraid is not null))[1] as wbraid
    from seen group by transaction_id
)
select w.transaction_id, w.amount as value, w.currency, w.transacted_at as event_time,
    w.event_id, w.action_source, w.event_source_url, w.ip, w.user_agent,
    w.profile_id as contact_id, coalesce(w.fbp, t.fbp) as fbp, coalesce(w.fbc, t.fbc) as fbc,
    t.fbclid, t.fbclid_seen_at, t.ad_id, t.gclid, t.gbraid, t.wbraid,
    p.email, p.phone, p.first_name, p.last_name, p.city, p.state, p.zip, p.country, p.gender,
    p.date_of_birth, p.external_id, p.consent_ad_user_data, p.consent_ad_personalization
from wanted as w
left join touches as t using (transaction_id)
left join app.profiles as p on p.profile_id = w.profile_id and p.brand_slug = w.brand_slug
"""

# The original's own hashes go along: Google asks for the same identifiers. Each revision is later
# than the one before it: Google drops a second one of the same moment.
_CHANGED = """
select e.event_name, e.event_id, e.id as adjusts, e.transaction_id, t.currency,
    coalesce(a.revision, 0) + 1 as revision, n.value, e.contact_id, e.action_source,
    greatest(
        least(coalesce(t.refunded_at, t.updated_at, %(now)s), %(now)s),
        coalesce(a.event_time, e.event_time) + interval '1 second'
    ) as event_time, e.event_time as adjusts_time,
    e.gclid, e.gbraid, e.wbraid, e.event_source_url, e.is_test,
    e.user_hashes, e.google_address, e.consent
from ops.conversion_events as e
inner join (
    select distinct on (transaction_id) * from app.transactions
    where brand_slug = %(slug)s and status in ('completed', 'refunded', 'cancelled')
    order by transaction_id, updated_at desc nulls last, amount desc
) as t on t.transaction_id = e.transaction_id and upper(t.currency) = e.currency
cross join lateral (
    select greatest(t.amount - coalesce(
        case when t.status = 'cancelled' then t.amount end, t.refunded_amount,
        case when t.status = 'refunded' then t.amount else 0 end
    ), 0) as value
) as n
left join lateral (
    select a.revision, a.event_value, a.event_time from ops.conversion_events as a
    where a.adjusts = e.id and a.kind = 'adjustment' order by a.revision desc limit 1
) as a on true
where e.brand_id = %(brand)s and e.kind = 'conversion' and e.event_name = 'Purchase'
    and e.erased_at is null and e.event_time >= %(since)s
    and n.value <> coalesce(a.event_value, e.event_value)
"""
