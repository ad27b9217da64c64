-- Which attributed purchases has a platform not accepted yet?
with

attributions as (
    select * from {{ ref('ad_attributions') }}
),

counted as (
    select
        attributions.brand_slug,
        coalesce(delivery.state ->> 'platform', 'no destination') as platform,
        delivery.state ->> 'status' as status,
        attributions.currency,
        count(*) as purchases,
        sum(attributions.conversion_value) as revenue
    from attributions
    left join lateral jsonb_each(attributions.deliveries) as delivery (destination, state) on true
    where delivery.state ->> 'status' is distinct from 'sent'
    group by 1, 2, 3, 4
)

select * from counted
order by 6 desc
