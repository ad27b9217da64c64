with

source as (
    select * from {{ source('meta', 'meta_ad_accounts') }}
),

renamed as (
    select
        account_id,
        {{ meta_text('name') }} as account_name,
        {{ meta_currency('currency') }} as currency,
        {{ meta_time_zone('timezone_name') }} as time_zone,
        {{ meta_text('account_status') }} as account_status,
        extracted_at
    from source
)

select * from renamed
