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

clicks as (
    select
        brand_slug,
        profile_id,
        coalesce(fb_click_id, gclid) as click_id
    from visits
    union all
    select
        brand_slug,
        contact_id as profile_id,
        coalesce(fb_click_id, gclid) as click_id
    from contact_touches
),

contact_ads_by_profile as (
    select
        clicks.brand_slug,
        clicks.profile_id,
        array_agg(contact_ads.fb_ad_id order by contact_ads.fb_ad_id) as fb_ad_ids
    from clicks
    inner join contact_ads
        on clicks.brand_slug = contact_ads.brand_slug and clicks.click_id = contact_ads.click_id
    group by clicks.brand_slug, clicks.profile_id
)

select * from contact_ads_by_profile
