{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '128MB'",
        post_hook='analyze {{ this }} (brand_slug, profile_id)',
    )
}}
{#-
    Every build reads every touch to see which changed, so it neither cleans nor resolves them: a
    touch is its row's number and that of what its URL names.
-#}
with

visits as (
    select * from {{ ref('stg_app__touchpoints') }}
),

contact_touches as (
    select * from {{ ref('int_contact_touches') }}
),

contact_ads as (
    select * from {{ ref('int_contact_ads') }}
),

google_clicks as (
    select * from {{ ref('int_google_clicks') }}
),

searched as (
    select
        gclid,
        hash_record_extended(google_clicks, 0) as searched_hash
    from google_clicks
),

touches as (
    select
        brand_slug,
        profile_id,
        fb_click_id,
        gclid,
        url_hash,
        row_hash,
        touched_at
    from visits
    union all
    select
        brand_slug,
        contact_id as profile_id,
        fb_click_id,
        gclid,
        url_hash,
        hash_record_extended(row(touchpoint_id, fb_click_id, gclid, touched_at), 0)
            as row_hash,
        touched_at
    from contact_touches
),

summed as (
    select
        touches.brand_slug,
        touches.profile_id,
        count(*) as touch_count,
        min(touches.touched_at) as first_touched_at,
        sum(hash_record_extended(row(touches.row_hash, touches.url_hash), 0)) as rows_hash,
        sum(searched.searched_hash) as searched_hash,
        sum(contact_ads.url_hash) as captured_hash,
        array_agg(touches.url_hash) as url_hashes,
        -- A click that a contact was captured with stands for the contact's ad.
        array_agg(contact_ads.url_hash) filter (where contact_ads.url_hash is not null)
            as captured_url_hashes
    from touches
    left join searched on touches.gclid = searched.gclid
    left join contact_ads
        on
            coalesce(touches.fb_click_id, touches.gclid) = contact_ads.click_id
            and touches.brand_slug = contact_ads.brand_slug
    group by touches.brand_slug, touches.profile_id
)

select
    brand_slug,
    profile_id,
    first_touched_at,
    hash_record_extended(row(touch_count, rows_hash, searched_hash, captured_hash), 0)
        as touches_hash,
    url_hashes || captured_url_hashes as url_hashes
from summed
