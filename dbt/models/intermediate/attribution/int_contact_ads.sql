with

touches as (
    select * from {{ ref('int_contact_touches') }}
    where ad_id ~ '^\d+$'
),

ad_objects as (
    select * from {{ ref('int_ad_objects') }}
    where kind = 'ad'
),

-- The contact that was seen first has the click.
clicks as (
    select distinct on (touches.brand_slug, clicked.click_id)
        touches.brand_slug,
        clicked.click_id,
        touches.ad_id as fb_ad_id
    from touches
    cross join lateral (values (touches.fb_click_id), (touches.gclid)) as clicked (click_id)
    where clicked.click_id is not null
    order by touches.brand_slug, clicked.click_id, touches.touched_at, touches.touchpoint_id
),

placed as (
    select
        clicks.brand_slug,
        clicks.click_id,
        clicks.fb_ad_id,
        ad_objects.fb_adset_id,
        ad_objects.fb_campaign_id,
        ad_objects.account_id,
        ad_objects.time_zone
    from clicks
    left join ad_objects on clicks.fb_ad_id = ad_objects.fb_ad_id
)

select * from placed
