-- Events that lack a delivery to a destination that was active at their intake, or have one to
-- another destination. That there is no second one is the key of the table, and that a delivery is
-- in one state is its column.
with

conversion_events as (
    select * from {{ ref('stg_tributary__conversion_events') }}
),

conversion_deliveries as (
    select * from {{ ref('stg_tributary__conversion_deliveries') }}
),

wanted as (
    select
        conversion_events.event_id,
        active.destination
    from conversion_events
    cross join
        lateral
        jsonb_array_elements_text(conversion_events.destinations) as active (destination)
),

differing as (
    select
        coalesce(wanted.event_id, conversion_deliveries.event_id) as event_id,
        coalesce(wanted.destination, conversion_deliveries.destination) as destination,
        wanted.event_id is null as is_unwanted,
        conversion_deliveries.sync_status
    from wanted
    full join conversion_deliveries
        on
            wanted.event_id = conversion_deliveries.event_id
            and wanted.destination = conversion_deliveries.destination
    where
        wanted.event_id is null
        or conversion_deliveries.sync_status is null
)

select * from differing
