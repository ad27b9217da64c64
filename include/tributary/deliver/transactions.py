"""The user's own transactions as events: those not yet in the outbox, and changes of the others.

No watermark: rows of a view may appear late, and their `updated_at` cannot be trusted. Every run
compares all paid transactions of the longest window that a destination takes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import psycopg

from tributary import warehouse
from tributary.deliver import amend, brands, destinations, identity, intake
from tributary.deliver.brands import Brand
from tributary.deliver.outbox import Clock, now_of
from tributary.deliver.reading import Raw
from tributary.errors import WarehouseError
from tributary.event import PERSON, EventRefused

log = logging.getLogger(__name__)

_CHUNK = 5_000
_MANY = 10_000
_WITHOUT_PERSON = "without person"
_CLICKS = ("fbc", "fbclid", "fbp", "gclid", "gbraid", "wbraid")
_TOUCHES = timedelta(days=90)  # how long Meta and Google keep a click


def enqueue(
    uri: str, *, brand: str | None = None, clock: Clock = now_of
) -> dict[str, dict[str, int]]:
    """Hand new transactions and refunds of every brand with an active destination to intake.

    Returns:
        By brand: `accepted`, `duplicate`, `refused` (rows with a mistake and rows that intake
        refuses; a warning in the log gives the reason), `changed` (events that no request had
        held), `adjustments` (of the others).

    Raises:
        WarehouseError: a brand's rows cannot be read or stored; the other brands' rows are stored.
    """
    done = {}
    failed = []
    with warehouse.connect(uri, autocommit=True) as writing:
        now = clock(writing)
        for slug, known in brands.load(writing).items():
            if brand not in (None, slug):
                continue
            active = [one for one in destinations.load(writing, now, brand=slug) if one.is_active]
            since = now - destinations.longest_age(active)
            counts: Counter[str] = Counter()
            try:
                if active:
                    left_out: Counter[str] = Counter()
                    new = _new_transactions(uri, known, since, now, left_out)
                    counts.update(_take(writing, known, new, now))
                    counts["refused"] += _warn_left_out(slug, left_out)
                    changes = _changes(uri, writing, known, since, now, counts)
                    adjusted = _take(writing, known, changes, now)
                    counts["adjustments"] = adjusted["accepted"]
                    counts["refused"] += adjusted["refused"]
                    _reopen(writing, [one.name for one in active], now)
            except (WarehouseError, psycopg.Error) as error:
                # A user's own view may break for one brand; its message may quote a row.
                failed.append(slug)
                log.error("%s: app.transactions cannot be read or stored: %s", slug, _cause(error))
            if counts["accepted"] >= _MANY:  # or the next comparison would be planned for few
                writing.execute("analyze ops.conversion_events, ops.conversion_deliveries")
            done[slug] = dict(counts)
    if failed:
        raise WarehouseError(
            f"The transactions of {', '.join(failed)} could not be read or stored; the errors "
            "above give the cause for each brand. Those of the other brands are in the outbox."
        )
    return done


def _cause(error: Exception) -> str:
    if isinstance(error, WarehouseError):
        return str(error)
    return f"{type(error).__name__} {getattr(error, 'sqlstate', None) or ''}".rstrip()


def _take(
    connection: warehouse.Connection, brand: Brand, raws: Iterator[Raw], now: datetime
) -> Counter[str]:
    counts: Counter[str] = Counter(accepted=0, duplicate=0, refused=0)
    reasons: Counter[str] = Counter()
    while chunk := list(islice(raws, _CHUNK)):
        receipts = intake.take(
            connection, brand, chunk, source="transactions", now=now, internal=True
        )
        counts.update(intake.counted(receipts))
        reasons.update(receipt.reason for receipt in receipts if receipt.reason)
    _warn_refused(brand.slug, reasons)
    return counts


def _warn_refused(slug: str, reasons: Counter[str]) -> None:
    for reason, number in reasons.most_common():
        log.warning("%s: %d transactions were refused: %s", slug, number, reason)


def _new_transactions(
    uri: str, brand: Brand, since: datetime, now: datetime, left_out: Counter[str]
) -> Iterator[Raw]:
    """New transactions without a mistake; the mistakes of the others are counted in `left_out`."""
    for row in _rows(uri, _NEW, {"brand": brand.id, "slug": brand.slug, "since": since,
                                 "now": now, "touches": _TOUCHES}):  # fmt: skip
        problem, is_without_person = row.pop("problem"), row.pop("is_without_person")
        if is_without_person and not any(row[name] for name in _CLICKS):
            problem = "profile_duplicate"  # it waits for the view's repair: nothing else names it
        elif is_without_person:
            left_out[_WITHOUT_PERSON] += 1
        if problem:
            left_out[problem] += 1
        else:
            yield {"event_name": "Purchase", **row}


def _warn_left_out(slug: str, left_out: Counter[str]) -> int:
    """Log a warning for each mistake; returns how many rows were left out."""
    without = left_out.pop(_WITHOUT_PERSON, 0)
    if without:
        log.warning(
            "%s: %d purchases are sent with their click alone, and not again after a repair: "
            "app.profiles has rows of the person that differ; marts.data_problems lists them.",
            slug, without,
        )  # fmt: skip
    for problem, number in left_out.most_common():
        log.warning(
            "%s: %d rows of app.transactions were left out: %s; marts.data_problems lists them.",
            slug, number, problem,
        )  # fmt: skip
    return left_out.total()


def _changes(
    uri: str,
    writing: warehouse.Connection,
    brand: Brand,
    since: datetime,
    now: datetime,
    counts: Counter[str],
) -> Iterator[Raw]:
    """Adjustments for transactions that differ from their newest event.

    Where no request has held the event, the event itself changes, and is counted as `changed`.
    """
    refused: Counter[str] = Counter()
    counts["changed"] = 0
    for row in _rows(uri, _CHANGED, {"brand": brand.id, "slug": brand.slug, "since": since,
                                     "now": now}):  # fmt: skip
        has_left, is_changed, is_void, is_pending = (
            row.pop(name) for name in ("has_left", "is_changed", "is_void", "is_pending")
        )
        if not has_left:
            new = {key: row[key] for key in ("event_name", "transaction_id", "value", "currency")}
            try:
                if amend.correct(writing, brand, row["adjusts"], new, is_void=is_void,
                                 source="transactions", now=now):  # fmt: skip
                    counts["changed"] += 1
                    continue
            except EventRefused as error:
                refused[str(error)] += 1
                continue
        if is_changed and not is_pending:
            yield {"kind": "adjustment", **row}
    _warn_refused(brand.slug, refused)
    counts["refused"] += refused.total()


def _reopen(connection: warehouse.Connection, names: list[str], now: datetime) -> None:
    """Make deliveries `pending` again whose order is no longer cancelled.

    This concerns orders that another destination has received; `_changes` reopens the others.
    """
    connection.execute(_REOPEN, {"names": names, "now": now})


def _rows(uri: str, query: str, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a query through a server-side cursor: memory stays bounded."""
    with warehouse.connect(uri) as reading, reading.cursor("rows") as cursor:
        cursor.itersize = _CHUNK
        cursor.execute(query, given)
        yield from cursor


# Why a row is left out. dbt's `base_app__transactions` has the same rules. A pending order needs no
# time: it is not paid.
_PLACEHOLDERS = ", ".join(f"'{one}'" for one in ("", *identity.PLACEHOLDERS))


def _is_placeholder(column: str) -> str:
    """SQL: whether it is empty, or what a program writes where it has no value."""
    return f"(lower(trim({column})) in ({_PLACEHOLDERS}) or {column} like '%%{{{{%%}}}}%%')"


def _unless_placeholder(column: str) -> str:
    return f"case when not {_is_placeholder(column)} then {column} end"


def _click(name: str) -> str:
    """SQL: a touch's click id, from its landing page's address where its own column is empty."""
    mark, equals = "(?:[?&#;]|%%3F|%%26|%%23)", "(?:=|%%3D)"
    in_url = f"substring(p.landing_url from '(?i){mark}{name}{equals}([A-Za-z0-9_.~-]+)')"
    return f"coalesce({_unless_placeholder('p.' + name)}, {in_url})"


_STATE = "lower(trim(t.status))"
# A view's time without an offset is in the session's zone, as in the marts.
_MOMENT = "coalesce(t.transacted_at, t.updated_at)::timestamptz"
_MISTAKE = f"""
case
    when t.transaction_id is null or {_is_placeholder("t.transaction_id")} then 'key_missing'
    when coalesce({_STATE}, '') not in ('completed', 'pending', 'cancelled', 'refunded')
        then 'status_unknown'
    when not (abs(coalesce(t.amount, 0)::numeric) < 1e13
        and coalesce(t.refunded_amount, 0)::numeric between 0 and 1e13) then 'amount_impossible'
    when {_MOMENT} is null and {_STATE} in ('completed', 'refunded') then 'time_missing'
    when not ({_MOMENT} >= '2000-01-01 00:00:00+00'
        and {_MOMENT} < %(now)s + interval '1 day') then 'time_impossible'
end
"""
# A transaction's value less its refunds, in major units; null where it has no amount. Intake
# refuses a negative one.
_LEFT = f"""
case
    when {_STATE} in ('cancelled', 'pending') then 0
    when t.amount < 0 then t.amount
    when t.amount is not null then greatest(t.amount::numeric - coalesce(
        t.refunded_amount,
        case when {_STATE} = 'refunded' or t.refunded_at is not null then t.amount else 0 end
    )::numeric, 0)
end
"""
# Whether it is no longer a purchase: cancelled, wholly refunded, or no longer paid.
_VOID = f"""(
    {_STATE} in ('cancelled', 'pending')
    or ({_LEFT} = 0 and (
        {_STATE} = 'refunded' or t.refunded_at is not null or coalesce(t.refunded_amount, 0) > 0
    ))
)"""
_CONTENT = """hash_record_extended(row(
    t.profile_id, t.status, t.amount, t.currency, t.transacted_at, t.refunded_amount, t.refunded_at,
    t.updated_at, t.event_id, t.action_source, t.event_source_url, t.ip, t.user_agent, t.fbp, t.fbc
), 0)"""
_PERSON = ", ".join(
    f"case when count(*) = 1 then min(p.{column}) end as {column}" for column in PERSON
)

# A touchpoint's ip or user agent is never used for the purchase's. If a profile is there twice and
# differs, only its refusals of consent are used.
_NEW = f"""
with rows as materialized (
    select t.*, {_MOMENT} as moment, {_MISTAKE} as mistake, {_LEFT} as worth
    from app.transactions as t
    where t.brand_slug = %(slug)s and (
            ({_STATE} in ('completed', 'refunded') and not coalesce({_VOID}, false)
                and {_MOMENT} >= %(since)s and {_MOMENT} <= %(now)s)
            or ({_MISTAKE} is not null and coalesce({_MOMENT}, %(since)s) >= %(since)s)
        )
        and not exists (
            select 1 from ops.conversion_events as e
            where e.brand_id = %(brand)s and e.transaction_id = t.transaction_id
                and e.event_name = 'Purchase' and e.kind = 'conversion'
        )
), versions as (
    select t.transaction_id, min({_CONTENT}) <> max({_CONTENT}) as is_duplicate
    from app.transactions as t
    where t.brand_slug = %(slug)s and {_MISTAKE} is null
        and t.transaction_id in (select transaction_id from rows where mistake is null)
    group by t.transaction_id having count(*) > 1
), judged as materialized (
    select r.*, coalesce(r.mistake, case when v.is_duplicate then 'duplicate' end) as problem,
        case when v.transaction_id is not null and r.mistake is null
            then row_number() over (partition by r.transaction_id, r.mistake) else 1 end as copy
    from rows as r left join versions as v using (transaction_id)
), wanted as materialized (
    select * from judged where problem is null and copy = 1
), seen as (
    select w.transaction_id, p.touched_at,
        {_unless_placeholder("p.fbc")} as fbc, {_click("fbclid")} as fbclid,
        {_unless_placeholder("p.fbp")} as fbp, {_unless_placeholder("p.ad_id")} as ad_id,
        {_click("gclid")} as gclid, {_click("gbraid")} as gbraid, {_click("wbraid")} as wbraid
    from wanted as w inner join app.touchpoints as p
        on p.brand_slug = w.brand_slug and p.profile_id = w.profile_id
        and p.touched_at <= w.moment and p.touched_at > w.moment - %(touches)s
    where not {_is_placeholder("w.profile_id")}
), dated as (
    select *, min(touched_at) over (partition by transaction_id, fbclid) as fbclid_seen_at
    from seen
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
    from dated group by transaction_id
), people as (
    select p.profile_id, count(*) as rows, {_PERSON},
        case when bool_or(not p.consent_ad_user_data) then false
            when count(p.consent_ad_user_data) = count(*) then true end as consent_ad_user_data,
        case when bool_or(not p.consent_ad_personalization) then false
            when count(p.consent_ad_personalization) = count(*) then true
        end as consent_ad_personalization
    from (
        select distinct p.profile_id, {", ".join(f"p.{column}" for column in PERSON)},
            p.consent_ad_user_data, p.consent_ad_personalization
        from app.profiles as p
        where p.brand_slug = %(slug)s and p.profile_id in (select profile_id from wanted)
            and not {_is_placeholder("p.profile_id")}
    ) as p
    group by p.profile_id
)
select w.problem, coalesce(p.rows > 1, false) as is_without_person,
    w.transaction_id, w.worth as value, w.currency,
    case when w.problem is null then w.moment end as event_time,
    w.event_id, w.action_source, w.event_source_url, w.ip, w.user_agent,
    w.profile_id as contact_id, coalesce({_unless_placeholder("w.fbp")}, t.fbp) as fbp,
    coalesce({_unless_placeholder("w.fbc")}, t.fbc) as fbc,
    t.fbclid, t.fbclid_seen_at, t.ad_id, t.gclid, t.gbraid, t.wbraid,
    {", ".join(f"p.{column}" for column in PERSON)},
    p.consent_ad_user_data, p.consent_ad_personalization
from judged as w
left join touches as t on t.transaction_id = w.transaction_id and w.problem is null
left join people as p on p.profile_id = w.profile_id and w.problem is null
where w.problem is not null or w.copy = 1
"""

# An adjustment has its original's hashes: Google requires the same identifiers. Each revision is
# later than the one before it: Google drops a second one of the same time. A transaction whose rows
# differ is left out. An order that is pending again is void only where its event came from
# app.transactions; after an event from another source, the view is merely late.
_CHANGED = f"""
select distinct on (e.id) e.event_name, e.event_id, e.id as adjusts, e.transaction_id,
    case when s.is_void then coalesce(a.currency, e.currency) else s.currency end as currency,
    coalesce(a.revision, 0) + 1 as revision, s.worth as value, e.contact_id, e.action_source,
    greatest(
        least(coalesce(s.refunded_at, s.updated_at, %(now)s), %(now)s),
        coalesce(a.event_time, e.event_time) + interval '1 second'
    ) as event_time, e.event_time as adjusts_time,
    e.gclid, e.gbraid, e.wbraid, e.event_source_url, e.is_test,
    e.user_hashes, e.google_address, e.consent,
    s.is_void, s.state = 'pending' as is_pending, n.is_changed,
    a.revision is not null or exists (
        select 1 from ops.conversion_deliveries as d where d.event = e.id
            and (d.sync_status not in ('pending', 'skipped') or d.unknown_since is not null)
    ) as has_left
from (
    select t.transaction_id, t.currency, t.refunded_at, t.updated_at, {_STATE} as state,
        {_LEFT} as worth, {_VOID} as is_void, {_CONTENT} as content
    from app.transactions as t
    where t.brand_slug = %(slug)s and {_MISTAKE} is null
) as s
-- One probe of the index each, whatever the planner believes of a table that has just grown.
cross join lateral (
    select * from ops.conversion_events as e
    where e.brand_id = %(brand)s and e.transaction_id = s.transaction_id
        and e.event_name = 'Purchase' and e.kind = 'conversion' limit 1
) as e
left join lateral (
    select a.revision, a.event_value, a.currency, a.event_time from ops.conversion_events as a
    where a.adjusts = e.id and a.kind = 'adjustment' order by a.revision desc limit 1
) as a on true
cross join lateral (
    select s.worth <> coalesce(a.event_value, e.event_value)
        or (not s.is_void and upper(trim(s.currency)) <> coalesce(a.currency, e.currency))
    as is_changed
) as n
where e.erased_at is null and e.event_time >= %(since)s
    and (s.state <> 'pending' or e.source = 'transactions')
    and (n.is_changed or (e.event_value = 0 and exists (
        select 1 from ops.conversion_deliveries as d where d.event = e.id
            and case when s.is_void then d.sync_status = 'pending' else d.outcome = 'cancelled' end
    )))
    and not exists (
        select 1 from app.transactions as t
        where t.brand_slug = %(slug)s and t.transaction_id = s.transaction_id
            and {_CONTENT} <> s.content and {_MISTAKE} is null
    )
"""

_REOPEN = """
update ops.conversion_deliveries as d set sync_status = 'pending', outcome = null,
    next_attempt_at = %(now)s, updated_at = %(now)s
where d.destination = any(%(names)s) and d.sync_status = 'skipped' and d.outcome = 'cancelled'
    and d.deadline > %(now)s and (
        select a.event_value from ops.conversion_events as a
        where a.adjusts = d.event and a.kind = 'adjustment' order by a.revision desc limit 1
    ) > 0
"""
