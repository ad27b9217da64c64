with

source as (
    select * from {{ source('app', 'exchange_rates') }}
),

renamed as (
    select
        upper(base) as base,
        upper(quote) as quote,
        rate::numeric as rate,
        rate_date::date as rate_date
    from source
)

select * from renamed
