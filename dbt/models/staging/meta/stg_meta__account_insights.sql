with

source as (
    select * from {{ source('meta', 'meta_account_insights') }}
),

renamed as (
    select
        account_id,
        {{ meta_currency('account_currency') }} as currency,
        coalesce({{ meta_number('spend') }}, 0) as spend,
        {{ meta_count('impressions') }} as impressions,
        {{ meta_count('clicks') }} as clicks,
        date,
        extracted_at
    from source
)

select * from renamed
