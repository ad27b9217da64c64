{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '64MB'",
        post_hook='analyze {{ this }}',
    )
}}

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
        hash_record_extended(google_clicks, 0) as click_hash
    from google_clicks
),

clicks as (
    select
        brand_slug,
        profile_id,
        fb_click_id,
        gclid
    from visits
    union all
    select
        brand_slug,
        contact_id as profile_id,
        fb_click_id,
        gclid
    from contact_touches
),

known as (
    select
        clicks.brand_slug,
        clicks.profile_id,
        searched.click_hash,
        null::bigint as url_hash
    from clicks
    inner join searched on clicks.gclid = searched.gclid
    union all
    -- A click that a contact was captured with stands for the contact's ad.
    select
        clicks.brand_slug,
        clicks.profile_id,
        contact_ads.url_hash as click_hash,
        contact_ads.url_hash
    from clicks
    inner join contact_ads
        on
            clicks.brand_slug = contact_ads.brand_slug
            and coalesce(clicks.fb_click_id, clicks.gclid) = contact_ads.click_id
),

summed as (
    select
        brand_slug,
        profile_id,
        sum(click_hash) as clicks_sum,
        array_agg(url_hash) filter (where url_hash is not null) as url_hashes
    from known
    group by brand_slug, profile_id
)

select * from summed
