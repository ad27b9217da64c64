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
        performance.currency
        {%- for model in attribution_setting('attribution_models') %},
        sum(performance.attributed_value) filter (where performance.model = '{{ model }}')
            as {{ model }}
        {%- endfor %}
    from performance
    inner join campaigns on performance.campaign_id = campaigns.id
    group by 1, 2, 3
)

select * from summed
order by brand_slug, campaign
