-- Revenue that is missing from sums in the reporting currency, because no rate is known.
{{ config(severity='warn') }}

with

attributions as (
    select * from {{ ref('ad_attributions') }}
),

brands as (
    select * from {{ ref('stg_tributary__brands') }}
),

exchange_rates as (
    select * from {{ ref('int_exchange_rates_daily') }}
),

unpriced as (
    select
        attributions.brand_slug,
        attributions.currency,
        brands.reporting_currency,
        count(*) as purchase_count,
        min(attributions.date) as first_date,
        max(attributions.date) as last_date
    from attributions
    inner join brands on attributions.brand_slug = brands.brand_slug
    left join exchange_rates
        on
            attributions.currency = exchange_rates.base
            and upper(brands.reporting_currency) = exchange_rates.quote
            and attributions.date = exchange_rates.date
    where
        attributions.currency is distinct from upper(brands.reporting_currency)
        and exchange_rates.rate is null
    group by attributions.brand_slug, attributions.currency, brands.reporting_currency
)

select * from unpriced
