-- What came back for each unit of spend, by campaign, in the last 30 days that have data?
with

performance as (
    select * from {{ ref('campaign_performance') }}
    where
        model = '{{ attribution_setting("attribution_default_model") }}'
        and date > (select max(newest.date) from {{ ref('ad_spend') }} as newest) - 30
),

campaigns as (
    select * from {{ ref('ad_campaigns') }}
),

summed as (
    select
        performance.brand_slug,
        campaigns.name as campaign,
        performance.reporting_currency,
        sum(performance.reporting_spend) as spend,
        sum(performance.reporting_attributed_value) as attributed_value,
        sum(performance.reporting_attributed_value) / nullif(sum(performance.reporting_spend), 0)
            as roas
    from performance
    inner join campaigns on performance.campaign_id = campaigns.id
    group by 1, 2, 3
)

select * from summed
order by 1 asc, 4 desc
