-- What does a purchase cost, by ad set, in the last 30 days that have data?
with

performance as (
    select * from {{ ref('ad_performance') }}
    where
        model = '{{ attribution_setting("attribution_default_model") }}'
        and date > (select max(newest.date) from {{ ref('ad_spend') }} as newest) - 30
),

adsets as (
    select * from {{ ref('ad_adsets') }}
),

summed as (
    select
        performance.brand_slug,
        adsets.name as adset,
        performance.reporting_currency,
        sum(performance.reporting_spend) as spend,
        sum(performance.attributed_conversions) as purchases,
        sum(performance.reporting_spend) / nullif(sum(performance.attributed_conversions), 0)
            as cpa
    from performance
    inner join adsets on performance.adset_id = adsets.id
    group by 1, 2, 3
)

select * from summed
order by 6 asc nulls last
