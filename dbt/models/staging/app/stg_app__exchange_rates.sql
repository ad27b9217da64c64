with

exchange_rates as (
    select * from {{ ref('base_app__exchange_rates') }}
),

without_problems as (
    select
        base,
        quote,
        rate,
        rate_date
    from exchange_rates
    where problem is null
)

select * from without_problems
