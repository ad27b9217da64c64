{{ config(materialized='ephemeral') }}

with

source as (
    select * from {{ source('tributary', 'conversion_deliveries') }}
),

renamed as (
    select
        event as event_id,
        destination,
        sync_status,
        outcome,
        sync_attempts,
        synced_at,
        updated_at
    from source
)

select * from renamed
