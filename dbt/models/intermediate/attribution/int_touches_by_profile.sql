{#- Not yet summed: its readers sum over people. -#}
with

visits as (
    select * from {{ ref('base_app__touches_by_profile') }}
),

contact_touches as (
    select * from {{ ref('int_contact_touches') }}
),

contact_ads_by_profile as (
    select * from {{ ref('int_contact_ads_by_profile') }}
),

touches as (
    select
        'visits' as kind,
        brand_slug,
        profile_id,
        first_touched_at,
        hash_record_extended(row(touch_count, touches_sum), 0) as touches_hash,
        null as named_ids
    from visits
    union all
    select
        'contact' as kind,
        brand_slug,
        contact_id as profile_id,
        touched_at as first_touched_at,
        hash_record_extended(contact_touches, 0) as touches_hash,
        array[ad_id, gclid] as named_ids
    from contact_touches
    union all
    select
        'contact_ads' as kind,
        brand_slug,
        profile_id,
        null as first_touched_at,
        hash_record_extended(row(fb_ad_ids), 0) as touches_hash,
        fb_ad_ids as named_ids
    from contact_ads_by_profile
)

select * from touches
