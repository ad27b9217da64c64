-- How many touches precede a purchase, and what is it worth then?
with

attributions as (
    select * from {{ ref('ad_attributions') }}
),

counted as (
    select
        brand_slug,
        touch_count,
        currency,
        count(*) as purchases,
        round(avg(conversion_value), 2) as average_value
    from attributions
    group by 1, 2, 3
)

select * from counted
order by 1, 2
