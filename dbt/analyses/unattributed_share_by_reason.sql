-- Which part of the purchases has no ad, ad set or campaign, and why?
with

attributions as (
    select * from {{ ref('ad_attributions') }}
),

counted as (
    select
        brand_slug,
        coalesce(unattributed_reason, '(attributed)') as reason,
        count(*) as purchases,
        round(100.0 * count(*) / sum(count(*)) over (partition by brand_slug), 1) as percent
    from attributions
    group by 1, 2
)

select * from counted
order by 1 asc, 3 desc
