-- Which ads spent most in the last 30 days without one attributed purchase?
with

performance as (
    select * from {{ ref('ad_performance') }}
    where
        model = '{{ attribution_setting("attribution_default_model") }}'
        and date > (select max(newest.date) from {{ ref('ad_spend') }} as newest) - 30
),

ads as (
    select * from {{ ref('ad_ads') }}
),

summed as (
    select
        performance.brand_slug,
        ads.name as ad,
        ads.effective_status,
        sum(performance.reporting_spend) as spend,
        sum(performance.platform_purchases) as platform_purchases
    from performance
    inner join ads on performance.ad_id = ads.id
    group by 1, 2, 3
    having sum(performance.attributed_conversions) = 0 and sum(performance.spend) > 0
)

select * from summed
order by 4 desc
