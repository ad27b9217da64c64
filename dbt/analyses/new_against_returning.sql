-- How much of the revenue that ads bring comes from first purchases?
with

attributions as (
    select * from {{ ref('ad_attributions') }}
),

counted as (
    select
        brand_slug,
        case
            when purchase_number = 1 then 'new'
            when purchase_number > 1 then 'returning'
            else 'not known'
        end as customer,
        source_platform,
        currency,
        count(*) as purchases,
        sum(conversion_value) as revenue
    from attributions
    group by 1, 2, 3, 4
)

select * from counted
order by 1 asc, 2 asc, 6 desc
