-- Which attributed purchases has no ad platform taken yet?
with

attributions as (
    select * from {{ ref('ad_attributions') }}
),

counted as (
    select
        brand_slug,
        coalesce(meta_delivery_status, 'not to be sent') as meta,
        coalesce(google_delivery_status, 'not to be sent') as google,
        currency,
        count(*) as purchases,
        sum(conversion_value) as revenue
    from attributions
    where
        meta_delivery_status is distinct from 'sent'
        and google_delivery_status is distinct from 'sent'
    group by 1, 2, 3, 4
)

select * from counted
order by 6 desc
