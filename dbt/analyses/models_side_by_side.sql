-- What would each campaign have by each model?
with

performance as (
    select * from {{ ref('campaign_performance') }}
),

campaigns as (
    select * from {{ ref('ad_campaigns') }}
),

summed as (
    select
        performance.brand_slug,
        campaigns.name as campaign,
        performance.currency,
        performance.model,
        sum(performance.attributed_conversions) as purchases,
        sum(performance.attributed_value) as revenue
    from performance
    inner join campaigns on performance.campaign_id = campaigns.id
    group by 1, 2, 3, 4
)

select * from summed
order by 1, 2, 3, 4
