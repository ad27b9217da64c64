{{ config(materialized='ephemeral') }}

with

source as (
    select * from {{ source('tributary', 'destinations') }}
),

renamed as (
    select
        name as destination,
        brand_id,
        platform as destination_platform,
        is_active,
        updated_at
    from source
)

select * from renamed
