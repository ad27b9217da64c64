with

exchange_rates as (
    select * from {{ ref('stg_app__exchange_rates') }}
),

brands as (
    select * from {{ ref('stg_tributary__brands') }}
),

usable as (
    select * from exchange_rates
    where
        base <> quote
        and quote in (select upper(brands.reporting_currency) from brands)
),

succeeded as (
    select
        base,
        quote,
        rate,
        rate_date,
        lead(rate_date) over (partition by base, quote order by rate_date) as next_rate_date
    from usable
),

valid_days as (
    select
        succeeded.base,
        succeeded.quote,
        succeeded.rate,
        succeeded.rate_date,
        calendar_dates.moment::date as date
    from succeeded
    cross join lateral generate_series(
        succeeded.rate_date::timestamp,
        least(
            succeeded.next_rate_date - 1,
            succeeded.rate_date + {{ var('exchange_rate_max_age_days') }}
        )::timestamp,
        interval '1 day'
    ) as calendar_dates (moment)
)

select * from valid_days
