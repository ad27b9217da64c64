-- Revenue that is missing from sums in the reporting currency, because no rate is known.
{{ config(severity='warn') }}

with

credits as (
    select * from {{ ref('ad_attribution_credits') }}
    where model = '{{ attribution_setting("attribution_default_model") }}'
),

brands as (
    select * from {{ ref('stg_tributary__brands') }}
),

exchange_rates as (
    select * from {{ ref('int_exchange_rates_daily') }}
),

unpriced as (
    select
        credits.brand_slug,
        credits.currency,
        brands.reporting_currency,
        count(*) as purchase_count,
        min(credits.date) as first_date,
        max(credits.date) as last_date
    from credits
    inner join brands on credits.brand_slug = brands.brand_slug
    left join exchange_rates
        on
            credits.currency = exchange_rates.base
            and upper(brands.reporting_currency) = exchange_rates.quote
            and credits.date = exchange_rates.date
    where
        credits.currency is distinct from upper(brands.reporting_currency)
        and exchange_rates.rate is null
    group by credits.brand_slug, credits.currency, brands.reporting_currency
)

select * from unpriced
