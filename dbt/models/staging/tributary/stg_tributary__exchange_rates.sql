with

exchange_rates as (
    select * from {{ ref('base_app__exchange_rates') }}
),

sound as (
    select
        base,
        quote,
        rate,
        rate_date
    from exchange_rates
    where mistake is null and version_count = 1
)

select * from sound
