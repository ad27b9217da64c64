with

source as (
    select * from {{ source('tributary', 'loads') }}
),

renamed as (
    select
        account_id,
        report,
        status as load_status,
        rows as row_count,
        spend,
        impressions,
        account_spend,
        account_impressions,
        date,
        extracted_at,
        loaded_at
    from source
)

select * from renamed
