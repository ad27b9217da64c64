{{ config(materialized='ephemeral') }}

with

source as (
    select * from {{ source('tributary', 'conversion_events') }}
),

renamed as (
    select
        id as event_id,
        brand_id,
        event_name,
        kind,
        transaction_id,
        contact_id,
        event_value,
        upper(currency) as currency,
        to_jsonb(destinations) as destinations,
        event_time,
        created_at
    from source
)

select * from renamed
