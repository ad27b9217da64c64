{#-
    Postgres takes each array for 8 kB and, past its memory, would rather sort all touches. In truth
    a profile takes half a kB: the limit stands for half a million of them at a time.
-#}
{{
    config(
        materialized='table',
        pre_hook=["set local work_mem = '128MB'", 'set local hash_mem_multiplier = 64'],
        post_hook='analyze {{ this }} (brand_slug, profile_id)',
    )
}}
{#-
    Every build reads every touch to see which changed, so it neither cleans nor resolves them: a
    touch is a number of all that counts of its row, and up to two of what its URL names.
-#}
with

touches as (
    select
        brand_slug,
        profile_id,
        touched_at,
        hash_record_extended(
            row(
                touchpoint_id,
                touched_at,
                utm_source,
                utm_medium,
                utm_campaign,
                utm_content,
                utm_term,
                ad_id,
                fbclid,
                fbc,
                gclid,
                gbraid,
                wbraid
            ),
            0
        ) as touch_hash,
        {{ url_hash() }} as url_hash,
        coalesce(ad_id, utm_campaign, utm_content, utm_term) is not null as names_something,
        hashtextextended(gclid, 0) as gclid_hash,
        gclid <> '' as has_gclid
    from {{ source('app', 'touchpoints') }}
),

summed as (
    select
        brand_slug,
        profile_id,
        count(*) as touch_count,
        sum(touch_hash) as touches_sum,
        min(touched_at) as first_touched_at,
        array_agg(url_hash) filter (where names_something)
        || array_agg(gclid_hash) filter (where has_gclid) as url_hashes
    from touches
    group by brand_slug, profile_id
)

select * from summed
