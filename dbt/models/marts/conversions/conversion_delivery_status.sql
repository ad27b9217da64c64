{{ config(materialized='view_in_place') }}

with

conversion_deliveries as (
    select * from {{ ref('stg_tributary__conversion_deliveries') }}
),

conversion_events as (
    select * from {{ ref('stg_tributary__conversion_events') }}
),

destinations as (
    select * from {{ ref('stg_tributary__destinations') }}
),

brands as (
    select * from {{ ref('stg_tributary__brands') }}
),

counted as (
    select
        brands.brand_slug,
        conversion_deliveries.destination,
        destinations.destination_platform as platform,
        (conversion_events.event_time at time zone brands.time_zone)::date as date,
        conversion_deliveries.sync_status,
        conversion_deliveries.outcome,
        conversion_events.currency,
        count(*) as delivery_count,
        sum(conversion_events.event_value) as amount
    from conversion_deliveries
    inner join conversion_events on conversion_deliveries.event_id = conversion_events.event_id
    inner join brands on conversion_events.brand_id = brands.brand_id
    left join destinations on conversion_deliveries.destination = destinations.destination
    group by 1, 2, 3, 4, 5, 6, 7
)

select * from counted
