{{
    config(
        materialized='table',
        pre_hook="{{ more_memory() }}",
        post_hook='analyze {{ this }}',
    )
}}

with

-- Materialized, so that each address is hashed once.
profiles as materialized (
    select
        brand_slug,
        profile_id,
        email_hash,
        phone_hash
    from {{ ref('stg_app__profiles') }}
),

shared as (
    {%- for kind in ['email', 'phone'] %}
    select
        brand_slug,
        '{{ kind }}' as kind,
        {{ kind }}_hash as identifier_hash,
        profile_id
    from profiles
    where
        (brand_slug, {{ kind }}_hash) in (
            select
                every_profile.brand_slug,
                every_profile.{{ kind }}_hash
            from profiles as every_profile
            group by every_profile.brand_slug, every_profile.{{ kind }}_hash
            having count(*) > 1
        )
    {{ 'union all' if not loop.last }}
    {%- endfor %}
)

select * from shared
