with

source as (
    select * from {{ source('tributary', 'ad_accounts') }}
),

renamed as (
    select
        platform,
        account_id,
        brand_id,
        is_active,
        updated_at
    from source
)

select * from renamed
