{{ config(materialized='ephemeral') }}

with

source as (
    select * from {{ source('tributary', 'brands') }}
),

renamed as (
    select
        id as brand_id,
        slug as brand_slug,
        name as brand_name,
        reporting_currency,
        time_zone,
        updated_at
    from source
)

select * from renamed
