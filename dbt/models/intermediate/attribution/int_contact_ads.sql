with

touches as (
    select * from {{ ref('int_contact_touches') }}
    where ad_id ~ '^\d+$'
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
)

select * from clicks
