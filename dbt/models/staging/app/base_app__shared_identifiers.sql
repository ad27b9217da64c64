{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '64MB'",
        post_hook='analyze {{ this }}',
    )
}}
{#-
    Most addresses are one profile's alone. Counts show that at less cost than hashes, and now and
    then find one too many: it does no harm.
-#}
with

profiles as not materialized (
    select
        brand_slug,
        profile_id,
        nullif(lower(trim(email)), '') as email,
        nullif(ltrim(regexp_replace(phone, '\D', '', 'g'), '0'), '') as phone
    from (
        {{ app_sound_rows('profiles') }}
    ) as every_profile
),

shared as (
    {%- for identifier in ['email', 'phone'] %}
    select
        brand_slug,
        '{{ identifier }}' as kind,
        encode(sha256(convert_to({{ identifier }}, 'UTF8')), 'hex') as identifier_hash,
        profile_id
    from profiles
    where
        hashtextextended({{ identifier }}, 0) in (
            select hashtextextended(every_profile.{{ identifier }}, 0)
            from profiles as every_profile
            group by hashtextextended(every_profile.{{ identifier }}, 0)
            having count(*) > 1
        )
    {{ 'union all' if not loop.last }}
    {%- endfor %}
)

select * from shared
