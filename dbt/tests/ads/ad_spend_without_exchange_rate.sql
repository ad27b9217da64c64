-- Days whose spend is missing from sums in the reporting currency, because no rate is known.
{{ config(severity='warn') }}

with

days as (
    select * from {{ ref('int_ad_spend_days') }}
),

unpriced as (
    select
        account_id,
        currency,
        reporting_currency,
        count(*) as day_count,
        min(date) as first_date,
        max(date) as last_date
    from days
    where has_delivery and reporting_currency is not null and exchange_rate is null
    group by account_id, currency, reporting_currency
)

select * from unpriced
