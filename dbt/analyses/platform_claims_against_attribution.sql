-- How much more does Meta claim than is attributed, by attribution window?
with

claims as (
    select * from {{ ref('ad_platform_claims') }}
),

summed as (
    select
        brand_slug,
        attribution_window,
        currency,
        sum(platform_purchases) as claimed_purchases,
        sum(attributed_conversions) as attributed_purchases,
        sum(purchases_difference) as difference,
        count(*) filter (where purchases_direction = 'platform_claims_more') as ad_days_more,
        count(*) filter (where purchases_direction = 'platform_claims_less') as ad_days_less
    from claims
    group by 1, 2, 3
)

select * from summed
order by 1, 2
