{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '128MB'",
        post_hook='analyze {{ this }} (brand_slug, profile_id)',
    )
}}
{#-
    Every build reads every touch to see which changed, so it neither cleans nor resolves them: a
    touch is a number of all that counts of its row.
-#}
with

touches as (
    select
        brand_slug,
        profile_id,
        touched_at,
        {{ touch_hash() }} as touch_hash
    from (
        {{ app_sound_rows('touchpoints') }}
    ) as touchpoints
),

summed as (
    select
        brand_slug,
        profile_id,
        count(*) as touch_count,
        sum(touch_hash) as touches_sum,
        min(touched_at) as first_touched_at
    from touches
    group by brand_slug, profile_id
)

select * from summed
