{#- The delivery state of the conversions of the purchases that are due, by platform. -#}
with

purchases as (
    select * from {{ ref('int_purchases_due') }}
),

conversion_events as (
    select * from {{ ref('stg_tributary__conversion_events') }}
    where kind = 'conversion' and transaction_id is not null
),

brands as (
    select * from {{ ref('stg_tributary__brands') }}
),

conversion_deliveries as (
    select * from {{ ref('stg_tributary__conversion_deliveries') }}
),

destinations as (
    select * from {{ ref('stg_tributary__destinations') }}
),

-- A purchase may have several events; the one that is named Purchase goes first.
events as (
    select distinct on (brands.brand_slug, conversion_events.transaction_id)
        conversion_events.event_id,
        brands.brand_slug,
        conversion_events.transaction_id,
        conversion_events.event_name
    from conversion_events
    inner join brands on conversion_events.brand_id = brands.brand_id
    inner join purchases
        on
            brands.brand_slug = purchases.brand_slug
            and conversion_events.transaction_id = purchases.transaction_id
    order by
        brands.brand_slug asc,
        conversion_events.transaction_id asc,
        (conversion_events.event_name = 'Purchase') desc,
        conversion_events.created_at asc,
        conversion_events.event_id asc
),

-- A platform is named after its company, the first word of its destinations' platform: google_ads
-- and google_data_manager are Google's.
ranked as (
    select
        events.event_id,
        events.brand_slug,
        events.transaction_id,
        events.event_name,
        conversion_deliveries.destination,
        split_part(destinations.destination_platform, '_', 1) as platform,
        conversion_deliveries.sync_status,
        conversion_deliveries.outcome,
        conversion_deliveries.synced_at,
        array_position(
            array['dead', 'failed', 'queued', 'pending', 'sent', 'skipped'],
            conversion_deliveries.sync_status
        ) as urgency
    from events
    left join conversion_deliveries on events.event_id = conversion_deliveries.event_id
    left join destinations
        on conversion_deliveries.destination = destinations.destination
),

-- Of several destinations on a platform the most urgent one counts: jsonb keeps the last of equal
-- keys.
gathered as (
    select
        brand_slug,
        transaction_id,
        event_name,
        jsonb_object_agg(
            platform,
            jsonb_build_object('status', sync_status, 'outcome', outcome)
            order by urgency desc, destination desc
        ) filter (where platform is not null) as platforms,
        jsonb_object_agg(
            destination,
            jsonb_build_object(
                'platform', platform,
                'status', sync_status,
                'outcome', outcome,
                'synced_at', synced_at
            )
        ) filter (where destination is not null) as deliveries
    from ranked
    group by brand_slug, transaction_id, event_name
)

select * from gathered
