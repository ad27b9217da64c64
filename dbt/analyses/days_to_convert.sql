-- How many days lie between a customer's first touch and the purchase?
with

credits as (
    select * from {{ ref('ad_attribution_credits') }}
    where model = 'first_touch' and touch_index = 1
),

counted as (
    select
        brand_slug,
        floor(extract(epoch from transacted_at - touched_at) / 86400) as days_to_convert,
        count(*) as purchases,
        round(100.0 * count(*) / sum(count(*)) over (partition by brand_slug), 1) as percent
    from credits
    group by 1, 2
)

select * from counted
order by 1, 2
